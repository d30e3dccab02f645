"""Formats: what is kept exactly, what is declined, what is over the bounds."""

from __future__ import annotations

import json
import string
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.pipeline.parse import MAX_DEPTH, MAX_KEYS, MAX_LINE_CHARS, OverBound, Parsed
from exporter.pipeline.parse.access import parse_access
from exporter.pipeline.parse.json import parse_json
from exporter.pipeline.parse.lines import LineParser
from exporter.pipeline.parse.logfmt import LogfmtParser, looks_like_logfmt

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def as_dict(parsed: Parsed | None) -> dict[str, Any] | None:
    return None if parsed is None else dict(zip(*parsed, strict=True))


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=6), JSON_VALUES, max_size=6), st.booleans(), st.booleans())
def test_json_keeps_every_value_exactly(document: dict[str, Any], spaced: bool, escaped: bool):
    line = json.dumps(document, separators=None if spaced else (",", ":"), ensure_ascii=escaped)
    assert as_dict(parse_json(line)) == document


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"n":123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
        (
            '{"n":-9223372036854775809, "m":18446744073709551615}',
            {"n": -9223372036854775809, "m": 18446744073709551615},
        ),
        ('{"n":123456789012345678901}', {"n": 123456789012345678901}),
        ('{"a":NaN,"b":-Infinity,"c":1e400}', {"a": "NaN", "b": "-Infinity", "c": "1e400"}),
        ('{"a":1,"a":{"x":1},"a":"z"}', {"a": [1, {"x": 1}, "z"]}),
        ('{"o":{"k":1,"k":2}}', {"o": {"k": [1, 2]}}),
        ('{"s":"\\ud800x"}', {"s": "\ud800x"}),
        ('{"t":"a \\":\\" b","u":"\\/"}', {"t": 'a ":" b', "u": "/"}),
        (' {"a" : 1}\n', {"a": 1}),
    ],
)
def test_json_gaps_of_orjson(line: str, expected: dict[str, Any]):
    assert as_dict(parse_json(line)) == expected


@pytest.mark.parametrize("line", ["", "{", '{"a":1', "[1]", '"x"', "{'a':1}", "{]" * 50, "[" * 200_000 + "]"])
def test_what_is_no_json_object_is_declined_or_over_bound(line: str):
    if len(line) > MAX_LINE_CHARS:
        with pytest.raises(OverBound):
            parse_json(line)
    else:
        assert parse_json(line) is None


@pytest.mark.parametrize(
    "line",
    [
        '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1),
        '{"a":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}",
        '{"a":' + "[" * 30_000 + "]" * 30_000 + "}",
        orjson.dumps({f"k{i}": i for i in range(MAX_KEYS + 1)}).decode(),
        '{"a":"' + "x" * MAX_LINE_CHARS + '"}',
    ],
)
def test_bounds_of_json(line: str):
    with suppress(OverBound):
        assert parse_json(line) is None  # too deep for any parser


def test_bounds_are_inclusive():
    deep = '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH
    assert parse_json(deep) is not None
    assert parse_json(orjson.dumps({f"k{i}": i for i in range(MAX_KEYS)}).decode()) is not None


KEYS = st.text(string.ascii_letters + string.digits + "_.-/@", min_size=1, max_size=6).filter(lambda k: k[0].isalpha())
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\x85"), max_size=8)


def written(pairs: list[tuple[str, str]]) -> str:
    parts = []
    for key, value in pairs:
        plain = value and all(c > " " and c not in '"\\=' for c in value)
        parts.append(f"{key}={value}" if plain else f"{key}={json.dumps(value, ensure_ascii=False)}")
    return " ".join(parts)


@settings(deadline=None)
@given(st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=6), st.lists(VALUES, min_size=6, max_size=6))
@example([("a", "\x1f")], ["x"] * 6)
@example([("a", "x")], ["\xa0"] * 6)
@example([("a", "x"), ("b", "y z")], ["\x7f", "\x00\x7f"] * 3)
def test_logfmt_reads_what_was_written_also_by_shape(pairs: list[tuple[str, str]], others: list[str]):
    parser = LogfmtParser()
    for values in ([v for _, v in pairs], others):
        now = [(key, value) for (key, _), value in zip(pairs, values, strict=False)]
        expected: dict[str, Any] = {}
        for key, value in now:
            expected.setdefault(key, []).append(value)
        for _ in range(2):
            assert as_dict(parser.parse(written(now))) == {k: v[0] if len(v) == 1 else v for k, v in expected.items()}


