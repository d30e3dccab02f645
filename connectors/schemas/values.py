"""What makes a value fit its place in a schema. Each function returns None for a value that the place cannot hold."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from typing import Any

import orjson

Convert = Callable[[Any], Any]

#: Seconds whose text is kept; events of a batch lie close together.
_MAX_SECONDS = 4096
_seconds: dict[int, str] = {}
#: IEEE 802, in the notations that programs write.
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}")
#: OCSF type ``email_t``, less what no mail server takes.
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
#: OCSF type ``hostname_t`` (RFC 1123 names; also what masks and pseudonyms are made of would not fit a stricter rule).
_HOSTNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


def text(value: Any) -> str | None:
    """Any value but null as text: JSON where it is not text."""
    if value is None or type(value) is str:
        return value
    return orjson.dumps(value).decode()


def integer(value: Any) -> int | None:
    """A whole number of 64 bits."""
    if type(value) is str and len(value) < 19 and value.isascii() and value.isdigit():
        value = int(value)
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def port(value: Any) -> int | None:
    """RFC 6335."""
    number = integer(value)
    return number if number is not None and 0 <= number <= 65_535 else None


def ip(value: Any) -> str | None:
    """An address of IPv4 or IPv6 without zone or prefix length; Elasticsearch refuses a whole document for another."""
    if type(value) is not str or not value.isascii() or "\0" in value:
        return None
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in value else socket.AF_INET, value)
    except OSError:
        return None
    return value


def mac(value: Any) -> str | None:
    return value if type(value) is str and _MAC.fullmatch(value) else None


def hostname(value: Any) -> str | None:
    return value if type(value) is str and _HOSTNAME.fullmatch(value) else None


def base_name(value: Any) -> str | None:
    """The last part of a path with slashes of either kind."""
    if type(value) is not str or not value:
        return None
    return re.split(r"[/\\]", value.rstrip("/\\"))[-1] or value


def texts(value: Any) -> list[str | None] | None:
    """A list of texts; a single value is a list of one."""
    if type(value) is list:
        return None if None in value else [text(item) for item in value]
    return None if value is None else [text(value)]


def email(value: Any) -> str | None:
    """An address; a mask is none."""
    return value if type(value) is str and _EMAIL.fullmatch(value) else None


def emails(value: Any) -> list[str] | None:
    """A list of addresses; a single one, or several separated by commas, are such a list."""
    parts = value if type(value) is list else value.split(",") if type(value) is str else []
    found = [address for part in parts if type(part) is str and (address := email(part.strip()))]
    return found if found and len(found) == len(parts) else None


def timestamp(time_ns: int) -> str:
    """RFC 3339 in UTC with nine digits. Raises ValueError or OverflowError outside the years 1 to 9999."""
    second, rest = divmod(time_ns, 1_000_000_000)
    prefix = _seconds.get(second)
    if prefix is None:
        if not -62_135_596_800 <= second < 253_402_300_800:
            raise ValueError("the time is outside the years 1 to 9999")
        if len(_seconds) >= _MAX_SECONDS:
            _seconds.clear()
        moment = time.gmtime(second)
        prefix = _seconds[second] = f"{moment.tm_year:04d}-" + time.strftime("%m-%dT%H:%M:%S.", moment)
    return f"{prefix}{rest:09d}Z"
