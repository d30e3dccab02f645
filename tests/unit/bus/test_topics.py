"""Names of topics: reversible, legal, and never colliding as Kafka understands it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bus.kafka.topics import Names, escape_tenant, name_findings, plan_events, unescape_tenant
from exporter.settings.model import KafkaBus

TENANTS = st.text("ab2eAZ09!-_.*'()", min_size=1, max_size=20)
SETTINGS = KafkaBus(kind="kafka", bootstrap_servers="127.0.0.1:1", replication_factor=1, min_insync_replicas=1)


@given(TENANTS)
def test_the_tenant_comes_back_from_its_topic(tenant: str) -> None:
    assert unescape_tenant(escape_tenant(tenant)) == tenant
    assert Names("siem").tenant_of(Names("siem").events(tenant)) == tenant


@given(TENANTS, TENANTS)
def test_two_tenants_never_collide_even_where_kafka_takes_dot_for_underscore(one: str, other: str) -> None:
    names = Names("siem")
    if one != other:
        assert names.events(one).replace(".", "_") != names.events(other).replace(".", "_")


@given(TENANTS)
def test_topic_names_are_legal(tenant: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]+", Names("siem").events(tenant))


def test_foreign_topics_belong_to_no_tenant_and_no_target() -> None:
    names = Names("siem")
    assert names.tenant_of(names.checkpoints) is None
    assert names.tenant_of(Names("other").events("acme")) is None
    assert names.target_of(names.events("acme")) is None
    assert names.target_of(names.dead_letters("soc")) == "soc"


def test_a_topic_name_that_is_too_long_is_a_finding() -> None:
    assert name_findings(SETTINGS, Names("siem"), ["acme", "(" * 100]) != []
    assert name_findings(SETTINGS, Names("siem"), ["acme", "a" * 150]) == []


@pytest.mark.parametrize(
    ("found", "finds"),
    [
        ({}, 0),
        ({"cleanup.policy": "compact"}, 1),
        ({"max.message.bytes": "1048588"}, 1),
        ({"max.message.bytes": "99999999", "retention.ms": "-1"}, 0),
        ({"retention.ms": "60000", "min.insync.replicas": "0"}, 2),
    ],
)
def test_only_settings_that_correctness_needs_are_findings(found: dict[str, str], finds: int) -> None:
    plan = plan_events(SETTINGS, Names("siem"), "acme")
    assert len(plan.findings(6, 1, dict(plan.settings) | found, SETTINGS)) == finds
