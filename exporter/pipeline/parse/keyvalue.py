"""Key-value lines that are not logfmt: pairs apart by ``,`` ``;`` or ``|``, ``key: value``, and the Linux firewall's words.

Declines prose: a line is taken only when every part of it is a pair.
"""

from __future__ import annotations

import re
from typing import Any

from exporter.pipeline.parse import Parsed
from exporter.pipeline.parse.fields import bound, collect

_KEY = r"([A-Za-z_@][A-Za-z0-9_.@/\-]{0,127}+(?: [A-Za-z][A-Za-z0-9_]{0,31}+){0,2}+)"
_QUOTED = r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
#: One pair and what ends it, by separator.
_PAIRS = {
    mark: re.compile(rf"\s*+{_KEY}\s*+[=:]\s*+(?:{_QUOTED}\s*+(?={mark}|$)|([^{mark}]*+))(?:{mark}|$)", re.DOTALL)
    for mark in (",", ";", "|")
}
_PAIRS["|"] = re.compile(_PAIRS["|"].pattern.replace("(?=|", r"(?=\|").replace("(?:|", r"(?:\|"), re.DOTALL)
#: netfilter's LOG target: ``IN=eth0 OUT= MAC=… SRC=… DST=… LEN=60 … DF PROTO=TCP SPT=…`` behind a prefix of the user's.
_NETFILTER = re.compile(r"(?:^|(?<= ))IN=[^ ]*+ (?:PHYSIN=[^ ]*+ )?OUT=[^ ]*+ ")
_WORD = re.compile(r"([A-Z][A-Za-z0-9]{0,15})(?:=([^ ]*+))?(?: ++|$)")


def parse_separated(line: str) -> Parsed | None:
    """Return the pairs of a line apart by one of ``,`` ``;`` ``|``, or None. Raises OverBound."""
    for pair in _PAIRS.values():
        first = pair.match(line)
        if first is not None and first.end() < len(line):
            parsed = _separated(line, pair)
            if parsed is not None:
                return parsed
    return None


def _separated(line: str, pair: re.Pattern[str]) -> Parsed | None:
    bound(line)
    text = line.rstrip()
    pairs: list[tuple[str, Any]] = []
    at = 0
    while at < len(text):
        match = pair.match(text, at)
        if match is None:
            return None
        at = match.end()
        pairs.append((match[1], match[2] if match[2] is not None else match[3].rstrip()))
    return collect(pairs) if len(pairs) > 1 else None


def parse_netfilter(line: str) -> Parsed | None:
    """Return the words of a line of iptables or nftables; flags (``DF``, ``SYN``) are true. Raises OverBound."""
    start = _NETFILTER.search(line[:512])
    if start is None:
        return None
    bound(line)
    pairs: list[tuple[str, Any]] = []
    prefix = line[: start.start()].strip()
    if prefix:
        pairs.append(("netfilter.prefix", prefix))
    at = start.start()
    while word := _WORD.match(line, at):
        at = word.end()
        pairs.append((word[1], True if word[2] is None else word[2]))
    if line[at:].strip():
        pairs.append(("netfilter.rest", line[at:].strip()))
    return collect(pairs)
