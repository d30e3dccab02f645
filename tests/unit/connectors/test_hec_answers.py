"""Every code of HEC's table, and the answers that are none of HEC's."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.splunk_hec.answers import Meaning, parse_retry_after, read_answer

TABLE = [
    (0, 200, Meaning.STORED),
    (1, 403, Meaning.UNAUTHORIZED),
    (2, 401, Meaning.UNAUTHORIZED),
    (3, 401, Meaning.UNAUTHORIZED),
    (4, 403, Meaning.UNAUTHORIZED),
    (5, 400, Meaning.BAD_EVENT),
    (6, 400, Meaning.BAD_EVENT),
    (7, 400, Meaning.BAD_INDEX),
    (8, 500, Meaning.UNAVAILABLE),
    (9, 503, Meaning.BUSY),
    (10, 400, Meaning.MISCONFIGURED),
    (11, 400, Meaning.MISCONFIGURED),
    (12, 400, Meaning.BAD_EVENT),
    (13, 400, Meaning.BAD_EVENT),
    (14, 400, Meaning.MISCONFIGURED),
    (15, 400, Meaning.BAD_EVENT),
    (16, 400, Meaning.MISCONFIGURED),
    (18, 503, Meaning.BUSY),
    (19, 503, Meaning.BUSY),
    (20, 503, Meaning.BUSY),
    (21, 400, Meaning.UNAUTHORIZED),
    (22, 400, Meaning.UNAUTHORIZED),
    (23, 503, Meaning.UNAVAILABLE),
    (24, 200, Meaning.STORED),
    (25, 200, Meaning.STORED),
    (26, 429, Meaning.BUSY),
    (27, 429, Meaning.BUSY),
]


def body(code, number=None):
    return orjson.dumps(
        {"text": "secret-looking text", "code": code} | ({} if number is None else {"invalid-event-number": number})
    )


@pytest.mark.parametrize(("code", "status", "meaning"), TABLE)
def test_every_code(code, status, meaning):
    answer = read_answer(status, body(code))
    assert answer.meaning is meaning
    assert answer.name == f"hec_{code}"
    assert "secret" not in answer.text + answer.hint
    assert answer.slow_down == (code in {24, 25})


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (200, Meaning.MISCONFIGURED),  # a login page proves nothing
        (204, Meaning.MISCONFIGURED),
        (302, Meaning.MISCONFIGURED),
        (400, Meaning.MISCONFIGURED),
        (401, Meaning.UNAUTHORIZED),
        (403, Meaning.UNAUTHORIZED),
        (404, Meaning.MISCONFIGURED),
        (405, Meaning.MISCONFIGURED),
        (408, Meaning.UNAVAILABLE),
        (413, Meaning.TOO_LARGE),
        (415, Meaning.MISCONFIGURED),
        (429, Meaning.BUSY),
        (500, Meaning.UNAVAILABLE),
        (502, Meaning.UNAVAILABLE),
        (503, Meaning.BUSY),
        (504, Meaning.UNAVAILABLE),
    ],
)
def test_answers_without_json(status, meaning):
    answer = read_answer(status, b"<html><body>who knows</body></html>")
    assert answer.meaning is meaning
    assert answer.name == f"http_{status}"


def test_only_a_200_says_stored():
    assert read_answer(502, body(0)).meaning is Meaning.UNAVAILABLE
    assert read_answer(404, body(404)).meaning is Meaning.MISCONFIGURED
    assert read_answer(200, body(6, 1)).meaning is Meaning.MISCONFIGURED
    assert read_answer(200, body(True)).meaning is Meaning.MISCONFIGURED


def test_code_7_counts_from_one_and_the_others_from_zero():
    assert read_answer(400, body(7, 2)).event == 1
    assert read_answer(400, body(6, 2)).event == 2
    assert read_answer(503, body(9, 2)).event == 2


@given(st.integers(100, 599), st.binary(max_size=60), st.text(max_size=20) | st.none())
def test_never_raises(status, raw, retry_after):
    answer = read_answer(status, raw, retry_after)
    assert answer.meaning is not Meaning.STORED
    assert answer.retry_after_seconds is None or answer.retry_after_seconds >= 0


def test_retry_after():
    now = datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)
    assert parse_retry_after(" 7 ") == 7.0
    assert parse_retry_after("Tue, 24 Nov 2026 10:00:30 GMT", now=now) == 30.0
    assert parse_retry_after("Tue, 24 Nov 2026 09:00:30 GMT", now=now) == 0.0
    assert parse_retry_after("soon") is None
    assert parse_retry_after("-1") is None
    assert parse_retry_after(None) is None
