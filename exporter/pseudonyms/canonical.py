"""One person, one spelling: values are made alike before they become an index, so that ``Anna@Example.com`` in one log and
``anna%40example.com`` in another have the same token, and a request of a data subject finds both.
"""

from __future__ import annotations

import html
import ipaddress
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

_UNICODE_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_NOT_ALNUM = re.compile(r"[^0-9A-Z]")


def _email(text: str) -> str:
    """Escapes undone, domain in Unicode, all small. The local part may by RFC 5321 differ by case; no mail provider does."""
    text = _UNICODE_ESCAPE.sub(lambda match: chr(int(match[1], 16)), html.unescape(text))
    for _ in range(3):  # %2540 is an at sign escaped twice
        if "%" not in text:
            break
        text = unquote(text)
    local, _, domain = _folded(text).rpartition("@")
    labels = []
    for label in domain.split("."):
        try:
            labels.append(label.encode("ascii").decode("idna") if label.startswith("xn--") else label)
        except UnicodeError:
            labels.append(label)
    return f"{local}@{'.'.join(labels)}"


def _address(text: str) -> str:
    """The shortest text form; IPv4 in IPv6 as IPv4, without a zone."""
    try:
        address = ipaddress.ip_address(text.strip("[] ").partition("%")[0])
    except ValueError:
        return _folded(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _phone(text: str) -> str:
    """Digits; an international number with its plus sign."""
    plain = text.strip().replace("(0)", "")  # +49 (0) 30 is +49 30
    digits = "".join(c for c in unicodedata.normalize("NFKC", plain) if c.isdigit())
    if plain.startswith("+"):
        return f"+{digits}"
    return f"+{digits[2:]}" if digits.startswith("00") else digits


def _number(text: str) -> str:
    """Letters and digits only, capital: groups of printed IBANs, cards and MAC addresses fall away."""
    return _NOT_ALNUM.sub("", unicodedata.normalize("NFKC", text).upper())


def _folded(text: str) -> str:
    """Compatible forms (full width) and case made alike."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


_BY_KIND: dict[str, Callable[[str], str]] = {
    "email": _email,
    "ip": _address,
    "phone": _phone,
    "iban": _number,
    "card": _number,
    "mac": _number,
}


def canonical(kind: str, value: bytes) -> bytes:
    """Return the one spelling of a value. Never raises; a value that is not what its kind says is only folded."""
    text = value.decode("utf-8", "replace")
    return _BY_KIND.get(kind, _folded)(text).encode("utf-8", "replace")
