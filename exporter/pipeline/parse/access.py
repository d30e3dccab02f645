"""The combined log format of Apache httpd and nginx (httpd documentation, mod_log_config; nginx ``combined``)."""

from __future__ import annotations

import re
from itertools import compress

from exporter.pipeline.parse import MAX_LINE_CHARS, OverBound, Parsed

_LINE = re.compile(
    r'([^ ]++) ([^ ]++) ([^ ]++) \[([^\]]++)\] "([A-Z]++) ([^ ?"]*+)(?:\?([^ "]*+))?(?: HTTP/([0-9.]++))?" '
    r"([0-9]{3}) ([0-9]++|-)"
    r'(?: "([^"\\]*+(?:\\.[^"\\]*+)*+)" "([^"\\]*+(?:\\.[^"\\]*+)*+)")?'
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


def parse_access(line: str) -> Parsed | None:
    """Return the fields of an access log line; absent ones (``-``) are left out. Raises OverBound."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    if len(line) > MAX_LINE_CHARS:
        raise OverBound
    values = match.groups()
    if "-" in values or None in values:
        present = [value is not None and value != "-" for value in values]
        return tuple(compress(_KEYS, present)), tuple(compress(values, present))
    return _KEYS, values
