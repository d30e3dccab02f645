"""The whole way of an entry: what an event holds, what never leaves, what is held back."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.domain.events import event_id_of, time_ns_of
from exporter.domain.ids import StreamHasher
from exporter.errors import RedactionFailed
from exporter.pipeline import Pipeline
from exporter.pipeline.redact.engine import Redactor
from exporter.pipeline.redact.rules import load_rules
from exporter.pipeline.redact.scan import Hit, Scanner
from exporter.sandbox.loglines import Values
from tests.support.pipelines import (
    LABELS,
    NOW_NS,
    TENANT,
    batch_of,
    events_of,
    leaked,
    pipeline_of,
    settings_of,
    stream_of,
)

ALWAYS = {
    "event.id",
    "time",
    "tenant.id",
    "data.class",
    "policy.id",
    "late",
    "loki.stream",
    "loki.labels",
    "loki.structured_metadata",
    "kind",
}


def only(line: str, **changes: Any) -> dict[str, Any]:
    return events_of(pipeline_of(**changes).process(batch_of(stream_of([line]))))[0]


def test_what_every_event_holds():
    stream = stream_of(['{"msg":"hi","x":1}', "plain"], {"namespace": "prod"}, [{"trace_id": "t1"}, {}])
    out = pipeline_of(data_class="security").process(batch_of(stream, late=True))
    first, second = events_of(out)
    assert set(second) == ALWAYS | {"message", "k8s.namespace.name"}
    assert first == {
        "event.id": stream.event_ids[0].hex(),
        "time": NOW_NS,
        "tenant.id": TENANT,
        "data.class": "security",
        "policy.id": out.policy_id,
        "late": True,
        "loki.stream": StreamHasher(TENANT, stream.labels).stream_id,
        "loki.labels": {"namespace": "prod"},
        "loki.structured_metadata": {"trace_id": "t1"},
        "k8s.namespace.name": "prod",
        "trace.id": "t1",
        "message": "hi",
        "kind": "log",
        "unmapped": {"x": 1},
    }
    assert [event_id_of(v) for v in out.values] == [i.hex() for i in stream.event_ids]
    assert [time_ns_of(v) for v in out.values] == stream.times_ns
    assert out.keys == [first["loki.stream"].encode()] * 2
    assert out.counts == {"in": 2, "out": 2, "held": 0, "parse_declined": 0, "redacted": 0}


def test_order_is_kept_over_streams():
    streams = [stream_of([f"{name}{i}" for i in range(3)], {"job": name}) for name in "abc"]
    out = pipeline_of().process(batch_of(*streams))
    assert [e["message"] for e in events_of(out)] == [f"{name}{i}" for name in "abc" for i in range(3)]


def test_empty_batches():
    assert pipeline_of().process(batch_of()).values == []
    assert pipeline_of().process(batch_of(stream_of([]))).counts["out"] == 0


@pytest.mark.parametrize(
    ("original", "line", "kept"),
    [
        ("unparsed", '{"a":1}', False),
        ("unparsed", "text", False),
        ("always", "text b@c.example", True),
        ("always", '{"a":1}', True),
        ("never", "text", False),
    ],
)
def test_original(original: str, line: str, kept: bool):
    event = only(line, original=original)
    assert ("event.original" in event) is kept
    if kept:
        assert event["event.original"] == line.replace("b@c.example", "[redacted-email]")


def test_lines_over_the_bounds_are_flagged_and_kept_whole():
    line = '{"a":"' + "x " * 40_000 + 'anna@example.com"}'
    event = only(line)
    assert event["metadata.is_truncated"] is True
    assert event["event.original"] == line.replace("anna@example.com", "[redacted-email]")
    assert len(event["message"]) < 10_000
    assert len(only(line, original="never")["message"]) == len(event["event.original"])


def test_a_line_of_three_megabytes_is_redacted_whole():
    parts = ["x" * 60_000, "anna@example.com", "10.1.2.3", " ", "é" * 3000, " "] * 48
    line = " ".join(parts)
    event = only(line)
    assert len(line.encode()) > 3_000_000
    assert leaked(["anna@example.com", "10.1.2.3"], orjson.dumps(event)) == 0
    assert event["message"].count("[redacted-email]") == event["message"].count("[redacted-ipv4]") == 48


@pytest.mark.parametrize(
    ("wanted", "line", "declined"),
    [
        ("auto", '{"broken": anna@example.com', 1),
        ("auto", "text", 0),
        ("json", "text", 1),
        ("logfmt", "text", 1),
        ("text", '{"a":1}', 0),
    ],
)
def test_declined_lines_leave_as_log(wanted: str, line: str, declined: int):
    out = pipeline_of(format=wanted).process(batch_of(stream_of([line])))
    assert out.counts["parse_declined"] == declined
    assert events_of(out)[0]["message"] == line.replace("anna@example.com", "[redacted-email]")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"card":4111111111111111,"n":12345678901234567890123}', {"card": "[redacted-card]", "n": 12345678901234567890123}),
        ('{"a":"x\\u0040example.com","b":"\\n10.1.2.3"}', {"a": "[redacted-email]", "b": "\n[redacted-ipv4]"}),
        ('{"a@b.example":1,"c@d.example":[2]}', {"[redacted-email]": [1, [2]]}),
        ('{"password":["a","b"],"token":{"v":5},"secret":1234,"pwd":null}', {"password": "[redacted-password]", "token": "[redacted-password]", "secret": "[redacted-password]", "pwd": None}),
        ('{"x":{"y":[{"api_key":"k\\"1"}]}}', {"x": {"y": [{"api_key": "[redacted-password]"}]}}),
        ('{"a":1,"a":"x@y.example","b":NaN}', {"a": [1, "[redacted-email]"], "b": "NaN"}),
        ('{"k":"-----BEGIN PRIVATE KEY-----\\nMIIE\\nabc"}', {"k": "[redacted-private-key]"}),
        ('{"q":"it\'s password=\'abc","r":"bob"}', {"q": "it's password='[redacted-password]", "r": "bob"}),
        ('{"inner":"{\\"password\\":\\"x y\\",\\"a\\":1}"}', {"inner": '{"password":"[redacted-password]","a":1}'}),
        ('{"s":"\\ud800 z"}', {"s": "\ufffd z"}),
        ('{"f":4.111111111111111e15}', {"f": "[redacted-card].0"}),
        ('{"z":"\\u0031\\u0030.1.2.3"}', {"z": "[redacted-ipv4]"}),
    ],
)  # fmt: skip
def test_json_that_the_text_scan_cannot_settle(line: str, expected: dict[str, Any]):
    assert only(line)["unmapped"] == expected


def test_lines_with_line_breaks_stay_one_event():
    out = pipeline_of().process(batch_of(stream_of(["a\nb c@d.example\n", "\n", "x"])))
    assert [e["message"] for e in events_of(out)] == ["a\nb [redacted-email]\n", "\n", "x"]


def test_invalid_utf8_as_loki_gives_it_and_lone_surrogates():
    stream = stream_of(
        ["bad \ufffd a@b.example", "lone \ud800 a@b.example"], {"job": "x\udfffy"}, [{"k": "\ud800"}, {}]
    )
    first, second = events_of(pipeline_of().process(batch_of(stream)))
    assert first["message"] == "bad \ufffd [redacted-email]"
    assert second["message"] == "lone \ufffd [redacted-email]"
    assert first["loki.labels"] == {"job": "x\ufffdy"}
    assert first["loki.structured_metadata"] == {"k": "\ufffd"}


WRITERS = {
    "line": lambda v: (f"text {v} text", {}, {}),
    "json value": lambda v: (orjson.dumps({"a": {"b": [f"x {v}"]}}).decode(), {}, {}),
    "json key": lambda v: (orjson.dumps({f"k {v}": 1}).decode(), {}, {}),
    "json in json": lambda v: (orjson.dumps({"m": orjson.dumps({"a": v}).decode()}).decode(), {}, {}),
    "escaped": lambda v: ('{"m":"' + "".join(f"\\u{ord(c):04x}" for c in v) + '"}', {}, {}),
    "logfmt": lambda v: (f'level=info msg="{v}" x={v.replace(" ", "")}', {}, {}),
    "logfmt escaped": lambda v: (f'level=info msg="a\\n{v}\\tb \\"q\\""', {}, {}),
    "broken json": lambda v: ('{"a": "' + v, {}, {}),
    "label": lambda v: ("x", {"job": "a", "owner": v}, {}),
    "metadata value": lambda v: ("x", {}, {"m": f"by {v}"}),
    "metadata key": lambda v: ("x", {}, {v: "m"}),
    "long line": lambda v: (f"{'y ' * 33_000}{v} z", {}, {}),
}


@pytest.mark.parametrize("original", ["unparsed", "always"])
def test_planted_values_leave_in_no_place(original: str):
    """A thousand values of every kind in every place of an entry; not one may stand in any byte that leaves."""
    values = Values(random.Random(7))
    kinds = ("email", "ipv4", "ipv6", "iban", "card", "aws_key")
    planted: list[str] = []
    streams = []
    for number in range(1000):
        value = getattr(values, kinds[number % len(kinds)])()
        place = list(WRITERS)[number // len(kinds) % len(WRITERS)]
        line, labels, metadata = WRITERS[place](value)
        planted.append(value)
        streams.append(stream_of([line], {**LABELS, "n": str(number % 50), **labels}, [metadata] if metadata else None))
    planted += [value.replace(" ", "") for value in planted]
    pipeline = pipeline_of(original=original)
    out = pipeline.process(batch_of(*streams))
    assert (out.counts["in"], out.counts["held"], out.counts["redacted"]) == (1000, 0, 1000)
    assert leaked(planted, *out.values, *out.keys, repr(out).encode(), repr(pipeline).encode()) == 0


def test_card_and_iban_as_numbers_and_percent_encoded():
    out = pipeline_of().process(
        batch_of(
            stream_of(
                ['{"pan":5500000000000004}', "GET /?m=anna%40example.com&i=10.1.2.3 x", '{"l":[4111111111111111]}']
            )
        )
    )
    assert leaked(["5500000000000004", "anna", "10.1.2.3", "4111111111111111"], *out.values) == 0


class Failing:
    """A scanner that fails on blocks holding a mark."""

    def __init__(self, inner: Scanner, mark: bytes) -> None:
        self._inner, self._mark = inner, mark

    def scan(self, block: bytes) -> list[Hit]:
        if self._mark in block:
            raise RuntimeError("scan failed on " + block.decode())
        return self._inner.scan(block)


def pipeline_with(redactor: Redactor) -> Pipeline:
    return Pipeline(TENANT, settings_of(), redactor, "p", b"")


def shipped() -> Redactor:
    return Redactor(load_rules(("eu-pii", "secrets"), "")[0])


def test_one_event_that_cannot_be_redacted_is_held_alone_and_order_is_kept():
    inner = shipped()
    pipeline = pipeline_with(Redactor(inner.rules, Failing(inner.scanner, b"poison")))
    first = stream_of([f"line {i}" + (" poison" if i == 637 else "") for i in range(1000)])
    second = stream_of(["after", "poison too"], {"job": "other"})
    out = pipeline.process(batch_of(first, second))
    assert out.held_ids == [first.event_ids[637], second.event_ids[1]]
    assert [event_id_of(v) for v in out.values] == [i.hex() for n, i in enumerate(first.event_ids) if n != 637] + [
        second.event_ids[0].hex()
    ]
    assert out.counts == {"in": 1002, "out": 1000, "held": 2, "parse_declined": 0, "redacted": 0}
    with pytest.raises(RedactionFailed) as caught:
        pipeline.redact_lines(["poison secret"])
    assert "poison" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_labels_and_metadata_that_cannot_be_redacted_hold_their_events():
    inner = shipped()
    pipeline = pipeline_with(Redactor(inner.rules, Failing(inner.scanner, b"poison")))
    bad = stream_of(["a", "b"], {"job": "poison"})
    good = stream_of(["c", "d"], metadata=[{"k": "poison"}, {"k": "v"}])
    out = pipeline.process(batch_of(bad, good))
    assert out.held_ids == [*bad.event_ids, good.event_ids[0]]
    assert [e["message"] for e in events_of(out)] == ["d"]


class Leaky:
    """An action with a fault: it leaves one text as it is."""

    fixed = None
    kind = None

    def __init__(self, mask: bytes, keeps: bytes) -> None:
        self._mask, self._keeps = mask, keeps

    def replace(self, text: bytes) -> bytes:
        return text if text == self._keeps else self._mask


def test_the_exit_scan_holds_what_a_fault_let_through():
    rules = [replace(rule, action=Leaky(b"[x]", b"anna@example.com")) for rule in shipped().rules]
    stream = stream_of(["ok b@c.example", '{"a":"anna@example.com"}', "bad anna@example.com", "fine"])
    out = pipeline_with(Redactor(rules)).process(batch_of(stream))
    assert out.held_ids == stream.event_ids[1:3]
    assert [e["message"] for e in events_of(out)] == ["ok [x]", "fine"]
    assert len(out.keys) == len(out.values) == 2


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.lists(
            st.sampled_from(["a@b.example", "4111111111111111", "10.1.2.3", "password=", '"token":', "{", "}", '"', ":", ",", "\\", "\\u0040", "\n", "=", " ", "[", "]", "1", "k", "\ud800", "-----BEGIN PRIVATE KEY-----"])
            | st.text(max_size=3),
            max_size=14,
        ).map("".join),
        max_size=5,
    ),
    st.dictionaries(st.text(max_size=5), st.text(max_size=12), max_size=2),
)  # fmt: skip
def test_nothing_raises_nothing_is_lost_and_the_output_is_clean(lines: list[str], metadata: dict[str, str]):
    stream = stream_of(lines, metadata=[metadata for _ in lines])
    out = shared_pipeline().process(batch_of(stream))
    assert out.counts["out"] + out.counts["held"] == len(lines)
    assert out.held_ids == []
    assert [event_id_of(v) for v in out.values] == [i.hex() for i in stream.event_ids]
    texts = [text for event in events_of(out) for text in texts_of(event)]
    assert len(shipped_once().redact(texts, {}).changed) == 0
    assert all(set(event) >= ALWAYS for event in events_of(out))


def texts_of(value: Any) -> list[str]:
    """Return every key, string and number."""
    if isinstance(value, dict):
        return [*value, *(text for item in value.values() for text in texts_of(item))]
    if isinstance(value, list):
        return [text for item in value for text in texts_of(item)]
    return [str(value)]


@cache
def shared_pipeline() -> Pipeline:
    return pipeline_of()


@cache
def shipped_once() -> Redactor:
    return shipped()


def test_redact_lines_gives_one_line_for_each():
    lines = ["a@b.example", "", '{"card":4111111111111111}', "x", '{"a":"\\n10.1.2.3"}']
    assert pipeline_of().redact_lines(lines) == [
        "[redacted-email]",
        "",
        '{"card":"[redacted-card]"}',
        "x",
        '{"a":"\\n[redacted-ipv4]"}',
    ]


def test_many_streams_and_metadata_do_not_grow_the_caches_without_bound():
    pipeline = pipeline_of()
    streams = [stream_of(["x"], {"n": str(i)}, [{"id": str(i)}]) for i in range(9000)]
    for start in (0, 4500):
        out = pipeline.process(batch_of(*streams[start : start + 4500]))
        assert [e["loki.labels"]["n"] for e in events_of(out)] == [str(i) for i in range(start, start + 4500)]


def test_the_same_entries_give_the_same_bytes_whenever_they_are_processed():
    lines = [
        '{"level":"info","user":{"id":7},"method":"GET","path":"/","status":200}',
        "level=warn user=u",
        "text",
    ] * 80
    stream = stream_of(lines, metadata=[{"observed_timestamp": "5", "trace_id": "ab"} for _ in lines])
    first, again = pipeline_of(), pipeline_of()
    halves = [stream_of(lines[:1]), stream]
    once = first.process(batch_of(stream)).values
    assert [again.process(batch_of(half)).values for half in halves][1] == once
    assert orjson.loads(once[0])["observed_time"] == 5
