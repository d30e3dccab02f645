"""Filters: which events they take out, what they add, that every event stays accounted for, and what a wrong one is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.domain.clock import ManualClock
from exporter.domain.events import EncodedBatch, event_id_of
from exporter.errors import ConfigurationError
from exporter.pipeline import Pipeline, compile_pipeline
from exporter.pipeline.filters.caps import RateCap
from exporter.pipeline.filters.values import at_path
from tests.support.pipelines import NOW_NS, TENANT, batch_of, events_of, pipeline_of, settings_of, stream_of

LINE = '{"path":"/healthz","method":"GET","status":200,"user":"anna","a":{"b.c":{"d":"7.5"}},"level":"debug"}'
LABELS = {"namespace": "prod", "job": "shop"}


def piped(*filters: dict[str, Any], **changes: Any) -> Pipeline:
    return pipeline_of(filters=list(filters), redaction=["secrets"], **changes)


def out_of(lines: list[str], *filters: dict[str, Any]) -> EncodedBatch:
    out = piped(*filters).process(batch_of(stream_of(lines, LABELS)))
    assert out.counts["in"] == out.counts["out"] + out.counts["held"] + out.counts["filtered"]
    assert out.counts["filtered"] == sum(out.filtered.values())
    return out


def faults(*filters: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        piped(*filters)
    return [(f.path.removeprefix(f"tenants.{TENANT}.filters"), f"{f.reason} {f.cure}") for f in caught.value.findings]


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({"field": "url.path", "equals": "/healthz"}, True),
        ({"field": "url.path", "equals": "/health"}, False),
        ({"field": "http.response.status_code", "equals": 200}, True),
        ({"field": "http.response.status_code", "equals": "200"}, True),
        ({"field": "http.response.status_code", "one_of": [500, 200]}, True),
        ({"field": "url.path", "starts_with": "/he"}, True),
        ({"field": "url.path", "ends_with": "thz"}, True),
        ({"field": "url.path", "contains": "xx"}, False),
        ({"field": "url.path", "matches": "^/h.*z$"}, True),
        ({"field": "url.path", "matches": "^z"}, False),
        ({"field": "severity.number", "below": 9}, True),
        ({"field": "severity.number", "above": 5}, False),
        ({"field": "severity.number", "at_least": 5}, True),
        ({"field": "severity.number", "at_most": 4}, False),
        ({"field": "unmapped.a.b.c.d", "above": 7}, True),
        ({"field": "unmapped.a", "exists": True}, True),
        ({"field": "unmapped.a", "equals": "x"}, False),
        ({"field": "host.name", "exists": False}, True),
        ({"field": "host.name", "exists": True}, False),
        ({"field": "k8s.namespace.name", "equals": "prod"}, True),
        ({"label": "namespace", "equals": "prod"}, True),
        ({"label": "nothing", "exists": True}, False),
        ({"field": "kind", "equals": "http.request"}, True),
        ({"all": [{"label": "job", "equals": "shop"}, {"field": "user.name", "equals": "anna"}]}, True),
        ({"all": [{"label": "job", "equals": "x"}, {"field": "user.name", "equals": "anna"}]}, False),
        ({"any": [{"label": "job", "equals": "x"}, {"field": "user.name", "equals": "anna"}]}, True),
        ({"none": [{"label": "job", "equals": "x"}, {"field": "user.name", "equals": "bob"}]}, True),
        ({"none": [{"label": "job", "equals": "x"}, {"field": "user.name", "equals": "anna"}]}, False),
        ({"none": [{"label": "job", "equals": "x"}]}, True),
    ],
)
def test_conditions(when: dict[str, Any], holds: bool):
    out = out_of([LINE], {"name": "probe", "when": when, "then": "drop"})
    assert out.filtered == ({"probe": 1} if holds else {})
    assert len(out.values) == (0 if holds else 1)


@pytest.mark.parametrize(
    ("ip", "inside"), [("10.1.2.3", True), ("11.1.2.3", False), ("2001:db8::1", True), ("x", False)]
)
def test_networks(ip: str, inside: bool):
    when = {"field": "source.ip", "in_network": ["10.0.0.0/8", "2001:db8::/32"]}
    assert len(out_of([f'{{"client_ip":"{ip}"}}'], {"when": when, "then": "drop"}).values) == (not inside)


def test_keep_ends_the_way_and_order_is_kept():
    lines = [f'{{"msg":"{i}","n":{i}}}' for i in range(9)]
    keep = {"when": {"field": "unmapped.n", "one_of": [2, 5]}, "then": "keep"}
    out = out_of(lines, keep, {"then": "drop"})
    assert [e["message"] for e in events_of(out)] == ["2", "5"]
    assert out.filtered == {"filter-2": 7}
    assert out_of(lines, {"then": "keep"}, {"then": "drop"}).filtered == {}


def test_a_stream_dropped_by_its_labels_takes_nothing_with_it():
    pipeline = piped({"name": "noise", "when": {"label": "job", "equals": "noise"}, "then": "drop"})
    streams = [stream_of(["a", "b"], {"job": job}) for job in ("x", "noise", "y")]
    out = pipeline.process(batch_of(*streams))
    assert [e["message"] for e in events_of(out)] == ["a", "b", "a", "b"]
    assert (out.filtered, out.counts["in"], out.counts["out"]) == ({"noise": 2}, 6, 4)


def test_a_sample_is_the_same_in_every_replay_whatever_the_batches():
    lines = [f"line {i}" for i in range(2000)]
    sample = {"then": "sample", "share": 0.25}
    stream = stream_of(lines, LABELS)
    whole = [event_id_of(v) for v in out_of(lines, sample).values]
    assert 400 < len(whole) < 600
    single = piped(sample)
    alone = [
        event_id_of(v)
        for i in range(0, 2000, 7)
        for v in single.process(batch_of(type(stream)(LABELS, stream.times_ns[i : i + 7], lines[i : i + 7], stream.event_ids[i : i + 7]))).values
    ]  # fmt: skip
    assert alone == whole
    assert out_of(lines[:50], {"then": "sample", "share": 0}).values == []
    assert len(out_of(lines[:50], {"then": "sample", "share": 1}).values) == 50


def test_a_cap_holds_per_stream_and_gives_a_repeated_batch_the_same_answer():
    pipeline = piped({"name": "flood", "then": "cap", "per_second": 3})
    streams = [stream_of([f"{job} {i}" for i in range(10)], {"job": job}) for job in "ab"]
    first, again = (pipeline.process(batch_of(*streams)) for _ in range(2))
    assert first.filtered == again.filtered == {"flood": 14}
    assert first.values == again.values


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 3), st.integers(0, 40)), max_size=200))
@settings(max_examples=60, deadline=None)
def test_a_cap_is_bounded_and_never_above_its_rate(asked: list[tuple[bytes, int, int]]):
    cap = RateCap(2, max_ids=1000)
    admitted: dict[tuple[bytes, int], set[int]] = {}
    for stream, second, number in asked:
        if cap.admits(stream, second * 10**9 + number, number.to_bytes(16, "big")):
            admitted.setdefault((stream, second), set()).add(number)
    assert all(len(ids) <= 2 for ids in admitted.values())
    small = RateCap(2, max_ids=5)
    for second in range(100):
        assert small.admits(b"s", second * 10**9, second.to_bytes(16, "big"))
    assert small._ids <= 5


def test_enriching_adds_and_never_overwrites(tmp_path: Path):
    table = tmp_path / "assets.csv"
    table.write_text('user,owner.team,user.id\nanna,"pay, ments",7\nbob,,\n')
    lookup = {"file": str(table), "column": "user", "field": "user.name"}
    fixed = {"site": "fra1", "url.path": "/x", "k8s.namespace.name": "y"}
    known = {"when": {"field": "owner.team", "exists": True}, "then": "keep"}
    filters = [{"then": "enrich", "add": fixed, "lookup": lookup}, known, {"then": "drop"}]
    event = events_of(out_of([LINE, '{"user":"bob"}'], *filters))
    assert len(event) == 1
    got = {k: event[0][k] for k in ("site", "url.path", "k8s.namespace.name", "owner.team", "user.id")}
    want = {"url.path": "/healthz", "k8s.namespace.name": "prod", "owner.team": "pay, ments", "user.id": "7"}
    assert got == {"site": "fra1", **want}


def test_a_changed_table_is_read_again_and_a_broken_one_changes_nothing(tmp_path: Path):
    table = tmp_path / "t.csv"
    lookup = {"file": str(table), "column": "job", "label": "job"}
    clock = ManualClock(NOW_NS)

    def write(text: str, stamp: int) -> str:
        table.write_text(text)
        os.utime(table, (stamp, stamp))
        clock.advance(6)
        out = pipeline.process(batch_of(stream_of(["x"], {"job": "shop"})))
        assert events_of(out)[0]["policy.id"] == out.policy_id
        seen.append(out.policy_id)
        return str(events_of(out)[0].get("team"))

    seen: list[str] = []
    table.write_text("job,team\nshop,one\n")
    settings_ = settings_of(filters=[{"then": "enrich", "lookup": lookup}], redaction=["secrets"])
    pipeline = compile_pipeline(TENANT, settings_, clock=clock)
    assert write("job,team\nshop,two\n", 1000) == "two"
    assert write("job;team\nshop", 2000) == "two"
    assert write("job,team\nshop,three\n", 3000) == "three"
    assert seen[0] == seen[1] != seen[2]


def test_added_secrets_do_not_leave():
    out = out_of(["x"], {"then": "enrich", "add": {"note": "password=hunter2hunter2"}})
    assert sum(b"hunter2hunter2" in v for v in out.values) == 0


@pytest.mark.parametrize(
    ("wrong", "path", "said"),
    [
        ({"when": {"field": "url.pth", "exists": True}, "then": "drop"}, "[0].when.field", "Did you mean url.path?"),
        ({"when": {"field": "url.path"}, "then": "drop"}, "[0].when", "has no operator"),
        ({"when": {"equals": "x"}, "then": "drop"}, "[0].when", "either field or label"),
        ({"when": {"field": "url.path", "equals": 1, "contains": "1"}, "then": "drop"}, "[0].when", "has 2 operators"),
        ({"when": {"field": "url.path", "matches": "(?=a)"}, "then": "drop"}, "[0].when.matches", "cannot be used"),
        ({"when": {"field": "source.ip", "in_network": ["10.0.0.1/8"]}, "then": "drop"}, "[0].when.in_network[0]", "no network"),
        ({"when": {"all": [{"any": [{"label": "a"}]}]}, "then": "drop"}, "[0].when.all[0].any[0]", "has no operator"),
        ({"then": "sample"}, "[0].then", "Add share"),
        ({"then": "drop", "share": 0.5}, "[0].share", "then: sample"),
        ({"then": "enrich", "add": {"event.id": "x"}}, "[0].add", "set by the exporter"),
        ({"then": "enrich", "lookup": {"file": "/nowhere.csv", "column": "a", "label": "b"}}, "[0].lookup.file", "cannot be read"),
    ],
)  # fmt: skip
def test_what_a_wrong_filter_is_told(wrong: dict[str, Any], path: str, said: str):
    assert [p for p, _ in faults(wrong)] == [path]
    assert said in faults(wrong)[0][1]


def test_all_faults_come_at_once_and_a_blind_condition_is_refused():
    assert (
        len(faults({"then": "sample"}, {"then": "cap"}, {"name": "a", "then": "keep"}, {"name": "a", "then": "keep"}))
        == 3
    )
    when = {"field": "source.ip", "in_network": ["10.0.0.0/8"]}
    with pytest.raises(ConfigurationError, match="filters see redacted events"):
        pipeline_of(filters=[{"when": when, "then": "drop"}], redaction=["eu-pii"])


@given(st.recursive(st.dictionaries(st.text("ab.", max_size=3), st.integers(), max_size=3), lambda inner: st.dictionaries(st.text("ab.", max_size=3), inner, max_size=3), max_leaves=6), st.text("ab.", max_size=8))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_any_path_into_anything(holder: dict[str, Any], path: str):
    at_path(holder, path)
    for key, value in holder.items():
        assert at_path(holder, key) == value
