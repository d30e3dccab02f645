"""Canonical events → rows: types, cuts, times, and that the compiled plans say what the table says."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from isal import igzip

from connectors.base import Record
from connectors.sentinel.columns import DEFAULT_COLUMNS, faults_of, parse_columns
from connectors.sentinel.plans import COMPILE_AFTER, MAX_SHAPES
from connectors.sentinel.rows import MAX_FIELD_BYTES, Mapper, Rows
from exporter.domain.events import encode_head
from exporter.sandbox.logs_rules import STREAM_COLUMNS, Table

TIME_NS = 1_764_000_000_123_456_789
HEAD = encode_head("a" * 32, TIME_NS)


def mapper(**changes: str) -> Mapper:
    table = {**DEFAULT_COLUMNS, **{key.replace("_", "."): spec for key, spec in changes.items()}}
    return Mapper(parse_columns(table))


def event(members: dict, time_ns: int = TIME_NS) -> bytes:
    body = orjson.dumps(members)[1:]
    return encode_head("a" * 32, time_ns)[: None if members else -1] + body


def encode(the_mapper: Mapper, value: bytes) -> bytes:
    rows = Rows(0)
    refused = the_mapper.encode([Record(0, b"", value)], 0, rows)
    assert not refused
    return bytes(rows.text[1 : rows.used - 1])


def row(members: dict, the_mapper: Mapper | None = None, *, uses: int = 1) -> dict:
    the_mapper = the_mapper or mapper()
    for _ in range(uses):
        encoded = encode(the_mapper, event(members))
    return orjson.loads(encoded)


def test_the_stand_in_declares_the_default_columns():
    declared = {c.name: c.type for c in parse_columns(DEFAULT_COLUMNS).values()}
    assert dict(STREAM_COLUMNS) == {"TimeGenerated": "datetime", **declared}
    assert not faults_of(DEFAULT_COLUMNS)


def test_times():
    found = row({"kind": "log"})
    assert found["TimeGenerated"] == found["EventTime"] == "2025-11-24T16:00:00.1234567Z"
    assert found["EventTimeNs"] == TIME_NS
    early = orjson.loads(encode(mapper(), event({"kind": "log"}, -1)))
    assert early["EventTime"] == "1969-12-31T23:59:59.9999999Z"


@pytest.mark.parametrize("uses", [1, COMPILE_AFTER + 1])
def test_columns_and_the_rest(uses):
    found = row(
        {
            "tenant.id": "acme",
            "late": False,
            "loki.labels": {"job": "x"},
            "http.response.status_code": 404,
            "user_agent.original": "curl",
            "unmapped": {"a": [1, None], "b": "c"},
        },
        uses=uses,
    )
    assert found["TenantName"] == "acme"
    assert found["LateArrival"] is False
    assert found["Labels"] == {"job": "x"}
    assert found["HttpStatus"] == 404
    assert found["Unmapped"] == {"user_agent.original": "curl", "a": [1, None], "b": "c"}
    assert "Truncated" not in found


@pytest.mark.parametrize("uses", [1, COMPILE_AFTER + 1])
@pytest.mark.parametrize(
    ("members", "column", "expected", "unmapped", "moved"),
    [
        ({"message": 12}, "Message", "12", None, 0),
        ({"message": True}, "Message", "true", None, 0),
        ({"message": {"a": 1}}, "Message", '{"a":1}', None, 0),
        ({"message": None}, "Message", None, None, 0),
        ({"http.response.status_code": "200"}, "HttpStatus", None, {"http.response.status_code": "200"}, 1),
        ({"http.response.status_code": 2**31}, "HttpStatus", None, {"http.response.status_code": 2**31}, 1),
        ({"http.response.status_code": True}, "HttpStatus", None, {"http.response.status_code": True}, 1),
        ({"http.response.status_code": -(2**31)}, "HttpStatus", -(2**31), None, 0),
        ({"late": "yes"}, "LateArrival", None, {"late": "yes"}, 1),
        ({"loki.labels": [1, 2]}, "Labels", [1, 2], None, 0),
        ({"unmapped": "odd"}, "Message", None, {"unmapped": "odd"}, 0),
        ({"time.ns": 5}, "EventTimeNs", TIME_NS, {"time.ns": 5}, 0),
        ({"truncated": "x"}, "Truncated", None, {"truncated": "x"}, 0),
    ],
)
def test_a_wrong_type_moves_and_is_counted(members, column, expected, unmapped, moved, uses):
    the_mapper = mapper()
    found = row(members, the_mapper, uses=uses)
    assert (found.get(column), found.get("Unmapped")) == (expected, unmapped)
    assert the_mapper.changes.moved == moved * uses


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        ("long", 2**40, True), ("long", 2**63, False), ("real", 1, True), ("real", 1.5, True), ("real", "1", False),
        ("datetime", "2026-01-02T03:04:05.6Z", True), ("datetime", "yesterday", False),
        ("datetime", "2026-01-02T03:04:05.123456789Z", False), ("datetime", "2026-13-02T03:04:05Z", False),
        ("datetime", "2026-01-02 03:04:05+01:00", True),
        ("dynamic", 3, True),
    ],
)  # fmt: skip
def test_other_types(kind, value, fits):
    found = row({"kind": value}, mapper(kind=f"Kind:{kind}"), uses=COMPILE_AFTER + 1)
    assert (found.get("Kind") == value) is fits
    assert ("Unmapped" in found) is not fits


@pytest.mark.parametrize("uses", [1, COMPILE_AFTER + 1])
def test_names_that_meet_are_both_kept(uses):
    found = row({"user.id": 1, "unmapped": {"user.id": 2, "unmapped.user.id": 3, "z": 4}}, uses=uses)
    assert found["Unmapped"] == {"user.id": 1, "unmapped.unmapped.user.id": 2, "unmapped.user.id": 3, "z": 4}


def test_long_fields_are_cut_and_named():
    the_mapper = mapper()
    found = row({"message": "ä" * 40_000, "unmapped": {"a": "b", "long": "x" * 70_000, "last": 1}}, the_mapper)
    assert len(found["Message"].encode()) == MAX_FIELD_BYTES
    assert found["Truncated"] == ["Message", "Unmapped"]
    assert found["Unmapped"]["a"] == "b"
    assert 60_000 < len(orjson.dumps(found["Unmapped"])) <= MAX_FIELD_BYTES
    assert the_mapper.changes.truncated == 2


def test_members_that_grow_by_their_new_names_are_cut_too():
    names = [f"k{n}" for n in range(2_800)]
    value = event({**dict.fromkeys(names, 1), "unmapped": dict.fromkeys(names, 2)})
    assert len(value) < 60_000
    found = orjson.loads(encode(mapper(), value))
    assert len(orjson.dumps(found["Unmapped"])) <= MAX_FIELD_BYTES
    assert found["Truncated"] == ["Unmapped"]


def test_a_table_without_dynamic_columns_gets_json_text():
    table = {**DEFAULT_COLUMNS, "loki.labels": "Labels", "unmapped": "Unmapped", "truncated": "Truncated"}
    the_mapper = Mapper(parse_columns(table))
    for _ in range(COMPILE_AFTER + 1):
        encoded = encode(the_mapper, event({"loki.labels": {"a": "b"}, "x": 1, "message": "m" * 70_000}))
        short = encode(the_mapper, event({"loki.labels": {"a": "b"}, "x": 1}))
    found = orjson.loads(encoded)
    assert found["Labels"] == '{"a":"b"}' == orjson.loads(short)["Labels"]
    assert found["Unmapped"] == '{"x":1}' == orjson.loads(short)["Unmapped"]
    assert found["Truncated"] == '["Message"]'


@pytest.mark.parametrize(
    "value",
    [b"", b"[]", HEAD, b'{"time":1}', HEAD[:-1], b'{"event.id":"' + b"a" * 32 + b'","time":"noon"}',
     b'{"event.id":"' + b"a" * 32 + b'","time":99999999999999999999999999999,"a":1}', HEAD + b'"message":"secret-text"',
     b'{"event.id":"x"}', HEAD + b'"deep":' + b"[" * 300 + b"]" * 300 + b"}", HEAD.replace(b",", b".5,", 2) + b'"a":1}',
     HEAD + b'"message":' + b"[" * 300 + b"]" * 300 + b"}", b'["' + HEAD + b'"]'],
)  # fmt: skip
def test_what_is_no_event(value):
    rows = Rows(0)
    good = event({"message": "m"})
    assert mapper().encode([Record(n, b"", v) for n, v in enumerate([good, value, good])], 7, rows) == [8]
    assert (rows.indices, len(rows.ends), len(rows.times)) == ([7, 9], 2, 2)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=9),
)
KEYS = st.one_of(st.sampled_from([*DEFAULT_COLUMNS, "user.id", "x"]), st.text(max_size=6)).filter(
    lambda key: key not in {"time", "event.id"}
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=6
)


@examples(max_examples=150)
@given(st.dictionaries(KEYS, VALUES, max_size=10))
def test_plan_and_table_agree_nothing_is_lost_and_azure_changes_nothing(members):
    fresh, used = mapper(), mapper()
    value = event(members)
    by_table = encode(fresh, value)
    for _ in range(COMPILE_AFTER + 1):
        by_plan = encode(used, value)
    assert orjson.loads(by_table) == orjson.loads(by_plan)
    table = Table(STREAM_COLUMNS)
    (stored,) = table.take(b"[" + by_plan + b"]", TIME_NS / 1e9)
    silent = table.silent
    assert (silent.columns_dropped, silent.fields_cut, silent.cells_nulled, silent.restamped) == (0, 0, 0, 0)
    columns = parse_columns(DEFAULT_COLUMNS)
    for key, item in members.items():
        if key in columns and item is None:
            continue
        column = columns.get(key)
        if key == "unmapped" and type(item) is dict:
            kept = stored.get("Unmapped", {})
            assert all(kept.get(k, kept.get(f"unmapped.{k}", ...)) is not ... for k in item)
        elif column is None or key in {"unmapped", "truncated", "time.ns"} or column.name not in stored:
            assert stored["Unmapped"][key] == item
        elif column.type == "string" and type(item) is not str:
            assert stored[column.name] == orjson.dumps(item).decode()
        else:
            assert stored[column.name] == item


@pytest.mark.parametrize("room", [0, 100, 100_000])
def test_rows_by_range(room):
    rows = Rows(room)
    values = [event({"message": "m" * n}) for n in range(50)]
    for start in range(0, 50, 7):
        mapper().encode([Record(0, b"", v) for v in values[start : start + 7]], start, rows)
    for first in range(50):
        for end in range(first + 1, 51):
            plain = igzip.decompress(rows.packed((first, end), 1))
            assert len(plain) == rows.size((first, end))
            assert [len(r["Message"]) for r in orjson.loads(plain)] == list(range(first, end))


def test_shapes_are_bounded():
    the_mapper = mapper()
    for n in range(MAX_SHAPES + 10):
        encode(the_mapper, event({f"k{n}": 1}))
    for _ in range(COMPILE_AFTER + 5):
        encode(the_mapper, event({f"k{n}": 1 for n in range(500)}))
    assert len(the_mapper._plans._uses) <= MAX_SHAPES


def test_keys_cannot_be_code():
    evil = {"'+__import__('os').abort()+'": 1, "\\": 2, 'a"}; raise SystemExit #': 3, "\n": 4}
    assert row(evil, uses=COMPILE_AFTER + 1)["Unmapped"] == evil


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"event.id": None}, "event.id"),
        ({"unmapped": None}, "unmapped"),
        ({"unmapped": "Unmapped:int"}, "dynamic or string"),
        ({"truncated": None}, "truncated"),
        ({"time.ns": "Ns:int"}, "long"),
        ({"kind": "Type"}, "Azure's own"),
        ({"kind": "tenantid"}, "Azure's own"),
        ({"kind": "TimeGenerated"}, "Azure's own"),
        ({"kind": "message"}, "same column"),
    ],
)
def test_faults_of_a_table(change, fault):
    table = {k: v for k, v in {**DEFAULT_COLUMNS, **change}.items() if v is not None}
    assert any(fault in found for found in faults_of(table))
