"""Windows event data as Alloy and promtail write it: the inner XML of EventData as one text.

Source: grafana.com, "loki.source.windowsevent"; ``<Data Name='LogonType'>3</Data>…`` in ``event_data``.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from exporter.pipeline.parse import Keys, Sourced

_KEY = "event_data"
_MEMBER = re.compile(r"\s*+<Data Name=(?:'([^'<>]*+)'|\"([^\"<>]*+)\")(?:/>|>([^<]*+)</Data>)\s*+")


def open_event_data(keys: Keys, values: tuple[Any, ...]) -> Sourced:
    """Return the line with its event data as an object; as it is where the text is another or a name comes twice."""
    if _KEY not in keys:
        return "winxml", keys, values
    position = keys.index(_KEY)
    text = values[position]
    members = _members(text) if type(text) is str else None
    return ("winxml", keys, (*values[:position], members, *values[position + 1 :]) if members else values)


def _members(text: str) -> dict[str, str] | None:
    members: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _MEMBER.match(text, at)
        name = match[1] or match[2] if match else None
        if match is None or not name or name in members:
            return None
        members[name] = unescape(match[3] or "")
        at = match.end()
    return members
