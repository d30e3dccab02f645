"""Whether a value can be what its canonical key says, and in which form it is kept.

A check returns the value to keep, or None: then the value stays under ``unmapped`` by its own name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Any

from exporter.domain.keys import KEYS, KeyType
from exporter.domain.kinds import KINDS

Check = Callable[[Any], Any]
#: Types that cannot be the value of a canonical key that is no list.
NOT_SCALAR = frozenset((dict, list, type(None)))
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "REPORT")
#: Words of sources for an outcome (auditd, Kubernetes, Windows, Azure, Okta, GELF senders).
_OUTCOMES = {
    "success": "success success successful succeeded ok yes 1 true allow allowed accept accepted pass passed permit permitted completed",
    "failure": "failure failed fail error no 0 false deny denied block blocked reject rejected drop dropped refused",
    "unknown": "unknown",
}
OUTCOME_OF: dict[Any, str] = {
    spelling: outcome
    for outcome, words in _OUTCOMES.items()
    for word in words.split()
    for spelling in (word, word.upper(), word.capitalize())
}
#: ``host:port`` and ``[address]:port``.
_WITH_PORT = re.compile(r"(\[[^\[\]]*+\]|[^:\[\]\s]++):([0-9]{1,5})", re.ASCII)
_MAX_REMEMBERED = 8192


def _read_integer(text: str) -> int | None:
    """Read what is not plain digits. Windows writes process ids as 0x3e8; "007" is a name."""
    if not text.isascii() or len(text) > 20:
        return None
    try:
        return int(text, 16) if text[:2] == "0x" else int(text) if text == str(int(text)) else None
    except ValueError:
        return None


def _integer_within(low: int, high: int) -> Check:
    def check(value: Any) -> Any:
        if type(value) is str:
            if value.isdigit() and value[0] != "0" and len(value) < 19 and value.isascii():
                value = int(value)
            else:
                value = _read_integer(value)
        return value if type(value) is int and low <= value <= high else None

    return check


def _text(value: Any) -> Any:
    return value if type(value) is str else str(value) if type(value) is int else None


def _only_text(value: Any) -> Any:
    return value if type(value) is str else None


#: IANA, "Assigned Internet Protocol Numbers": the ones that logs hold.
_TRANSPORTS = {"1": "icmp", "2": "igmp", "6": "tcp", "17": "udp", "47": "gre", "50": "esp", "51": "ah", "58": "ipv6-icmp", "132": "sctp"}  # fmt: skip


def _transport(value: Any) -> Any:
    text = _text(value)
    return None if text is None else _TRANSPORTS.get(text) or text.lower()


def texts(value: Any) -> Any:
    is_list = type(value) is list and value and all(type(item) is str for item in value)
    return value if is_list else None


def _number(value: Any) -> Any:
    return value if type(value) in {int, float} else None


def _flag(value: Any) -> Any:
    return value if type(value) is bool else None


_BY_TYPE: dict[KeyType, Check] = {
    "text": _text,
    "trace": _only_text,
    "ip": _only_text,
    "transport": _transport,
    "list": texts,
    "number": _number,
    "flag": _flag,
    "integer": _integer_within(-(2**63), 2**63 - 1),
    "port": _integer_within(0, 65_535),
    # RFC 9110 section 15: three digits. A table answers faster than a function.
    "status": {key: n for n in range(100, 600) for key in (n, str(n))}.get,
    "method": {key: m for m in _METHODS for key in (m, m.lower())}.get,
    "outcome": OUTCOME_OF.get,
}
CHECKS: dict[str, Check] = {name: _BY_TYPE[key.type] for name, key in KEYS.items()}
#: A message that is a number is no message, and bytes of a line are not counted as such.
CHECKS["message"] = _only_text
TEXT_CHECKS = (_text, _only_text)
ADDRESS_KEYS = frozenset(name for name, key in KEYS.items() if key.type == "ip")
#: How sources write that there is none: access logs and Windows ``-``, auditd ``?``, ``(null)``, ``unset`` and the unset login
#: uid, Falco ``<NA>``.
NIL = frozenset(("", "-", "?", "(null)", "(none)", "<NA>", "N/A", "unset", "4294967295"))
#: Keys under which such a value is none: those that make a kind or name somebody. A logon of ``-`` is nobody's. Addresses of the
#: web are left out: ``?`` and an empty path are what was asked for.
NIL_KEYS = frozenset(
    name
    for name in KEYS
    if (
        any(name in group for kind in KINDS.values() for group in kind.requires)
        or name.startswith(("user.", "host.", "network.interface."))
        or name.endswith(".address")
    )
    and KEYS[name].type in {"text", "ip"}
    and not name.startswith(("url.", "user_agent."))
)


def read_address(text: str) -> tuple[str | None, str, int | None]:
    """Return the address as it is kept (None when it is none), else the text without a port, and the port."""
    ip = _ip(text)
    if ip is not None:
        return ip, text, None
    match = _WITH_PORT.fullmatch(text)
    if match is None or int(match[2]) > 65_535:
        return None, text, None
    name = match[1]
    inner = name[1:-1] if name[0] == "[" else name
    ip = _ip(inner)
    return ip, name, int(match[2])


def _ip(text: str) -> str | None:
    # No address begins with another character; a mask or a host name is told without an exception.
    if text[:1] not in "0123456789abcdefABCDEF:" or "%" in text or len(text) > 45:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return text if mapped is None else str(mapped)


class Addresses(dict[str, tuple[str, str] | None]):
    """Texts → key and value for one canonical address key; None: the general way is needed. Remembers some thousands."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key
        self._else = other_key(key)

    def __missing__(self, text: str) -> tuple[str, str] | None:
        if len(self) >= _MAX_REMEMBERED:
            self.clear()
        ip, _, port = read_address(text)
        found = None
        if port is None and text not in NIL:
            found = (self._key, ip) if ip is not None else (self._else, text) if self._else else None
        self[text] = found
        return found


def other_key(key: str) -> str:
    """Return the key for what is no address: ``source.address`` for ``source.ip``; empty where there is none."""
    other = key.removesuffix(".ip") + ".address"
    return other if other in KEYS else ""
