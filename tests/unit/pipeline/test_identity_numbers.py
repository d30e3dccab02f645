"""Check digits of numbers that name a person. Numbers are published examples or made up."""

from __future__ import annotations

import pytest

from exporter.pipeline.redact.identity_numbers import german_pension_number, german_tax_id, mrz, phone
from exporter.pipeline.redact.validators import Validator


@pytest.mark.parametrize(
    ("validate", "right"),
    [
        (german_tax_id, b"86095742719"),
        (german_tax_id, b"47 036 892 816"),
        (german_pension_number, b"15070649C103"),
        (mrz, b"L898902C36UTO7408122F1204159ZE184226B<<<<<10"),  # ICAO Doc 9303 part 4, appendix A
        (mrz, b"7408122F1204159UTO<<<<<<<<<<<6"),
    ],
)
def test_right_numbers_are_taken_whole(validate: Validator, right: bytes):
    assert validate(right) == len(right)


@pytest.mark.parametrize("digit", b"013456789")
def test_a_wrong_check_digit_of_a_travel_document(digit: int):
    assert mrz(b"740812%cF1204159UTO<<<<<<<<<<<6" % digit) == 0


@pytest.mark.parametrize("wrong", [b"86095742718", b"06095742719", b"12345678901", b"123"])
def test_wrong_tax_ids(wrong: bytes):
    assert german_tax_id(wrong) == 0


@pytest.mark.parametrize("wrong", [b"15070649C104", b"15990649C103", b"15071349C103", b"15070649C10"])
def test_wrong_pension_numbers(wrong: bytes):
    assert german_pension_number(wrong) == 0


def test_telephones_by_their_number_of_digits():
    assert phone(b"+49 30 901820")
    assert not phone(b"+49 30")
    assert not phone(b"+1234567890123456")
    assert not phone(b"0000000000")
