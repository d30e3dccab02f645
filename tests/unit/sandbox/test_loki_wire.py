"""Wire formats of the stand-in Loki: snappy, protobuf, LogQL, parameters."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.sandbox.http import BadRequest, Request
from exporter.sandbox.loki import LokiLimits, logql, protobuf, snappy
from exporter.sandbox.loki.params import Params
from exporter.sandbox.loki.push import parse_label_string
from exporter.sandbox.loki.storage import label_string
from tests.support.loki import snappy_literals

NOW = 1_795_000_000_123_456_789


@given(st.binary(max_size=500))
def test_snappy_literals_round_trip(plain: bytes) -> None:
    assert snappy.decompress(snappy_literals(plain)) == plain


@pytest.mark.parametrize(
    ("data", "plain"),
    [
        (b"\x0a\x00a\x15\x01", b"a" * 10),  # one byte repeated
        (b"\x0a\x04ab\x1d\x02", None),  # a copy longer than what is declared
        (b"\x08\x04ab\x09\x02", b"ab" + b"ababab"),  # overlapping copy of 6 with offset 2
        (b"\x06\x08abc\x0a\x03\x00", b"abcabc"),  # 2-byte offset
        (b"\x06\x08abc\x0b\x03\x00\x00\x00", b"abcabc"),  # 4-byte offset
        (b"\x03\xf0\x02abc", b"abc"),  # literal with its size in one byte
        (b"\x03\xf4\x02\x00abc", b"abc"),  # in two bytes
        (b"\x03\x08ab", None),
        (b"\x04\x08abc", None),
        (b"\x06\x08abc\x0a\x04\x00", None),  # offset before the start
        (b"\xff\xff\xff\xff\xff\xff", None),
        (b"", None),
    ],
)
def test_snappy_by_hand(data: bytes, plain: bytes | None) -> None:
    if plain is None:
        with pytest.raises(ValueError):
            snappy.decompress(data)
    else:
        assert snappy.decompress(data) == plain


@given(st.binary(max_size=60))
def test_broken_snappy_and_protobuf_raise_value_error_only(data: bytes) -> None:
    for read in (snappy.decompress, lambda d: list(protobuf.fields(d)), protobuf.timestamp_ns):
        with contextlib.suppress(ValueError):
            read(data)


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_varints_and_timestamps_round_trip(value: int) -> None:
    found = dict(protobuf.fields(protobuf.encode_int(3, value)))
    assert protobuf.signed(found.get(3, 0)) == value
    if value >= 0:
        message = dict(protobuf.fields(protobuf.encode_timestamp(1, value)))
        assert protobuf.timestamp_ns(protobuf.raw(message[1])) == value


@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True), st.text(max_size=8), min_size=1))
def test_label_strings_are_read_back(labels: dict[str, str]) -> None:
    labels["job"] = "x"
    assert parse_label_string(label_string(labels)) == labels


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("1s", 10**9), ("1h30m", 5400 * 10**9), ("1500ms", 1_500_000_000), ("1d", 86_400 * 10**9), ("0.5s", 5 * 10**8)],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert logql.parse_duration_ns(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "5", "s", "1ns", "1us", "1x", "-1s", "1s "])
def test_durations_that_a_range_refuses(text: str) -> None:
    with pytest.raises(logql.ParseError):
        logql.parse_duration_ns(text)


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "a", 'count_over_time({a="b"})', 'sum({a="b"})', 'rate({a="b"}[1s])', '{a="b"} | json',
     'sum(count_over_time({a="b"}[1ns]))', 'sum(count_over_time({a="b"}[1s]) ', '{a="\\q"}', '{a=~"["}'],
)  # fmt: skip
def test_what_the_stand_in_does_not_know_is_a_parse_error_without_the_query(text: str) -> None:
    with pytest.raises(logql.ParseError) as caught:
        logql.parse(text)
    assert "job" not in str(caught.value)


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for query in (text, "{" + text + "}", f'{{a="{text}"}}'):
        with contextlib.suppress(logql.ParseError):
            logql.parse(query)


def _params(**query: str) -> Params:
    return Params(Request("GET", "/", {k: [v] for k, v in query.items()}, {}))


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1795000000", 1_795_000_000 * 10**9),
        ("1795000000123456789", 1_795_000_000_123_456_789),
        ("1795000000.1239", 1_795_000_000_124_000_000),
        ("2026-11-18T10:26:40.000000001Z", 1_794_997_600_000_000_001),
        ("2026-11-18T11:26:40+01:00", 1_794_997_600_000_000_000),
    ],
)
def test_times(text: str, time_ns: int) -> None:
    assert _params(start=text).time_ns("start", 0) == time_ns


def test_default_window_and_step() -> None:
    params = _params(query="{}").range(NOW, LokiLimits())
    assert (params.start_ns, params.end_ns) == (NOW - 3600 * 10**9, NOW)
    assert (params.limit, params.forward, params.step_ns) == (100, False, 14 * 10**9)


@pytest.mark.parametrize("query", [{"start": "yesterday"}, {"direction": "up"}, {"step": "0"}, {"interval": "-1s"}])
def test_bad_parameters_are_400(query: dict[str, str]) -> None:
    with pytest.raises(BadRequest) as caught:
        _params(**query).range(NOW, LokiLimits())
    assert caught.value.status == 400


def test_a_real_compressor_would_be_understood() -> None:
    """A tiny greedy compressor, so that copies of all kinds are met in one stream."""
    rng = random.Random(1)
    plain = b"".join(rng.choice([b"level=info ", b"caller=main.go:", b"x" * 70, rng.randbytes(9)]) for _ in range(300))
    assert snappy.decompress(_compress(plain)) == plain


def _compress(plain: bytes) -> bytes:
    out = bytearray(protobuf.encode_varint(len(plain)))
    position = 0
    while position < len(plain):
        piece = plain[position : position + 8]
        at = plain.rfind(piece, 0, position + 7) if len(piece) == 8 else -1
        if 0 <= at < position:
            offset = position - at
            size = 8
            if offset < 2048:
                out += bytes([1 | (size - 4) << 2 | offset >> 8 << 5, offset & 255])
            else:
                out += bytes([2 | (size - 1) << 2]) + offset.to_bytes(2, "little")
            position += size
        else:
            out += bytes([0, plain[position]])
            position += 1
    return bytes(out)