@settings(deadline=None)
@given(st.lists(st.text(string.ascii_lowercase[:3] + ' ="\\\t', max_size=14).map("a=".__add__), max_size=8))
def test_a_line_of_logfmt_parses_the_same_whatever_came_before(lines: list[str]):
    used = LogfmtParser()
    for line in lines:
        assert used.parse(line) == LogfmtParser().parse(line)


def test_logfmt_flags_escapes_and_prose():
    parser = LogfmtParser()
    assert as_dict(parser.parse('level=info msg="a \\"b\\"\\n\\u00e9" dry')) == {
        "level": "info",
        "msg": 'a "b"\n\u00e9',
        "dry": True,
    }
    assert parser.parse("level=info this is prose with words") is None
    assert parser.parse('a="open') is None
    assert as_dict(parser.parse("a= b=1")) == {"a": "", "b": "1"}
    assert not looks_like_logfmt("hello a=1")
    with pytest.raises(OverBound):
        parser.parse(" ".join(f"k{i}=v" for i in range(MAX_KEYS + 1)))


def test_access_log():
    line = (
        '[redacted-ipv4] - bob [23/Nov/2026:06:00:00 +0000] "GET /a/b?x=1 HTTP/1.1" 404 - '
        '"https://s.example/\\"q" "Mozilla/5.0 (X11)"'
    )
    assert as_dict(parse_access(line)) == {
        "source.ip": "[redacted-ipv4]",
        "user.name": "bob",
        "timestamp": "23/Nov/2026:06:00:00 +0000",
        "http.request.method": "GET",
        "url.path": "/a/b",
        "url.query": "x=1",
        "network.protocol.version": "1.1",
        "http.response.status_code": "404",
        "http.request.header.referer": 'https://s.example/\\"q',
        "user_agent.original": "Mozilla/5.0 (X11)",
    }
    common = as_dict(parse_access('h - - [t] "GET / HTTP/1.0" 200 5'))
    assert common is not None
    assert common["http.response.body.size"] == "5"
    broken = as_dict(parse_access('h - - [t] "\\x16\\x03" 400 0'))
    assert broken is not None
    assert broken["request"] == "\\x16\\x03"


WORDS = st.sampled_from(["-", "--", "-x", "x-", "10.1.2.3", "[redacted-ipv4]", "é"])


@settings(deadline=None)
@given(
    st.tuples(WORDS, WORDS, WORDS, WORDS.filter(lambda w: "]" not in w)),
    st.tuples(WORDS | st.just(""), st.none() | WORDS | st.just(""), st.sampled_from([None, "1.1"])),
    st.sampled_from(["-", "0", "17"]),
    st.none() | st.tuples(WORDS | st.just(""), WORDS | st.just('a \\"-\\" b')),
)
def test_access_log_leaves_out_exactly_what_is_absent(
    head: tuple[str, ...], target: tuple[str, str | None, str | None], size: str, tail: tuple[str, str] | None
):
    path, query, version = target
    request = f"GET {path}{'' if query is None else '?' + query}{'' if version is None else ' HTTP/' + version}"
    line = f'{head[0]} {head[1]} {head[2]} [{head[3]}] "{request}" 200 {size}'
    if tail is not None:
        line += f' "{tail[0]}" "{tail[1]}"'
    names = "source.ip ident user.name timestamp url.path url.query network.protocol.version http.response.body.size"
    names += " http.request.header.referer user_agent.original"
    values = [*head, path, query, version, size, *(tail or (None, None))]
    expected = {name: value for name, value in zip(names.split(), values, strict=True) if value not in (None, "-")}
    assert as_dict(parse_access(line)) == {
        **expected,
        "http.request.method": "GET",
        "http.response.status_code": "200",
    }


@settings(deadline=None)
@given(
    st.text(max_size=40) | st.text('{}[]":,=\\ aé1\n', max_size=40), st.sampled_from(["auto", "json", "logfmt", "text"])
)
def test_no_parser_raises_anything_but_over_bound(line: str, wanted: Any):
    parsed = LineParser(wanted).parse(line)
    assert parsed is None or len(parsed[1]) == len(parsed[2])
