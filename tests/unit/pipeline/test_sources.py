"""Vocabularies of sources: golden samples, and that no table loses, invents or misnames anything."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.domain.keys import ENVELOPE, KEYS
from exporter.domain.kinds import KINDS
from exporter.pipeline.normalise import Lines, Normaliser
from exporter.pipeline.normalise.labels import label_fields
from exporter.pipeline.normalise.source import Source, has_required
from exporter.pipeline.normalise.sources import SOURCES, recognise

GOLDEN = sorted((Path(__file__).parents[2] / "golden" / "sources").glob("*.json"))
MAY_LEAVE = {*KEYS, "kind", "unmapped"}


def mapped(source: str, fields: dict[str, Any], claimed: frozenset[str] = frozenset()) -> dict[str, Any]:
    return Normaliser().mapper(claimed)(source, tuple(fields), tuple(fields.values()))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden(path: Path):
    case = json.loads(path.read_text("utf-8"))
    keys, values = tuple(case["fields"]), tuple(case["fields"].values())
    mapper = Normaliser().mapper(frozenset())
    for _ in range(Lines.COMPILE_AFTER + 2):  # the last ones by the compiled function
        event = mapper(case["source"], keys, values)
        assert (event, list(event)) == (case["event"], list(case["event"]))
    assert event.keys() <= MAY_LEAVE
    assert has_required(event["kind"], frozenset(event))


def test_there_is_a_golden_sample_for_nearly_every_source():
    seen = set()
    for path in GOLDEN:
        case = json.loads(path.read_text("utf-8"))
        source = recognise(case["source"], tuple(case["fields"]))
        seen.add(source.name)
        if source.prepare is not None:
            seen.add(source.prepare(tuple(case["fields"]), tuple(case["fields"].values()))[0])
    assert set(SOURCES) - seen <= {"access", "cri", "pam", "sudo", "auth", "kv_firewall", "entra_signin", "packets"}


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)
def test_tables_use_only_names_that_exist(source: Source):
    targets = {*source.fields, *source.constants}
    kinds = {source.kind}
    for row in source.variants.values():
        targets |= {*row.fields, *row.constants}
        kinds.add(row.kind)
    for derived in source.derive:
        targets |= {derived.origin, derived.target}
    for missing, target, _ in source.absent:
        targets |= {missing, target}
    assert targets - {"kind"} <= set(KEYS)
    assert kinds - {""} <= set(KINDS)


def test_no_key_is_both_the_exporters_and_a_lines():
    assert not set(ENVELOPE) & set(KEYS)
    assert all(name in KEYS for kind in KINDS.values() for group in kind.requires for name in group)


def test_an_order_of_keys_or_a_missing_one_changes_no_meaning():
    case = json.loads((GOLDEN[0].parent / "windows_4624_winlogbeat.json").read_text("utf-8"))
    turned = dict(reversed(case["fields"].items()))
    assert mapped("json", turned) == case["event"]
    del turned["winlog"]["event_data"]["TargetUserName"]
    del turned["winlog"]["event_data"]["TargetUserSid"]
    assert mapped("json", turned)["kind"] == "log"


def test_a_source_that_no_table_knows_is_read_as_an_application():
    assert mapped("new", {"msg": "x", "kind": "auth.logon"}) == {
        "message": "x",
        "kind": "log",
        "unmapped": {"kind": "auth.logon"},
    }


def test_own_kind_needs_its_keys():
    assert mapped("sshd", {"kind": "auth.logon", "message": "x"}) == {"message": "x", "kind": "log"}
    assert mapped("sshd", {"kind": "nonsense", "user.name": "u"})["unmapped"] == {"kind": "nonsense"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", {"source.ip": "192.0.2.1"}),
        ("::ffff:192.0.2.1", {"source.ip": "192.0.2.1"}),
        ("192.0.2.1:80", {"source.ip": "192.0.2.1", "source.port": 80}),
        ("[2001:db8::1]:80", {"source.ip": "2001:db8::1", "source.port": 80}),
        ("2001:db8::1", {"source.ip": "2001:db8::1"}),
        ("fe80::1%eth0", {"source.address": "fe80::1%eth0"}),
        ("[redacted-ipv4]", {"source.address": "[redacted-ipv4]"}),
        ("[redacted-ipv4]:80", {"source.address": "[redacted-ipv4]", "source.port": 80}),
        ("192.0.2.0/24", {"source.address": "192.0.2.0/24"}),
        ("192.0.2.1:99999", {"source.address": "192.0.2.1:99999"}),
        ("999.1.1.1", {"source.address": "999.1.1.1"}),
    ],
)
def test_addresses(text: str, expected: dict[str, Any]):
    assert mapped("json", {"client_ip": text}) == {**expected, "kind": "log"}


def test_the_tenants_own_names_win_and_a_trace_has_its_link():
    normaliser = Normaliser(
        {"customer.login": "user.name", "app": "host.name"}, "https://grafana.example/trace/{trace_id}?x=1"
    )
    line = {"customer": {"login": "anna", "x": 1}, "user": "other", "app": "web-1", "traceId": "a/b"}
    event = normaliser.mapper(frozenset())("json", tuple(line), tuple(line.values()))
    assert event == {
        "user.name": "anna",
        "host.name": "web-1",
        "trace.id": "a/b",
        "trace.url": "https://grafana.example/trace/a%2Fb?x=1",
        "kind": "log",
        "unmapped": {"customer": {"x": 1}, "user": "other"},
    }
    assert normaliser.label_fields({"trace_id": "ab"})["trace.url"] == "https://grafana.example/trace/ab?x=1"


def test_structured_metadata_of_otlp():
    fields = label_fields(
        {
            "severity_text": "WARN",
            "severity_number": "13",
            "trace_id": "t",
            "scope_name": "lib",
            "service_name": "shop",
            "observed_timestamp": "1764000000000000000",
            "http_request_method": "get",
            "url_path": "/x",
            "client_address": "192.0.2.1",
            "flags": "1",
            "detected_level": "unknown",
        }
    )
    assert fields == {
        "severity.text": "WARN",
        "severity.number": 13,
        "trace.id": "t",
        "log.logger": "lib",
        "service.name": "shop",
        "observed_time": 1_764_000_000_000_000_000,
        "http.request.method": "GET",
        "url.path": "/x",
        "source.ip": "192.0.2.1",
    }
    event = {"message": "x", "kind": "log"}
    Normaliser().add_metadata(event, fields, frozenset())
    assert event["kind"] == "http.request"
    assert label_fields({"detected_level": "unknown"}) == {}


@cache
def names_of(source: str) -> list[str]:
    row = SOURCES[source]
    tables = [row.fields, *(variant.fields for variant in list(row.variants.values())[:40])]
    names = {name.removesuffix("[0]") for table in tables for names in table.values() for name in names.split()}
    return sorted(names | set(row.by) | {"message", "level", "src_ip", "status", "method"})


def nest(pairs: dict[str, Any]) -> dict[str, Any]:
    """Put values at dotted names into objects, where nothing is in the way."""
    out: dict[str, Any] = {}
    for name, value in pairs.items():
        at = out
        *steps, last = name.split(".")
        for step in steps:
            inner = at.setdefault(step, {})
            if not isinstance(inner, dict):
                break
            at = inner
        else:
            at.setdefault(last, value)
    return out


VALUES = (
    st.sampled_from(
        ["4624", 4720, "1", "alert", "ConsoleLogin", "USER_LOGIN", "10.0.0.1", "10.0.0.1:80", "x:1", "[a]:2", "", "-", "failed", "GET", 404, "0x1f", ["a"], ["a", "b"], [], {}, {"a": 1}, None, True, 1.5, 2**63, "auth.logon", "dhcp", "Microsoft-Windows-Sysmon"]
    )
    | st.text(max_size=3)
)  # fmt: skip


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """Return a source and some lines of the same keys."""
    source = draw(st.sampled_from(sorted(SOURCES)))
    names = draw(st.lists(st.sampled_from(names_of(source)), min_size=1, max_size=8, unique=True))
    names += sorted(draw(st.sampled_from([*SOURCES[source].signatures, frozenset()])))
    is_nested = draw(st.booleans())
    made = []
    for _ in range(draw(st.integers(1, 3))):
        pairs = {name: draw(VALUES) for name in names}
        made.append(nest(pairs) if is_nested else pairs)
    return source, made


@settings(deadline=None, max_examples=300)
@given(lines(), st.sampled_from([frozenset(), frozenset(("user.name", "source.ip", "host.name"))]))
def test_compiled_equals_table_and_nothing_is_lost(made: tuple[str, list[dict[str, Any]]], claimed: frozenset[str]):
    source, documents = made
    compiled = Normaliser().mapper(claimed)
    for _ in range(Lines.COMPILE_AFTER + 1):
        compiled(source, tuple(documents[0]), tuple(documents[0].values()))
    for document in documents:
        event = compiled(source, tuple(document), tuple(document.values()))
        by_table = mapped(source, document, claimed)
        assert orjson.dumps(event) == orjson.dumps(by_table)
        assert event.keys() <= MAY_LEAVE
        assert not claimed & event.keys()
        assert has_required(event["kind"], frozenset(event) | claimed)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(SOURCES)), st.data(), st.booleans())
def test_every_text_of_a_line_is_in_its_event(source: str, data: st.DataObject, is_nested: bool):
    names = data.draw(st.lists(st.sampled_from(names_of(source)), min_size=1, max_size=12, unique=True))
    names += sorted(data.draw(st.sampled_from([*SOURCES[source].signatures, frozenset()])) - set(names))
    pairs: dict[str, Any] = {name: [f"m{n}m", f"x{n}x"] if n % 5 == 4 else f"m{n}m" for n, name in enumerate(names)}
    document = nest(pairs) if is_nested else pairs
    event = orjson.dumps(mapped(source, document)).decode()
    texts = [text for value in pairs.values() for text in (value if isinstance(value, list) else [value])]
    there = orjson.dumps(document).decode()
    assert [text for text in texts if text in there and text not in event] == []
