"""Messages of the programs that decide who gets in: one regular expression a message, by program.

The program is known from the syslog header or, where an agent took the header off, from the stream's labels. A message that
no row knows keeps the header's fields and stays text. Keys are canonical names, ``kind`` included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.pipeline.parse import Parsed
from exporter.pipeline.parse.fields import bound, collect
from exporter.pipeline.parse.filterlog import parse_filterlog
from exporter.pipeline.parse.messages import MESSAGES, PAM, Message

#: Program → the source its messages are mapped as.
_SOURCES = {"sshd": "sshd", "sudo": "sudo", "su": "sudo"}
#: Other names of programs in ``MESSAGES``.
_NAMES = {
    "sshd-session": "sshd",
    "sshd-auth": "sshd",
    "crond": "cron",
    "anacron": "cron",
    "chpasswd": "passwd",
    "systemd-user": "systemd",
    "adduser": "useradd",
    "deluser": "userdel",
}
#: Labels that tell the program of a stream whose lines have no header, most telling first.
_LABELS = ("syslog_identifier", "SYSLOG_IDENTIFIER", "identifier", "unit", "systemd_unit", "app", "service_name", "job")
_UNIT_NAMES = {"ssh": "sshd", "crond": "cron"}
#: Longest message that is matched; those of these programs are far shorter.
_MAX_CHARS = 8192


def program_of(labels: Mapping[str, str]) -> str | None:
    """Return the known program that the labels of a stream name, or None."""
    for label in _LABELS:
        value = labels.get(label)
        if value:
            unit = value.removesuffix(".service").partition("@")[0]
            name = canonical_program(_UNIT_NAMES.get(unit, unit))
            if name is not None:
                return name
    return None


def canonical_program(name: str) -> str | None:
    """Return the name in the table of what a syslog header calls a program (``sshd-session``, ``CRON``, a path)."""
    name = name.rpartition("/")[2].partition("(")[0].lower()
    name = _NAMES.get(name, name)
    return name if name in MESSAGES or name == "filterlog" else None


def parse_program(program: str, text: str) -> tuple[str, Parsed] | None:
    """Return the source and the fields of a message of a program, or None when no row knows it. Raises OverBound."""
    bound(text)
    if len(text) > _MAX_CHARS:
        return None
    if program == "filterlog":
        parsed = parse_filterlog(text)
        return None if parsed is None else ("packets", parsed)
    if text.startswith("pam_"):
        return _read("pam", PAM, text)
    return _read(_SOURCES.get(program, "auth"), MESSAGES[program], text)


def _read(source: str, rows: tuple[Message, ...], text: str) -> tuple[str, Parsed] | None:
    for row in rows:
        if row.lead not in text:
            continue
        match = row.pattern.match(text)
        if match is not None:
            named = {key.replace("__", "."): value for key, value in match.groupdict().items() if value}
            pairs: dict[str, Any] = {**row.constants, **named, "message": text}
            return source, collect(pairs.items())
    return None
