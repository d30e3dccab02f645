"""Check digits and shapes."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.pipeline.redact.validators import (
    IBAN_LENGTHS,
    assigned_value,
    basic_credentials,
    bearer_token,
    iban,
    ipv6,
    luhn,
)


def with_luhn(body: str) -> str:
    total = 0
    for i, c in enumerate(reversed(body)):
        digit = int(c) * (1 if i % 2 else 2)
        total += digit - 9 * (digit > 9)
    return body + str(-total % 10)


def with_mod_97(country: str, bban: str) -> str:
    number = int("".join(str(int(c, 36)) for c in bban + country + "00"))
    return f"{country}{98 - number % 97:02}{bban}"


@settings(deadline=None)
@given(st.text(string.digits, min_size=12, max_size=18).filter(lambda s: len(set(s)) > 1))
def test_luhn_takes_right_check_digits_and_no_other(body: str):
    number = with_luhn(body)
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert luhn(number.encode()) == len(number)
    assert luhn(wrong.encode()) == 0


def test_luhn_on_groups_drops_a_number_that_follows():
    assert luhn(b"4111 1111 1111 1111") == 19
    assert luhn(b"4111 1111 1111 1111 12") == 19
    assert luhn(b"4111 1111 1111 1112 12") == 0
    assert luhn(b"0000000000000000") == 0


@settings(deadline=None)
@given(st.sampled_from(sorted(IBAN_LENGTHS)), st.data())
def test_iban_takes_right_ones_of_every_country(country: str, data: st.DataObject):
    length = IBAN_LENGTHS[country] - 4
    bban = data.draw(st.text(string.digits + string.ascii_uppercase, min_size=length, max_size=length))
    number = with_mod_97(country, bban)
    grouped = " ".join(number[i : i + 4] for i in range(0, len(number), 4))
    assert iban(number.encode()) == len(number)
    assert iban(number.lower().encode()) == len(number)
    assert iban(f"{grouped} TODAY".encode()) == len(grouped)
    assert iban(f"{number}9".encode()) == 0
    assert iban(number[:-1].encode()) == 0
    assert iban(f"{country}{(int(number[2:4]) + 1) % 100:02}{bban}".encode()) == 0


@pytest.mark.parametrize(
    ("text", "used"),
    [
        (b"2001:db8::1", 11),
        (b"fe80::1%eth0", 12),
        (b"fe80::1:", 7),
        (b"::", 0),
        (b"12:34:56", 0),
        (b"1::2", 0),
        (b"::1", 3),
    ],
)
def test_ipv6(text: bytes, used: int):
    assert ipv6(text) == used


def test_basic_and_bearer_tell_tokens_from_prose():
    assert basic_credentials(base64.b64encode(b"user:pw").rstrip(b"="))
    assert not basic_credentials(b"authentication")
    assert not bearer_token(b"authentication")
    assert bearer_token(b"abc123")


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_no_validator_raises(text: bytes):
    for check in (luhn, ipv6, iban, basic_credentials, bearer_token, assigned_value):
        assert 0 <= check(text) <= len(text)
