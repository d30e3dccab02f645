"""Check digits of numbers that name a person: tax id, pension number, machine readable travel documents, telephones.

Validators as in :mod:`exporter.pipeline.redact.validators`, which puts them into its table.
"""

from __future__ import annotations

from collections import Counter

#: Weights of the digits of a German pension number (VKVV § 4): area, date of birth, letter as two digits, serial.
_PENSION_WEIGHTS = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)
#: ICAO Doc 9303 part 3, section 4.9.
_MRZ_WEIGHTS = (7, 3, 1)
#: E.164: no more than 15 digits; fewer than 7 are short codes, which name no person.
_PHONE_DIGITS = range(7, 16)


def phone(match: bytes) -> int:
    """Accept 7 to 15 digits (E.164) that are not one digit repeated."""
    digits = bytes(c for c in match if 48 <= c <= 57)
    return len(match) if len(digits) in _PHONE_DIGITS and len(set(digits)) > 1 else 0


def german_tax_id(match: bytes) -> int:
    """Accept 11 digits with the check digit of ISO 7064 mod 11,10, of whose first ten exactly one digit occurs twice or
    three times (§ 139b AO; the rule of 2016).
    """
    digits = [c - 48 for c in match if 48 <= c <= 57]
    if len(digits) != 11 or not digits[0]:
        return 0
    repeated = [n for n in Counter(digits[:10]).values() if n > 1]
    if len(repeated) != 1 or repeated[0] > 3:
        return 0
    product = 10
    for digit in digits[:10]:
        product = ((digit + product) % 10 or 10) * 2 % 11
    return len(match) if (11 - product) % 10 == digits[10] else 0


def german_pension_number(match: bytes) -> int:
    """Accept a pension number (RVNR): a date of birth (the day may be raised by 50), right check digit."""
    text = bytes(c for c in match.upper() if c not in b" -")
    if len(text) != 12:
        return 0
    day, month = int(text[2:4]) % 50, int(text[4:6])
    if not (1 <= day <= 31 and 1 <= month <= 12):
        return 0
    digits = text[:8] + b"%02d" % (text[8] - 64) + text[9:11]
    products = (weight * (c - 48) for weight, c in zip(_PENSION_WEIGHTS, digits, strict=True))
    total = sum(product // 10 + product % 10 for product in products)
    return len(match) if total % 10 == text[11] - 48 else 0


def mrz(match: bytes) -> int:
    """Accept a line of names (it has no digits), or one of data in which birth and expiry have right check digits.

    ICAO Doc 9303: part 4 (TD3, 44 characters), part 5 (TD1, 30), part 6 (TD2, 36).
    """
    if not any(48 <= c <= 57 for c in match):
        return len(match)
    birth = 0 if len(match) == 30 else 13
    fields = (match[birth : birth + 7], match[birth + 8 : birth + 15])
    return len(match) if all(_mrz_check(field) for field in fields) else 0


def _mrz_check(field: bytes) -> bool:
    values = (int(chr(c), 36) if c != 60 else 0 for c in field[:-1])  # 60: the filler <
    total = sum(value * _MRZ_WEIGHTS[place % 3] for place, value in enumerate(values))
    return total % 10 == field[-1] - 48
