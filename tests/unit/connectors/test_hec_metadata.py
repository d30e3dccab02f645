"""Metadata from templates, indexes chosen by events, indexed fields, and the raw endpoint."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Record, TargetMisconfigured
from connectors.splunk_hec.encode import Envelopes
from connectors.splunk_hec.metadata import MAX_KEPT
from connectors.splunk_hec.settings import SplunkHecSettings
from connectors.splunk_hec.templates import MAX_VALUE_CHARS, Template
from connectors.testing import deliver_fully, make_batch
from exporter.domain.events import encode_head
from exporter.domain.secrets import Secret
from tests.support.events import BASE_NS
from tests.support.hec import hec_and_connector


def event(number, **keys):
    rest = {"tenant.id": "acme", "kind": "http", **keys}
    return encode_head(f"{number:032x}", BASE_NS + number) + orjson.dumps(rest)[1:]


def app(number, name):
    return event(number, **{"loki.labels": {"app": name} if name is not None else {}})


def settings(**keys):
    return SplunkHecSettings(kind="splunk_hec", url="https://h:8088", token_file=Secret(path=Path("t")), **keys)


def envelopes_of(values, **keys):
    records = [Record(i, b"", value) for i, value in enumerate(values)]
    groups, rejected = Envelopes(settings(**keys)).encode("acme", records)
    assert not rejected
    lines = [line for group in groups for line in group.body(len(group.indices)).splitlines()]
    return [orjson.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("text", "keys", "expected"),
    [
        ("loki", {}, "loki"),
        ("{tenant.id}", {}, "acme"),
        ("loki:{kind}", {}, "loki:http"),
        ("{kind}", {"kind": None}, "unknown"),
        ("{loki.labels.app|none}", {"loki.labels": {"app": "shop"}}, "shop"),
        ("{loki.labels.app|none}", {"loki.labels": {}}, "none"),
        ("{loki.labels.app|none}", {"loki.labels": "no object"}, "none"),
        ("{loki.labels.app|none}", {}, "none"),
        ("{loki.labels.a.b|none}", {"loki.labels": {"a.b": "x"}}, "x"),
        ("{http.response.status_code|0}", {"http.response.status_code": 503}, "503"),
        ("{late|-}", {"late": True}, "true"),
        ("{user.name|-}", {"user.name": "  "}, "-"),
        ("{user.name|-}", {"user.name": ["a"]}, "-"),
        ("{user.name|-}", {"user.name": "x" * 1000}, "x" * MAX_VALUE_CHARS),
        ("{tenant.id}/{kind}/{a|b:c}", {}, "acme/http/b:c"),
    ],
)
def test_templates(text, keys, expected):
    value = orjson.loads(event(1, **keys))
    assert Template(text).render(value) == expected
    assert envelopes_of([event(1, **keys)], source=text)[0]["source"] == expected


@pytest.mark.parametrize("text", ["{", "}", "{}", "{a|}", "{a|b|c}", "{{a|b}}", "x{loki.labels.app}", "{a|b} }"])
def test_templates_that_cannot_be(text):
    with pytest.raises(ValueError, match=r"write|looks like"):
        Template(text)
    for name in ("source", "sourcetype", "host"):
        with pytest.raises(ValueError):
            settings(**{name: text})
    with pytest.raises(ValueError):
        settings(fields={"app": text})


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_value_is_a_text_of_json(label, tenant):
    value = event(1, **{"loki.labels": {"app": label}, "tenant.id": tenant})
    (envelope,) = envelopes_of([value], host="{loki.labels.app|x}", fields={"t": "{tenant.id}"})
    assert envelope["host"] == (label.strip()[:MAX_VALUE_CHARS] or "x")
    assert envelope["event"] == orjson.loads(value)
    assert set(envelope) == {"time", "host", "source", "sourcetype", "fields", "event"}


def test_metadata_never_sticks():
    """Every envelope names all that is configured, whatever the one before it had."""
    values = [app(0, "a"), app(1, None), app(2, "b"), app(3, None)]
    found = envelopes_of(values, host="{loki.labels.app|none}", sourcetype="{kind}", index="main")
    assert [e["host"] for e in found] == ["a", "none", "b", "none"]
    assert all(set(e) == {"time", "host", "source", "sourcetype", "index", "event"} for e in found)


def test_metadata_without_end_does_not_fill_memory():
    encoder = Envelopes(settings(host="{loki.labels.app|x}"))
    for start in range(0, 3 * MAX_KEPT, 1000):
        records = [Record(i, b"", app(i, f"pod-{i}")) for i in range(start, start + 1000)]
        encoder.encode("acme", records)
    assert len(encoder._metadata._kept) <= MAX_KEPT


def test_indexed_fields_stand_beside_the_event():
    (envelope,) = envelopes_of([app(1, "shop")], fields={"app": "{loki.labels.app|none}", "site": "x%d"})
    assert envelope["fields"] == {"app": "shop", "site": "x%d"}


@pytest.mark.parametrize(
    "keys",
    [
        {"index": "{loki.labels.app|main}"},
        {"index": "main", "allowed_indexes": ("main",)},
        {"index": "{kind}", "allowed_indexes": ("_internal",)},
        {"allowed_indexes": ("main",)},
        {"endpoint": "raw", "fields": {"a": "b"}},
        {"fields": {"_x": "b"}},
        {"fields": {"a b": "b"}},
    ],
)
def test_wrong_settings_are_refused(keys):
    with pytest.raises(ValueError):
        settings(**keys)


TEAM = {"index": "{loki.labels.app|main}", "allowed_indexes": ("main", "web")}


async def test_each_index_is_a_request_and_no_line_chooses_another(tmp_path):
    async with hec_and_connector(tmp_path, settings=TEAM, indexes=["main", "web"], keep_events=True) as (
        hec,
        connector,
    ):
        await connector.open()
        names = ["web", "_audit", None, "web", "main", "web"]
        result = await connector.deliver(make_batch([app(n, name) for n, name in enumerate(names)]))
        assert (result.rejected, result.retry, result.receipt["requests"]) == ((), (), 2)
        by_index = {}
        for envelope in hec.events:
            by_index.setdefault(envelope["index"], []).append(int(envelope["event"]["event.id"], 16))
        assert by_index == {"web": [0, 3, 5], "main": [1, 2, 4]}


async def test_a_forbidden_index_holds_back_no_other(tmp_path):
    async with hec_and_connector(tmp_path, settings=TEAM, keep_events=True) as (hec, connector):
        await connector.open()
        values = [app(n, "web" if n % 2 else "main") for n in range(20)]
        result = await connector.deliver(make_batch(values))
        assert result.retry == tuple(range(1, 20, 2))
        with pytest.raises(TargetMisconfigured, match="'web'"):
            await connector.deliver(make_batch(values[1::2]))
        hec.rules.indexes = frozenset({"main", "web"})
        refused, duplicates = await deliver_fully(connector, make_batch(values[1::2]))
        assert (refused, duplicates, len(hec.accepted)) == ([], 0, 20)


@pytest.mark.parametrize("position", [0, 3, 9])
async def test_a_bad_event_among_several_indexes_costs_one(tmp_path, position):
    async with hec_and_connector(tmp_path, settings=TEAM, indexes=["main", "web"]) as (hec, connector):
        await connector.open()
        hec.rules.bad_ids = {f"{position:032x}": 15}
        refused, duplicates = await deliver_fully(
            connector, make_batch([app(n, "web" if n % 2 else "main") for n in range(10)])
        )
        assert (refused, duplicates) == ([position], 0)
        assert sorted(hec.accepted) == [f"{n:032x}" for n in range(10) if n != position]


@pytest.mark.parametrize("use_ack", [True, False])
async def test_the_raw_endpoint_gets_lines(tmp_path, use_ack):
    keys = {"endpoint": "raw", "host": "{loki.labels.app|none}"}
    async with hec_and_connector(tmp_path, settings=keys, keep_events=True, use_ack=use_ack) as (hec, connector):
        await connector.open()
        values = [app(n, "a" if n < 3 else "b & c") for n in range(6)]
        result = await connector.deliver(make_batch(values))
        assert result.receipt["requests"] == 2
        assert [orjson.dumps(e["event"]) for e in hec.events] == values
        assert [e["host"] for e in hec.events] == ["a"] * 3 + ["b & c"] * 3
        assert {(e["index"], e["sourcetype"], e["source"]) for e in hec.events} == {("main", "loki:siem", "loki")}


async def test_a_text_with_line_breaks_is_one_line_of_the_raw_endpoint(tmp_path):
    keys = {"endpoint": "raw", "schema": "message"}
    async with hec_and_connector(tmp_path, settings=keys, keep_events=True) as (hec, connector):
        await connector.open()
        texts = ["plain", "first\nsecond\r\nthird", 'quo"te {"a":1', "ends\n", "\n"]
        bodies = [b'{"event.id":"%032x","message":%b}' % (n, orjson.dumps(text)) for n, text in enumerate(texts)]
        batch = make_batch([event(n) for n in range(5)])
        records = [r._replace(value=b, canonical=r.value) for r, b in zip(batch.records, bodies, strict=True)]
        result = await connector.deliver(type(batch)(batch.tenant, 0, records, 1))
        assert [r.index for r in result.rejected] == [4]
        assert [e["event"] for e in hec.events] == ["plain", r"first\nsecond\nthird", 'quo"te {"a":1', "ends"]
