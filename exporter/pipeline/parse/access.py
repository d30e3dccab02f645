"""The combined log format of Apache httpd and nginx (httpd documentation, mod_log_config; nginx ``combined``)."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from exporter.pipeline.parse import MAX_LINE_CHARS, Keys, OverBound, Parsed

#: A field that is only ``-`` matches without being captured. Atomic, for there is never a second way to read a field.
_LINE = re.compile(
    r"(?>-(?= )|([^ ]++)) (?>-(?= )|([^ ]++)) (?>-(?= )|([^ ]++)) \[(?>-(?=\])|([^\]]++))\] "
    r'"([A-Z]++) (?>-(?=[ ?"])|([^ ?"]*+))(?:\?(?>-(?=[ "])|([^ "]*+)))?(?: HTTP/([0-9.]++))?" ([0-9]{3}) (?>-|([0-9]++))'
    r'(?: "(?>-(?=")|([^"\\]*+(?:\\.[^"\\]*+)*+))" "(?>-(?=")|([^"\\]*+(?:\\.[^"\\]*+)*+))")?'
)
#: Names of the canonical event where there is one, else of OpenTelemetry's semantic conventions.
_KEYS = (
    "source.ip",
    "ident",
    "user.name",
    "timestamp",
    "http.request.method",
    "url.path",
    "url.query",
    "network.protocol.version",
    "http.response.status_code",
    "http.response.body.size",
    "http.request.header.referer",
    "user_agent.original",
)


class _Present(dict[tuple[type, ...], tuple[Keys, Callable[[Any], tuple[Any, ...]]]]):
    """Keys of the fields that are there, and what picks their values, by the types of all. There are at most 2^10: the
    method and the status are never absent.
    """

    def __missing__(self, types: tuple[type, ...]) -> tuple[Keys, Callable[[Any], tuple[Any, ...]]]:
        present = [position for position, kind in enumerate(types) if kind is str]
        found = self[types] = tuple(_KEYS[position] for position in present), itemgetter(*present)
        return found


_PRESENT = _Present()


def parse_access(line: str) -> Parsed | None:
    """Return the fields of an access log line; absent ones (``-``) are left out. Raises OverBound."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    if len(line) > MAX_LINE_CHARS:
        raise OverBound
    values = match.groups()
    keys, pick = _PRESENT[tuple(map(type, values))]
    return keys, pick(values)
