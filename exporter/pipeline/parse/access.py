"""Access logs of Apache httpd and nginx: common, combined, vhost_combined, with times at the end, with broken requests.

Sources: httpd documentation, mod_log_config; nginx ``ngx_http_log_module``; ingress-nginx "Log format". Requests of the usual
form in the common and combined format, nearly all there are, are one expression; the rest goes through a second one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from exporter.pipeline.parse import MAX_LINE_CHARS, Keys, OverBound, Parsed
from exporter.pipeline.parse.fields import bound, collect, present

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
        return _parse_other(line)
    if len(line) > MAX_LINE_CHARS:
        raise OverBound
    values = match.groups()
    keys, pick = _PRESENT[tuple(map(type, values))]
    return keys, pick(values)


_TEXT = r'([^"\\]*+(?:\\.[^"\\]*+)*+)'
_OTHER = re.compile(
    r"(?:([A-Za-z0-9_.\-]{1,255}+):([0-9]{1,5}+) )?(\S++) (\S++) (\S{1,256}+(?: [^\s\[]{1,64}+){0,4}) \[([^\]]{1,64}+)\] "
    rf'"{_TEXT}" ([0-9]{{3}}|-) ([0-9]++|-)(?: "{_TEXT}" "{_TEXT}")?(?: (.*+))?'
)
_OTHER_KEYS = (
    "server.name",
    "server.port",
    "source.ip",
    "ident",
    "user.name",
    "timestamp",
    "request",
    "http.response.status_code",
    "http.response.body.size",
    "http.request.header.referer",
    "user_agent.original",
)
_REQUEST = re.compile(r"([A-Z]{1,20}+) ([^ ?]*+)(?:\?([^ ]*+))?(?: HTTP/([0-9.]++))?")
_REQUEST_KEYS = ("http.request.method", "url.path", "url.query", "network.protocol.version")
_TAIL_PAIR = re.compile(rf'([A-Za-z_][A-Za-z0-9_]{{0,63}}+)=(?:"{_TEXT}"|([^\s"]*+))(?:\s++|$)')
_TAIL_VALUE = re.compile(rf'(?:"{_TEXT}"|\[([^\]]{{0,256}}+)\]|(\S++))(?:\s++|$)')
#: What ingress-nginx writes behind the user agent.
_INGRESS_KEYS = (
    "http.request.size",
    "http.request.duration_seconds",
    "upstream.name",
    "upstream.alternative_name",
    "upstream.address",
    "upstream.response.size",
    "upstream.response.duration_seconds",
    "upstream.response.status_code",
    "http.request.id",
)
_TIME_KEYS = ("http.request.duration_seconds", "upstream.response.duration_seconds")


def _parse_other(line: str) -> Parsed | None:
    match = _OTHER.fullmatch(line)
    # A name with blanks comes only behind ident's nil; else it is the front of a syslog or CRI line.
    if match is None or (" " in match[5] and match[4] != "-"):
        return None
    bound(line)
    *values, tail = match.groups()
    pairs = present(_OTHER_KEYS, values)
    request = _REQUEST.fullmatch(values[6])
    if request is not None:
        pairs = [pair for pair in pairs if pair[0] != "request"] + present(_REQUEST_KEYS, request.groups())
    return collect(pairs + _tail(tail or ""))


def _tail(text: str) -> list[tuple[str, str]]:
    """Name what stands behind the known fields: pairs, ingress-nginx's fields, or times and forwarded addresses."""
    pairs: list[tuple[str, str]] = []
    at = 0
    while pair := _TAIL_PAIR.match(text, at):
        at = pair.end()
        pairs += present((pair[1],), (pair[2] or pair[3],))
    values = [quoted or named or plain for quoted, named, plain in _TAIL_VALUE.findall(text, at)]
    if len(values) == len(_INGRESS_KEYS):
        return pairs + present(_INGRESS_KEYS, values)
    times = [value for value in values if _is_seconds(value)]
    others = [value for value in values if not _is_seconds(value) and value != "-"]
    pairs += zip(_TIME_KEYS, times, strict=False)
    return pairs + [("access.rest", value) for value in others + times[len(_TIME_KEYS) :] if value]


def _is_seconds(text: str) -> bool:
    whole, dot, part = text.partition(".")
    return bool(dot) and whole.isdigit() and part.isdigit()
