"""Schemas without fields: only the message, or the redacted line.

Both keep the event's id beside the text, in a fixed layout, so that a connector can take the text out without parsing.
"""

from __future__ import annotations

from typing import Any

import orjson

from connectors.schemas.plan import Event

_START, _MIDDLE = b'{"event.id":"', b'","message":'
_TEXT_AT = len(_START) + 32 + len(_MIDDLE)


def message(event: Event) -> Event:
    """Return the id and the message; where there is none, what :func:`raw` returns."""
    text: Any = event.get("message")
    return {"event.id": event["event.id"], "message": text} if type(text) is str else raw(event)


def raw(event: Event) -> Event:
    """Return the id and the redacted line; where it was not kept, the message, and without one the event as JSON."""
    text: Any = event.get("event.original")
    if type(text) is not str:
        text = event.get("message")
    if type(text) is not str:
        text = orjson.dumps(event).decode()
    return {"event.id": event["event.id"], "message": text}


def text_of(body: bytes) -> bytes:
    """Return the JSON string that is the text of an encoded event of these schemas."""
    return body[_TEXT_AT:-1]
