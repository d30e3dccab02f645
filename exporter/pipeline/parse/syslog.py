r"""Syslog headers: RFC 5424, and what RFC 3164 describes, in the variants that agents write.

* RFC 5424 (section 6): SD-PARAM values escape ``"``, ``\`` and ``]``; a mask in a value brings a bare ``]``, so here a value
  ends only at its quote. The parameters' keys are ``<sd-id>.<param>``. A byte order mark before the message is dropped.
* RFC 3164 (section 4.1), with or without PRI: BSD time, BSD time with year or zone (Cisco), ISO 8601 (rsyslog's
  ``RSYSLOG_FileFormat``). Year and zone that are missing are no loss: an event's time is Loki's, the header's stays text.

Keys are canonical names; ``message`` is the text behind the header.
"""

from __future__ import annotations

import re
from typing import Any

from exporter.pipeline.parse import Parsed
from exporter.pipeline.parse.fields import bound, collect, present
from exporter.pipeline.parse.programs import canonical_program

#: RFC 5424 table 2; the names are those of syslog(3).
SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_HEADER_5424 = re.compile(r"<([0-9]{1,3})>1 (\S++) (\S++) (\S++) (\S++) (\S++) (?=-(?: |$)|\[)")
_KEYS_5424 = ("timestamp", "host.name", "process.name", "process.pid", "syslog.msgid")
_ELEMENT = re.compile(
    r'\[([^\s=\]"]++)((?: ++[^\s=\]"]++="[^"\\]*+(?:\\.[^"\\]*+)*+")*+) *+\]',
    re.DOTALL,
)
_PARAM = re.compile(r' ++([^\s=\]"]++)="([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_ESCAPE = re.compile(r'\\(["\\\]])')

_PRI = re.compile(r"<([0-9]{1,3})>")
#: Sequence number and host that Cisco IOS may put before the time.
_IOS = re.compile(r"(?:([0-9]{1,12}): )?(?:([^\s:]{1,255}+): )?(?=[*.]?[A-Z][a-z]{2} )")
_TIME = re.compile(
    r"[*.]?("
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) {1,2}[0-9]{1,2}(?: [0-9]{4})? [0-9]{2}:[0-9]{2}:[0-9]{2}"
    r"(?:\.[0-9]{1,9})?(?: (?!CEF:|LEEF:)[A-Z]{3,5}(?=[ :]))?(?: [0-9]{4}(?= ))?"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
    r")(?:: ?| )"
)
#: The host is a word that no colon ends (then it is the tag); Cisco's ASA puts blank and colon behind it.
_HOST = re.compile(r"(?!CEF:|LEEF:|[{%])(\S++)(?<!:) (?:: )?")
_TAG = re.compile(r"(?!CEF:|LEEF:)([^\s:\[\]{}\"=|]{1,128}+)(?:\[([^\]\s]{1,64}+)\])?: ?")
#: ``%ASA-4-106023:``, ``%SYS-5-CONFIG_I:`` (Cisco, "System message format": facility, severity, mnemonic).
_CISCO = re.compile(r"%([A-Z][A-Z0-9_]{1,31}(?:-[A-Z][A-Z0-9_]{0,31}){0,3})-([0-7])-([A-Za-z0-9_]{1,64}): ?")


def parse_syslog(line: str) -> Parsed | None:
    """Return header fields and message of a syslog line, or None when it has no header. Raises OverBound."""
    match = _HEADER_5424.match(line)
    if match is not None:
        return _rfc5424(line, match)
    pri = _PRI.match(line)
    level = _priority(pri[1]) if pri else []
    if level is None:
        return None
    return _rfc3164(line, pri.end() if pri else 0, level)


def _priority(text: str) -> list[tuple[str, Any]] | None:
    """Return facility and severity of a PRI, or None above 191, the last there is."""
    number = int(text)
    if number > 191:
        return None
    return [("log.syslog.facility.code", number >> 3), ("severity.text", SEVERITIES[number & 7])]


def _rfc5424(line: str, match: re.Match[str]) -> Parsed | None:
    pairs: list[tuple[str, Any]] | None = _priority(match[1])
    if pairs is None:
        return None
    bound(line)
    pairs += present(_KEYS_5424, match.groups()[1:])
    at = match.end()
    if line[at] == "-":
        at += 1
    else:
        start = at
        while element := _ELEMENT.match(line, at):
            at = element.end()
            params = _PARAM.findall(element[2])
            pairs += [(f"{element[1]}.{name}", _ESCAPE.sub(r"\1", value)) for name, value in params]
            if not params:
                pairs.append(("syslog.structured_data", element[1]))
        if at == start:  # Check Point writes `[action:"Drop"; src:"…"]`, which is no structured data: it is the message
            return collect([*pairs, ("message", line[at:])])
    if line[at : at + 1] not in {"", " "}:
        return None
    message = line[at + 1 :].removeprefix("\ufeff")
    return collect([*pairs, ("message", message)] if message else pairs)


def _rfc3164(line: str, at: int, level: list[tuple[str, Any]]) -> Parsed | None:
    pairs = list(level)
    time = _TIME.match(line, at)
    if time is None and at:
        ios = _IOS.match(line, at)
        if ios is not None and (time := _TIME.match(line, ios.end())):
            pairs += present(("syslog.sequence", "host.name"), ios.groups())
    if time is not None:
        pairs.append(("timestamp", time[1]))
        at = time.end()
        if not any(key == "host.name" for key, _ in pairs) and (host := _HOST.match(line, at)):
            pairs.append(("host.name", host[1]))
            at = host.end()
    if time is None and not level:
        return None
    cisco = _CISCO.match(line, at)
    tag = None if cisco else _TAG.match(line, at)
    if (
        not level
        and cisco is None
        and (tag is None or (time is not None and time[1][0].isdigit() and not _is_sure(tag)))
    ):
        return None  # a time and prose
    bound(line)
    if cisco is not None:
        pairs = [pair for pair in pairs if pair[0] != "severity.text"]
        pairs += cisco_fields(cisco)
        at = cisco.end()
    elif tag is not None:
        pairs += present(("process.name", "process.pid"), tag.groups())
        at = tag.end()
    return collect([*pairs, ("message", line[at:])] if line[at:] else pairs)


def _is_sure(tag: re.Match[str]) -> bool:
    """Tell a tag from a word with a colon, behind an ISO time and without PRI."""
    return tag[2] is not None or tag[1] == "kernel" or canonical_program(tag[1]) is not None


def cisco_fields(match: re.Match[str]) -> list[tuple[str, Any]]:
    """Return what the mark ``%FACILITY-SEVERITY-MNEMONIC`` says."""
    return [
        ("cisco.facility", match[1]),
        ("severity.text", SEVERITIES[int(match[2])]),
        ("event.code", f"{match[1]}-{match[2]}-{match[3]}"),
    ]


def parse_cisco(line: str) -> Parsed | None:
    """Return mark and message of a Cisco line whose syslog header an agent took off. Raises OverBound."""
    match = _CISCO.match(line)
    if match is None:
        return None
    bound(line)
    return collect([*cisco_fields(match), ("message", line[match.end() :])])
