from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Record
from connectors.splunk_hec.encode import Envelopes
from connectors.splunk_hec.settings import SplunkHecSettings
from exporter.domain.events import encode_head
from exporter.domain.secrets import Secret
from tests.support.events import events


def settings(**keys):
    return SplunkHecSettings(kind="splunk_hec", url="https://h:8088", token_file=Secret(path=Path("t")), **keys)


def records(values):
    return [Record(i, b"", value) for i, value in enumerate(values)]


def body_of(values, **keys):
    (encoded,), rejected = Envelopes(settings(**keys)).encode("t", records(values))
    return encoded.body(len(encoded.indices)), encoded.indices, [r.index for r in rejected]


@given(st.integers(-(2**62), 2**62), st.dictionaries(st.text(min_size=1), st.text()))
def test_time_is_exact_and_the_event_unchanged(time_ns, fields):
    value = encode_head("ab" * 16, time_ns) + orjson.dumps({"tenant.id": "t", **fields})[1:]
    body, _, _ = body_of([value], index='we"ird %d', host="h")
    envelope = orjson.loads(body)
    assert set(envelope) == {"time", "host", "source", "sourcetype", "index", "event"}
    assert envelope["index"] == 'we"ird %d'
    assert value in body
    text = body[len(b'{"time":') : body.index(b",")].decode()
    micros = time_ns // 1000
    assert Decimal(text) == Decimal(micros) / 1_000_000
    assert len(text.partition(".")[2]) == 6


def test_keys_that_are_not_set_are_left_out():
    body, _, _ = body_of(events(1))
    assert set(orjson.loads(body)) == {"time", "source", "sourcetype", "event"}


def test_one_envelope_a_line():
    body, indices, _ = body_of(events(5))
    assert [orjson.loads(line)["event"]["event.id"] for line in body.splitlines()] == [f"{i:032x}" for i in range(5)]
    assert body.endswith(b"}\n")
    assert indices == [0, 1, 2, 3, 4]


def test_what_is_no_canonical_event_is_rejected_here():
    good = events(2)
    values = [b"", good[0], b"{}", b"[1]", b'{"event.id":"x"}', good[1], good[0][:-1], b'" "']
    body, indices, rejected = body_of(values)
    assert (indices, rejected) == ([1, 5], [0, 2, 3, 4, 6, 7])
    assert body.count(b"\n") == 2


def test_fitting_counts_whole_envelopes():
    (encoded,), _ = Envelopes(settings()).encode("t", records(events(10, padding=100)))
    one = len(encoded.body(1))
    assert encoded.fitting(one - 1, 10) == 0
    assert encoded.fitting(one, 10) == 1
    assert encoded.fitting(3 * one - 1, 10) == 2
    assert encoded.fitting(len(encoded.body(10)), 10) == 10
    assert encoded.fitting(10**9, 4) == 4


@pytest.mark.parametrize(
    "keys",
    [
        {"url": None},
        {"urls": ("https://a:1", "https://b:1")},
        {"url": "ftp://h"},
        {"url": None, "urls": ("h:8088",)},
        {"cert_file": Path("c")},
        {"max_content_length": 1},
        {"index": ""},
        {"token": "literal"},
    ],
)
def test_wrong_settings_are_refused(keys):
    with pytest.raises(ValueError):
        SplunkHecSettings(**{"kind": "splunk_hec", "url": "https://h", "token_file": Secret(path=Path("t")), **keys})
