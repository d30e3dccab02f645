"""What the published schemas demand holds for whatever keys and values an event has."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.schemas import SchemaEncoder, mapping
from connectors.schemas.ocsf.classes import VERSIONS
from tests.support.ocsf import faults
from tests.support.schemas import KINDS, example

#: https://www.elastic.co/docs/reference/ecs, "Categorization fields": allowed values.
CATEGORIES = frozenset(
    [
        "api",
        "authentication",
        "configuration",
        "database",
        "driver",
        "email",
        "file",
        "host",
        "iam",
        "intrusion_detection",
        "library",
        "malware",
        "network",
        "package",
        "process",
        "registry",
        "session",
        "threat",
        "vulnerability",
        "web",
    ]
)
TYPES = frozenset(
    [
        "access",
        "admin",
        "allowed",
        "change",
        "connection",
        "creation",
        "deletion",
        "denied",
        "device",
        "end",
        "error",
        "group",
        "indicator",
        "info",
        "installation",
        "protocol",
        "start",
        "user",
    ]
)
#: Any kind with any choice of the keys of all examples: lacking ones, foreign ones, of values that do not fit.
_KEYS = {key: value for kind in KINDS for key, value in example(kind).items()}
_ODD = st.one_of(
    st.sampled_from(["[ip]", "", "a b", "999.1.1.1", "::1", -1, 70_000, 2**40, 1.5, True, None]), st.text(max_size=8)
)
_FIXED = ("event.id", "time", "kind", "tenant.id", "loki.labels")


@st.composite
def events(draw):
    event = {key: example("log")[key] for key in _FIXED}
    event["kind"] = draw(st.sampled_from(KINDS))
    names = st.sampled_from(sorted(_KEYS.keys() - set(_FIXED) - {"unmapped", "loki.structured_metadata"}))
    base = example(event["kind"]) if draw(st.booleans()) else {}
    for key in draw(st.lists(names, max_size=8, unique=True)):
        base[key] = draw(_ODD) if draw(st.booleans()) else _KEYS[key]
    for key in draw(st.lists(names, max_size=3)):
        base.pop(key, None)
    return event | base | {"kind": event["kind"]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_examples_are_valid_ocsf(version, kind):
    assert faults(mapping("ocsf", version)(example(kind))) == []


@settings(max_examples=150, deadline=None)
@given(events(), st.sampled_from(VERSIONS))
def test_any_event_is_valid_ocsf(event, version):
    assert faults(mapping("ocsf", version)(event)) == []


@settings(max_examples=150, deadline=None)
@given(events())
def test_any_event_is_valid_ecs(event):
    about = mapping("ecs")(event)["event"]
    assert about["kind"] in {"event", "alert"}
    assert about["outcome"] in {"success", "failure", "unknown"}
    assert CATEGORIES.issuperset(about.get("category", ()))
    assert TYPES.issuperset(about.get("type", ()))


@settings(max_examples=150, deadline=None)
@given(events())
def test_any_event_has_what_asim_demands(event):
    row = mapping("asim")(event)
    always = "TimeGenerated EventCount EventStartTime EventEndTime EventType EventResult EventProduct EventVendor EventSchema EventSchemaVersion Dvc"
    assert all(row[name] not in {"", None} for name in always.split())
    assert row["EventResult"] in {"Success", "Partial", "Failure", "NA"}
    if row["EventSchema"] == "AuditEvent":
        assert "Operation" in row
        assert "Object" in row


@settings(max_examples=150, deadline=None)
@given(events())
def test_any_event_has_an_action_of_cim(event):
    mapped = mapping("cim")(event)
    if "network" in mapped["tag"] and "communicate" in mapped["tag"]:
        assert mapped["action"] in {"allowed", "blocked"}
    if "authentication" in mapped["tag"]:
        assert mapped.get("action") in {"success", "failure", None}


@pytest.mark.parametrize("schema", ["ocsf", "ecs", "cim", "asim", "message", "raw"])
def test_what_is_no_event_costs_only_itself(schema):
    bodies = SchemaEncoder(schema).encode([b"", b"[]", b"{}", b'{"event.id":1', b"null"])
    assert bodies == [None] * 5
