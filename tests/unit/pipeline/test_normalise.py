"""Mapping by table: names, types, what stays unmapped, and that the compiled form equals the table's."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.pipeline.normalise import Lines, Normaliser
from exporter.pipeline.normalise.names import FIELD_ALIASES


def mapped(document: dict[str, Any], claimed: frozenset[str] = frozenset()) -> dict[str, Any]:
    return Normaliser().mapper(claimed)("json", tuple(document), tuple(document.values()))


def test_names_and_kind():
    event = mapped({"msg": "hi", "level": "WARN", "user": "u", "method": "get", "path": "/", "status": "404", "x": 1})
    assert event == {
        "message": "hi",
        "severity.text": "WARN",
        "severity.number": 13,
        "user.name": "u",
        "http.request.method": "GET",
        "url.path": "/",
        "http.response.status_code": 404,
        "event.outcome": "failure",
        "kind": "http.request",
        "unmapped": {"x": 1},
    }


def test_nested_objects_keep_what_is_not_mapped():
    event = mapped(
        {"http": {"method": "POST", "status": 200, "bytes": 5}, "user": {"id": 7, "name": "u"}, "o": {"http": 1}}
    )
    assert event["http.response.status_code"] == 200
    assert (event["user.id"], event["user.name"]) == ("7", "u")
    assert event["unmapped"] == {"http": {"bytes": 5}, "o": {"http": 1}}


@pytest.mark.parametrize(
    "document",
    [
        {"status": "ok"},
        {"status": 99},
        {"status": None},
        {"status": True},
        {"method": "GetUser"},
        {"msg": {"a": 1}},
        {"msg": 5},
        {"user": ["a"]},
        {"src_port": 70_000},
        {"trace_id": 1},
        {"http": []},
        {"http": {}},
        {"http": {"method": None}},
    ],
)
def test_a_value_that_cannot_be_what_its_key_says_stays_unmapped(document: dict[str, Any]):
    assert mapped(document) == {"kind": "log", "unmapped": document}


def test_first_alias_wins_and_the_other_stays():
    assert mapped({"username": "b", "user.name": "a"}) == {
        "user.name": "a",
        "kind": "log",
        "unmapped": {"username": "b"},
    }


def test_labels_win_over_lines():
    labels = {"service_name": "shop", "pod": "p-1", "namespace": "prod", "level": "Error", "job": "x", "host": ""}
    fields = Normaliser().label_fields(labels)
    assert fields == {
        "service.name": "shop",
        "k8s.pod.name": "p-1",
        "k8s.namespace.name": "prod",
        "severity.text": "Error",
        "severity.number": 17,
    }
    assert mapped({"service": "evil", "level": "info"}, frozenset(fields)) == {
        "kind": "log",
        "unmapped": {"service": "evil", "level": "info"},
    }


def test_a_line_cannot_set_what_is_the_exporters():
    own = {
        "event.id": "x",
        "tenant.id": "other",
        "kind": "auth",
        "policy.id": "p",
        "late": True,
        "time": 1,
        "unmapped": 2,
    }
    assert mapped(own) == {"kind": "log", "unmapped": own}


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=4)
KEYS = (
    st.sampled_from(sorted(FIELD_ALIASES))
    | st.text(max_size=4)
    | st.sampled_from(["http", "user", "'", "\\", '"""', "\n"])
)
VALUES = (
    SCALARS
    | st.sampled_from(["GET", "404", "info", 200, 30, {"method": "GET", "status": 200}, {"method": "get", "x": 1}])
    | st.dictionaries(KEYS, SCALARS, max_size=3)
    | st.lists(SCALARS, max_size=2)
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=6)


def keys_of(value: Any) -> set[str]:
    """Return every key at any level, and every dotted name that ends in one."""
    if not isinstance(value, dict):
        return set()
    return {name for key, item in value.items() for name in (key, *(f"{key}.{inner}" for inner in keys_of(item)))}


def leaves(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(leaves, value.values())) or 1
    return sum(map(leaves, value)) or 1 if isinstance(value, list) else 1


@settings(deadline=None)
@given(DOCUMENTS)
def test_nothing_is_lost_and_the_compiled_plan_does_the_same(document: dict[str, Any]):
    event = mapped(document)
    added = {"kind"} & set(event)
    added |= {"severity.number"} if "severity.number" not in keys_of(document) else set()
    added |= {"event.outcome"} if not {"event.outcome", "outcome"} & keys_of(document) else set()
    assert sum(leaves(v) for k, v in event.items() if k not in added) == sum(map(leaves, document.values()))
    normaliser = Normaliser()
    mapper = normaliser.mapper(frozenset())
    for _ in range(Lines.COMPILE_AFTER + 3):
        again = mapper("json", tuple(document), tuple(document.values()))
        assert (again, list(again)) == (event, list(event))


@settings(deadline=None)
@given(DOCUMENTS.filter(bool), st.lists(st.lists(VALUES, min_size=6, max_size=6), max_size=6))
def test_a_compiled_plan_maps_other_values_as_the_table_does(document: dict[str, Any], others: list[list[Any]]):
    keys = tuple(document)
    compiled = Normaliser().mapper(frozenset(("k8s.pod.name",)))
    for _ in range(Lines.COMPILE_AFTER):
        compiled("json", keys, tuple(document.values()))
    for values in others:
        by_table = Normaliser().mapper(frozenset(("k8s.pod.name",)))("json", keys, tuple(values[: len(keys)]))
        event = compiled("json", keys, tuple(values[: len(keys)]))
        assert orjson.dumps(event) == orjson.dumps(by_table)


def test_plans_are_bounded():
    mapper = Normaliser().mapper(frozenset())
    for number in range(Normaliser.MAX_PLANS * 2):
        mapper("json", (f"k{number}",), (1,))
    assert mapper("json", ("k1",), (2,)) == {"kind": "log", "unmapped": {"k1": 2}}
