"""Blocks: what goes in comes out, from any offset."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from exporter.bus.sqlite.blocks import BLOCK_BYTES, cut, pack, unpack

EVENTS = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=200)), min_size=1, max_size=50)


@given(EVENTS, st.integers(0, 2**40), st.integers(0, 60))
def test_events_come_back_from_any_offset(events: list[tuple[bytes, bytes]], first: int, skip: int) -> None:
    data = pack([key for key, _ in events], [value for _, value in events])
    records = unpack(data, first, first + skip, 7)
    assert [(r.key, r.value) for r in records] == events[skip:]
    assert [r.offset for r in records] == list(range(first + skip, first + len(events)))


@example([0, BLOCK_BYTES + 1])
@given(st.lists(st.integers(0, 3 * BLOCK_BYTES // 2), max_size=8))
def test_cutting_keeps_every_event_and_the_bound(sizes: list[int]) -> None:
    values = [bytes(size) for size in sizes]
    keys = [b"%d" % index for index in range(len(values))]
    parts = list(cut(keys, values))
    assert [key for part, _ in parts for key in part] == keys
    assert [len(value) for _, part in parts for value in part] == sizes
    assert all(len(part) == 1 or sum(map(len, part)) <= BLOCK_BYTES for _, part in parts)
