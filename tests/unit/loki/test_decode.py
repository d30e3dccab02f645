from __future__ import annotations

import gc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.domain.windows import Window
from exporter.errors import BadAnswer
from exporter.loki.decode import decode_cells, decode_count, decode_has_data, decode_page, decode_series
from exporter.loki.found import entries_of

WINDOW = Window(1_000_000_000, 2_000_000_000)
STATS = {"ingester": {"totalLinesSent": 3}}


def page(result: list, **more: object) -> bytes:
    data = {"resultType": "streams", "result": result, "stats": STATS} | more.pop("data", {})
    return orjson.dumps({"status": "success", "data": data} | more)


def test_columns_metadata_and_figures():
    body = page([
        {"stream": {"a": "1"}, "values": [["1000000000", "x", {}], ["1999999999", "y", {"structuredMetadata": {"k": "v"}}]]},
        {"stream": {"a": "2"}, "values": [["1000000001", "z", {}]]},
        {"stream": {"a": "3"}, "values": []},
    ])  # fmt: skip
    got = decode_page(body, WINDOW)
    assert (got.returned, got.lines_sent, got.body_bytes) == (3, 3, len(body))
    assert [s.times_ns for s in got.streams] == [[1_000_000_000, 1_999_999_999], [1_000_000_001]]
    assert got.streams[0].metadata == [{}, {"k": "v"}]
    assert got.streams[1].metadata is None
    assert gc.isenabled()


def test_a_page_is_cut_by_what_was_returned_or_by_what_was_sent():
    got = decode_page(page([{"stream": {}, "values": [["1000000000", "x", {}]]}]), WINDOW)
    assert [got.is_cut(limit) for limit in (1, 3, 4)] == [True, True, False]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>secret</html>",
        page([])[:-5],
        b'{"status":"error"}',
        b"[1]",
        page([], warnings=["secret: partial"]),
        page([], data={"stats": {}}),
        page([], data={"stats": None}),
        page([], data={"resultType": "matrix"}),
        page([], data={"result": None}),
        page([{"stream": {"a": "1"}, "values": [["secret", "x"]]}]),
        page([{"stream": {"a": "1"}, "values": [["1000000000"]]}]),
        page([{"stream": {"a": "1"}, "values": [["1000000000", "x", {}], ["1000000000", "x"]]}]),
        page([{"stream": None, "values": [["1000000000", "x", {}]]}]),
        page([{"stream": {"a": "1"}, "values": [["999999999", "secret", {}]]}]),
        page([{"stream": {"a": "1"}, "values": [["2000000000", "secret", {}]]}]),
        b"[" * 100_000,
    ],
)
def test_anything_else_is_a_bad_answer_that_shows_nothing(body: bytes):
    with pytest.raises(BadAnswer) as caught:
        decode_page(body, WINDOW)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_labels_that_are_not_utf8_keep_their_entries():
    body = page([{"stream": {"a": "BAD"}, "values": [["1000000000", "x", {}]]}]).replace(b"BAD", b"\xff\xfe")
    assert decode_page(body, WINDOW).streams[0].labels == {"a": "\ufffd\ufffd"}


def test_lone_surrogates_keep_their_entries_and_get_ids():
    body = page([{"stream": {"a": "1"}, "values": [["1000000000", "BAD", {}]]}]).replace(b"BAD", b"\\ud800")
    (entries,) = entries_of("t", decode_page(body, WINDOW), b"")
    assert entries.lines == ["\ud800"]
    assert len(entries.event_ids) == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ab"), st.sampled_from(["", "m"])), max_size=30))
def test_copies_go_and_order_is_by_time(values: list[tuple[int, str, str]]):
    rows = [[str(10**9 + t), x, {"structuredMetadata": {"k": m}} if m else {}] for t, x, m in values]
    streams = entries_of("t", decode_page(page([{"stream": {"a": "1"}, "values": rows}]), WINDOW), b"")
    got = [
        (t - 10**9, x, m.get("k", ""))
        for s in streams
        for t, x, m in zip(s.times_ns, s.lines, s.metadata or [{}] * len(s), strict=True)
    ]
    assert sorted(got) == sorted(set(values))
    assert [t for t, _, _ in got] == sorted(t for t, _, _ in got)


def test_counts():
    def vector(result: list) -> bytes:
        return orjson.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})

    assert decode_count(vector([])) == 0
    assert decode_count(vector([{"metric": {}, "value": [1.5, "110"]}])) == 110
    with pytest.raises(BadAnswer):
        decode_count(vector([{"metric": {}, "value": ["1"]}]))


def test_cells():
    values = [[1700000000, "5"], [1700000001.0, "7"]]
    body = {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}}
    assert decode_cells(orjson.dumps(body)) == {1_700_000_000 * 10**9: 5, 1_700_000_001 * 10**9: 7}


def test_series_and_index():
    assert decode_series(b'{"status":"success","data":[{"a":"1"}]}') == [{"a": "1"}]
    assert decode_series(b'{"status":"success","data":null}') == []
    assert decode_has_data(b'{"streams":0,"chunks":1,"bytes":0,"entries":0}')
    assert not decode_has_data(b'{"streams":0,"chunks":0,"bytes":0,"entries":0}')
    for body in (b'{"status":"success","data":[1]}', b'{"status":"success","data":5}', b"{}", b"[]"):
        with pytest.raises(BadAnswer):
            decode_series(body)
    with pytest.raises(BadAnswer):
        decode_has_data(b'{"streams":0}')
