"""What Splunk's collector takes and refuses in a body of events, as probed on Splunk 10.4; used by the stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

#: What the raw endpoint takes in its address.
METADATA = frozenset({"host", "source", "sourcetype", "index"})
KEYS = frozenset({"event", "time", "host", "source", "sourcetype", "index", "fields"})
#: HTTP status and text by HEC code.
TEXT = {
    0: (200, "Success"),
    2: (401, "Token is required"),
    3: (401, "Invalid authorization"),
    4: (403, "Invalid token"),
    1: (403, "Token disabled"),
    5: (400, "No data"),
    6: (400, "Invalid data format"),
    7: (400, "Incorrect index"),
    8: (500, "Internal server error"),
    9: (503, "Server is busy"),
    10: (400, "Data channel is missing"),
    11: (400, "Invalid data channel"),
    12: (400, "Event field is required"),
    13: (400, "Event field cannot be blank"),
    14: (400, "ACK is disabled"),
    15: (400, "Error in handling indexed fields"),
    16: (400, "Query string authorization is not enabled"),
    17: (200, "HEC is healthy"),
    18: (503, "HEC is unhealthy, queues are full"),
    19: (503, "HEC is unhealthy, ack service unavailable"),
    20: (503, "HEC is unhealthy, queues are full, ack service unavailable"),
    21: (400, "Invalid token"),
    22: (400, "Token disabled"),
    23: (503, "Server is shutting down"),
    24: (200, "HEC queue is nearing capacity"),
    25: (200, "Ack channel is nearing capacity"),
    26: (429, "HEC queue is at capacity"),
    27: (429, "Ack channel is at capacity"),
}


class Refused(Exception):
    """One event is refused: HEC code and zero-based number."""

    def __init__(self, code: int, number: int) -> None:
        super().__init__(code)
        self.code, self.number = code, number


@dataclass(slots=True)
class Rules:
    """``indexes``: those the token may write to, None for all. ``bad_ids``: events that are refused whenever they come, with
    the code for it. ``dropped`` counts requests that an unknown key ended, ``skipped`` objects without an event.
    """

    indexes: frozenset[str] | None = None
    bad_ids: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    skipped: int = 0

    def examine(self, envelopes: Iterable[tuple[Any, bool]], good: list[Any]) -> bool:
        """Collect the envelopes to store into ``good``; return True when an unknown key ended the reading. Raises Refused
        at the first bad one; those before it are good all the same.
        """
        for number, (value, broken) in enumerate(envelopes):
            if broken or not isinstance(value, dict):
                raise Refused(6, number)
            if not KEYS.issuperset(value):
                self.dropped += 1
                return True
            if "event" not in value and "fields" in value:
                self.skipped += 1
                continue
            if (code := self.code_of(value)) is not None:
                raise Refused(code, number)
            good.append(value)
        return False

    def code_of(self, value: dict[str, Any]) -> int | None:
        """Return the code that refuses an envelope, or None."""
        if "event" not in value:
            return 12
        event = value["event"]
        if event is None or event is False:
            return 6
        if isinstance(event, str) and not event.strip():
            return 13
        if not _is_time(value.get("time")) or not _is_flat(value.get("fields")):
            return 15
        if self.indexes is not None and value.get("index", "main") not in self.indexes:
            return 7
        return self.bad_ids.get(id_of(event)) if self.bad_ids else None


def objects(body: bytes) -> Iterable[tuple[Any, bool]]:
    """Read concatenated objects, with or without white space between them; ``(None, True)`` ends the broken ones."""
    lines = body.split(b"\n")
    try:  # one object a line is what everybody sends, and orjson is ten times as fast
        values = [orjson.loads(line) for line in lines if line.strip()]
    except orjson.JSONDecodeError:
        yield from _objects_slowly(body)
        return
    if len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    for value in values:
        yield value, False


def _objects_slowly(body: bytes) -> Iterable[tuple[Any, bool]]:
    text, decoder, at = body.decode("utf-8", "replace"), json.JSONDecoder(), 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at >= len(text):
            return
        try:
            value, at = decoder.raw_decode(text, at)
        except ValueError:
            yield None, True
            return
        yield value, False


def as_envelopes(body: bytes, metadata: dict[str, str]) -> bytes:
    """Return what the raw endpoint makes of a body under a source type that breaks at line ends: an event a line."""
    lines = [line for line in body.replace(b"\r", b"\n").split(b"\n") if line.strip()]
    return b"\n".join(orjson.dumps({"event": _raw_event(line), **metadata}) for line in lines)


def _raw_event(line: bytes) -> Any:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line.decode("utf-8", "replace")
    return found if isinstance(found, dict) else line.decode()


def id_of(event: Any) -> str:
    """Return the id of a canonical event, empty for any other."""
    return str(event.get("event.id", "")) if isinstance(event, dict) else ""


def _is_time(value: Any) -> bool:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return True
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_flat(fields: Any) -> bool:
    """Tell whether indexed fields are a flat object; arrays of scalars are taken."""
    if fields is None:
        return True
    if not isinstance(fields, dict):
        return False
    scalars = (v for value in fields.values() for v in (value if isinstance(value, list) else [value]))
    return not any(isinstance(v, dict | list) for v in scalars)
