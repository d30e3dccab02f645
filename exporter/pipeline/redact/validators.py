"""Checks that tell data from what only looks like it. They run on candidates of the exact step, so they may be slow-ish.

A validator gets the matched bytes and returns how many of them, from the start, are the datum (a match may have swallowed
a following word), or 0 when it is none. Own code on purpose: python-stdnum is LGPL and 10-30 times slower (measured).
"""

from __future__ import annotations

import base64
import binascii
import socket
import string
from collections.abc import Callable

from exporter.pipeline.redact.identity_numbers import german_pension_number, german_tax_id, mrz, phone

Validator = Callable[[bytes], int]

#: Length of an IBAN by country (SWIFT IBAN registry, release 99). Unknown countries are refused: without the length
#: an IBAN cannot be told from the words after it.
IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH CR HR LI LV",
        22: "BG BH DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}

#: Letters as numbers, A is 10 (ISO 13616-1).
_IBAN_DIGITS = {ord(letter): str(int(letter, 36)) for letter in string.ascii_uppercase}
_NOT_DIGITS = bytes(set(range(256)) - set(b"0123456789"))
_NOT_ALNUM = bytes(i for i in range(256) if not chr(i).isalnum() or i > 127)
#: Digit pairs of the Luhn algorithm (ISO/IEC 7812-1 annex B): every second digit doubled, cross sum taken.
_LUHN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def luhn(match: bytes) -> int:
    """Accept 13 to 19 digits, however grouped, whose check digit is right and that are not one digit repeated.

    Of four groups of four and a short one the last may be another number ("… 1111 12"): then the first 16 digits count.
    """
    digits = match.translate(None, _NOT_DIGITS)
    if _luhn_holds(digits):
        return len(match)
    grouped = len(digits) < len(match)
    return 19 if grouped and len(digits) > 16 and len(match) > 19 and _luhn_holds(digits[:16]) else 0


def _luhn_holds(digits: bytes) -> bool:
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    total = sum(c - 48 for c in digits[-1::-2]) + sum(_LUHN_DOUBLED[c - 48] for c in digits[-2::-2])
    return total % 10 == 0


def iban(match: bytes) -> int:
    """Accept an IBAN whose length fits its country and whose check digits are right (ISO 13616-1, ISO 7064 mod 97-10).

    Words that follow and were swallowed by the pattern are cut off.
    """
    length = IBAN_LENGTHS.get(match[:2].decode("ascii", "replace").upper(), 0)
    text = match.translate(None, _NOT_ALNUM)[:length].decode("ascii").upper()
    if not length or len(text) < length:
        return 0
    if int((text[4:] + text[:4]).translate(_IBAN_DIGITS)) % 97 != 1:
        return 0
    seen = 0
    for used, byte in enumerate(match, 1):
        seen += byte not in _NOT_ALNUM
        if seen == length:
            # The number must end here: more letters or digits at once mean that it is a longer identifier.
            return 0 if used < len(match) and match[used] not in _NOT_ALNUM else used
    return 0


def ipv6(match: bytes) -> int:
    """Accept what the system's own parser takes (RFC 4291 section 2.2), without a zone; ``::`` alone is no host."""
    # "fe80::1: unreachable": a colon of the sentence is not part of the address.
    used = len(match) - (match.endswith(b":") and not match.endswith(b"::"))
    address = match[:used].split(b"%", 1)[0]
    # ``12::`` or ``::12`` may be times, ranges or C++ scopes: an address has three hex digits or two groups at least.
    if sum(map(len, address.split(b":"))) < 3 and address != b"::1":
        return 0
    try:
        socket.inet_pton(socket.AF_INET6, address.decode("ascii"))
    except (OSError, ValueError):
        return 0
    return used


def basic_credentials(match: bytes) -> int:
    """Accept base64 of ``user:password`` (RFC 7617); ``Basic authentication`` is prose."""
    try:
        decoded = base64.b64decode(match + b"=" * (-len(match) % 4), validate=True)
    except (binascii.Error, ValueError):
        return 0
    return len(match) if b":" in decoded else 0


def bearer_token(match: bytes) -> int:
    """Accept what has a digit or is long; ``bearer authentication`` is prose."""
    return len(match) if len(match) >= 20 or any(48 <= c <= 57 for c in match) else 0


#: What a pair may be set to without telling anything. Also words that stand after "token:" or "password:" in prose.
_TELLS_NOTHING = frozenset(
    b"true false null none nil undefined empty yes no ok on off - * ? set unset missing required invalid expired "
    b"incorrect wrong redacted masked hidden bearer basic".split()
)


def assigned_value(match: bytes) -> int:
    """Accept any value but empty ones, stars and words that tell nothing."""
    text = match.strip(b" .!").lower()
    stars = not text.strip(b"*") or (len(text) >= 4 and not text.strip(b"*x.#-_"))
    return 0 if stars or text in _TELLS_NOTHING else len(match)


VALIDATORS: dict[str, Validator] = {
    "luhn": luhn,
    "iban": iban,
    "ipv6": ipv6,
    "basic_credentials": basic_credentials,
    "bearer_token": bearer_token,
    "assigned_value": assigned_value,
    "phone": phone,
    "german_tax_id": german_tax_id,
    "german_pension_number": german_pension_number,
    "mrz": mrz,
}
