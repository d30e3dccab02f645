from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.domain.checkpoints import (
    CheckpointError,
    HourSummary,
    LiveCheckpoint,
    NearCell,
    Trouble,
    cell_end_of,
    hour_start_of,
)
from exporter.domain.ids import fingerprint
from exporter.domain.windows import NS_PER_HOUR, NS_PER_SECOND

times = st.integers(min_value=0, max_value=2**62)


@given(times)
def test_a_cell_is_the_right_closed_second(time_ns: int) -> None:
    end = cell_end_of(time_ns)
    assert end % NS_PER_SECOND == 0
    assert end - NS_PER_SECOND < time_ns <= end


@given(st.lists(st.binary(min_size=16, max_size=16), unique=True, max_size=20), st.integers(-1, 2**40))
def test_a_cell_survives_its_encoding(ids: list[bytes], count: int) -> None:
    cell = NearCell(5 * NS_PER_SECOND, count, b"".join(ids))
    back = NearCell.decode(cell.end_ns, cell.encode())
    assert back.id_set() == set(ids)
    assert (back.loki_count, len(back)) == (count, len(ids))


@given(times, times, times, st.integers(0, 9), st.text(max_size=20))
def test_a_live_checkpoint_survives_its_encoding(origin: int, frontier: int, sealed: int, n: int, reason: str) -> None:
    live = LiveCheckpoint(
        "acme", '{job="a"}', origin, frontier, sealed, n, n, n, n, (Trouble("suspect", 1, 2, reason, n),) * n, "w", 7
    )
    assert LiveCheckpoint.decode(live.encode()) == live


@given(st.lists(st.integers(0, NS_PER_HOUR - 1), max_size=30))
def test_an_hour_counts_by_minute_whatever_the_order_of_parts(offsets: list[int]) -> None:
    start = hour_start_of(1_700_000_000 * NS_PER_SECOND)
    ids = [i.to_bytes(16, "big") for i in range(len(offsets))]
    times_ns = [start + o for o in offsets]
    whole, parts = HourSummary(start), HourSummary(start)
    whole.add(times_ns, ids)
    for time_ns, event_id in reversed(list(zip(times_ns, ids, strict=True))):
        parts.add([time_ns], [event_id])
    assert whole.minutes == parts.minutes
    assert whole.count == len(offsets)
    assert HourSummary.decode(whole.encode()) == whole
    assert sum(p for _, p in whole.minutes.values()) % (1 << 128) == fingerprint(ids)


@pytest.mark.parametrize("raw", [b"", b"\xff", b"{}", b"[1]", b'{"v":2}', b'{"v":1}'])
def test_a_foreign_record_is_refused_with_a_cure(raw: bytes) -> None:
    with pytest.raises(CheckpointError):
        LiveCheckpoint.decode(raw)
    with pytest.raises(CheckpointError):
        NearCell.decode(0, raw)
