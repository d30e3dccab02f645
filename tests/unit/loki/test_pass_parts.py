"""The parts of the passes: telling new entries from exported ones, what is remembered for it, what is due when."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.domain.checkpoints import CheckpointError, HourSummary, NearCell, PassMarks, Trouble
from exporter.domain.entries import StreamEntries
from exporter.domain.ids import fingerprint
from exporter.domain.sealed import NS_PER_DAY, DaySummary
from exporter.domain.windows import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_SECOND, Window
from exporter.loki.fairness import FairShare
from exporter.loki.hours import Cell, Hours
from exporter.loki.limits import TenantLimits, parse_limits
from exporter.loki.near import NearCells
from exporter.loki.passes.difference import difference
from exporter.loki.passes.memory import Memory
from exporter.loki.passes.schedule import Bounds, next_round, sealed_ns, started
from exporter.settings.model import PassSettings

HOUR = NS_PER_HOUR
T0 = 1_760_000_400 * NS_PER_SECOND // HOUR * HOUR
MINUTE = Window(T0, T0 + NS_PER_MINUTE)


def stream(ids: list[bytes], name: str = "a") -> StreamEntries:
    return StreamEntries({"app": name}, list(range(T0, T0 + len(ids))), ["x"] * len(ids), ids)


def ids_of(rng: random.Random, number: int) -> list[bytes]:
    return [rng.randbytes(16) for _ in range(number)]


def cell_of(ids: list[bytes], gone: int = 0) -> Cell:
    return Cell(MINUTE, len(ids), fingerprint(ids), gone, len(ids))


def remembered(ids: list[bytes], max_bytes: int):
    memory = Memory("acme", max_bytes)
    memory.add(T0, ids)
    return memory.get(T0, len(ids))


# --- difference -------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 300), st.integers(0, 60), st.integers(0, 40), st.booleans())
def test_tags_tell_new_from_exported_whatever_went_and_came(seed: int, old: int, new: int, gone: int, split: bool):
    rng = random.Random(seed)
    exported, late = ids_of(rng, old), ids_of(rng, new)
    shown = exported[min(gone, old) :] + late
    rng.shuffle(shown)
    half = len(shown) // 2 if split else 0
    found = difference(
        cell_of(exported), remembered(exported, 5_000_000), [stream(shown[:half]), stream(shown[half:], "b")]
    )
    assert found.decided
    assert found.new == frozenset(late)
    assert found.gone == min(gone, old)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(100, 900), st.integers(0, 12))
def test_whatever_is_decided_from_buckets_is_right(seed: int, old: int, new: int):
    rng = random.Random(seed)
    exported, late = ids_of(rng, old), ids_of(rng, new)
    shown = exported + late
    rng.shuffle(shown)
    kept = remembered(exported, 20_000)  # 62 tags a minute, so these became buckets
    assert kept is not None
    assert kept.bits
    found = difference(cell_of(exported), kept, [stream(shown)])
    assert found.new == (frozenset(late) if found.decided else frozenset())
    assert found.decided or new > 3


def test_hundreds_of_new_lines_in_a_dense_minute_are_told_apart_by_many_buckets():
    rng = random.Random(1)
    exported, late = ids_of(rng, 20_000), ids_of(rng, 300)
    kept = remembered(exported, 2_000_000)
    assert kept is not None
    assert kept.bits == 10
    found = difference(cell_of(exported), kept, [stream(exported[:9000] + late + exported[9000:])])
    assert (found.decided, found.new) == (True, frozenset(late))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_without_memory_up_to_three_new_lines_are_found_by_their_sum(number: int):
    rng = random.Random(number)
    exported, late = ids_of(rng, 500), ids_of(rng, number)
    found = difference(cell_of(exported), None, [stream(exported[:200] + late + exported[200:])])
    assert found.new == frozenset(late)


def test_without_memory_streams_of_an_agent_that_was_away_are_found_whole_and_by_their_ends():
    rng = random.Random(3)
    known = {name: ids_of(rng, 200) for name in "abc"}
    away, other = ids_of(rng, 70), ids_of(rng, 40)
    exported = [event_id for ids in known.values() for event_id in ids]
    now = [stream(ids, name) for name, ids in known.items()]
    for late in ([away], [away, other]):
        found = difference(cell_of(exported), None, [*now, *(stream(ids, f"late-{len(ids)}") for ids in late)])
        assert found.new == frozenset(event_id for ids in late for event_id in ids)
    longer = [stream(known["a"] + away, "a"), *now[1:]]
    assert difference(cell_of(exported), None, longer).new == frozenset(away)
    assert difference(cell_of(exported), None, [*longer, stream(other, "x")]).new == frozenset(away + other)
    only_known = difference(cell_of(known["a"]), None, [*now, stream(away, "d")])
    assert only_known.new == frozenset(known["b"] + known["c"] + away)


def test_what_no_supposition_explains_is_undecided_and_nothing_is_called_new():
    rng = random.Random(4)
    exported, late = ids_of(rng, 300), ids_of(rng, 40)
    shown = exported + late
    rng.shuffle(shown)
    found = difference(cell_of(exported), None, [stream(shown)])
    assert (found.decided, found.new) == (False, frozenset())
    fewer = difference(cell_of(exported), None, [stream(exported[40:] + late[:10])])
    assert not fewer.decided


def test_a_new_id_with_the_tag_of_an_exported_one_is_seen_by_the_fingerprint():
    rng = random.Random(5)
    exported = ids_of(rng, 50)
    twins = [exported[7][:4] + rng.randbytes(12), exported[9][:4] + rng.randbytes(12)]
    late = [*twins, *ids_of(rng, 20)]
    found = difference(cell_of(exported), remembered(exported, 5_000_000), [stream(exported + late)])
    assert found.new == frozenset(late)


# --- memory -----------------------------------------------------------------------------------------------------------


def test_memory_survives_its_records_minute_by_minute_and_merged():
    rng = random.Random(6)
    memory = Memory("acme", 40_000)
    minutes = {T0 + n * NS_PER_MINUTE: ids_of(rng, 20 if n % 2 else 400) for n in range(5)}
    records: dict[str, bytes] = {}

    def write() -> None:
        for key, raw in memory.records().items():
            records.pop(key, None)
            if raw is not None:
                records[key] = raw

    for minute_ns, ids in minutes.items():
        memory.add(minute_ns, ids)
        write()
    memory.merge(T0)
    write()
    assert list(records) == [f"ids/acme/{T0}"]
    again = Memory("acme", 40_000)
    again.restore(records)
    for minute_ns, ids in minutes.items():
        assert again.get(minute_ns, len(ids)) == memory.get(minute_ns, len(ids)) is not None
    assert again.get(T0, 399) is None  # what speaks of other events is not believed
    memory.drop(T0 + HOUR)
    write()
    assert records == {}


def test_memory_stays_within_its_room_whatever_is_added():
    rng = random.Random(7)
    memory = Memory("acme", 60_000)
    for minute in range(3000):
        memory.add(T0 + minute * NS_PER_MINUTE, ids_of(rng, rng.choice([1, 30, 300])))
        assert memory.size_bytes <= 60_000
    assert memory.get(T0, 1) is None
    with pytest.raises(CheckpointError):
        Memory("acme", 1).restore({f"ids/acme/{T0}": b"\x07rest"})
    with pytest.raises(CheckpointError):
        Memory("acme", 1).restore({f"ids/acme/{T0}": b"\x01\x00"})


def test_cells_that_are_let_go_hand_their_ids_to_the_right_half_open_minute():
    edge, inside = b"e" * 16, b"i" * 16
    near = NearCells("acme", 10_000, T0)
    near.keep([StreamEntries({}, [T0 + NS_PER_MINUTE - 5, T0 + NS_PER_MINUTE], ["x", "y"], [inside, edge])])
    records = near.records()
    again = NearCells("acme", 10_000, T0)
    again.restore({key: raw for key, raw in records.items() if raw is not None})
    again.expire(T0 + 2 * NS_PER_MINUTE)
    assert again.left() == {T0: [inside], T0 + NS_PER_MINUTE: [edge]}
    old = bytes([1]) + (3).to_bytes(8, "big", signed=True) + inside
    assert NearCell.decode(7, old) == NearCell(7, 3, inside)


# --- hour and day records -----------------------------------------------------------------------------------------------


def test_a_year_of_a_thousand_tenants_fits_in_a_gigabyte():
    day = DaySummary(T0 // NS_PER_DAY * NS_PER_DAY)
    for number in range(24):
        hour = HourSummary(day.start_ns + number * HOUR)
        hour.add_minute(3, 10**6, 2**128 - 1)
        day.take(hour)
    raw = day.encode()
    assert DaySummary.decode(raw) == day
    assert (len(raw) + 250) * 365 * 1000 < 500_000_000  # 250: key and dict entry
    open_hours = HourSummary(T0, dict.fromkeys(range(60), (10**6, 2**128 - 1))).encode()
    assert (len(open_hours) + 250) * 171 * 1000 < 500_000_000
    for broken in (b"\x09" + raw[1:], raw[:-1]):
        with pytest.raises(CheckpointError):
            DaySummary.decode(broken)


def test_hours_of_older_releases_are_read_and_rewritten():
    old = b'{"v":1,"start_ns":%d,"minutes":{"3":[2,"%032x"]}}' % (T0, 77)
    hours = Hours("acme")
    hours.restore({f"hour/acme/{T0}": old})
    assert hours.count_of_minute(T0 + 3 * NS_PER_MINUTE) == 2
    hours.accept(Window(T0 + 3 * NS_PER_MINUTE, T0 + 4 * NS_PER_MINUTE), 5, 0)
    raw = hours.records()[f"hour/acme/{T0}"]
    assert raw is not None
    assert HourSummary.decode(raw).expected == 5
    with pytest.raises(CheckpointError):
        HourSummary.decode(b"\x07" + raw[1:])


def test_lines_found_in_a_compacted_day_are_counted_there():
    hours = Hours("acme")
    ids = ids_of(random.Random(8), 3)
    hours.add([StreamEntries({}, [T0, T0 + 1, T0 + 2], ["x"] * 3, ids)])
    hours.records()
    day_ns = T0 // NS_PER_DAY * NS_PER_DAY
    hours.compact(day_ns + NS_PER_DAY)
    changed = hours.records()
    assert changed[f"hour/acme/{T0}"] is None
    assert changed[f"day/acme/{day_ns}"] is not None
    more = ids_of(random.Random(9), 2)
    hours.add([StreamEntries({}, [T0, T0 + 9], ["x"] * 2, more)])
    (cell,) = hours.cells(Window(T0, T0 + HOUR))
    assert (cell.count, cell.fingerprint, cell.expected) == (5, fingerprint(ids + more), 5)
    assert hours.expected_cell(T0) == 3  # two stand on the hour's edge
    assert hours.expected_cell(T0 - HOUR) == 2


# --- schedule ---------------------------------------------------------------------------------------------------------


def bounds(**limits: float) -> Bounds:
    return Bounds.of(PassSettings(), TenantLimits(**limits))


def rounds(marks: PassMarks, now_ns: int, how: Bounds, origin_ns: int = T0) -> list[tuple[str, int, int]]:
    seen = []
    while (due := next_round(marks, (), origin_ns, now_ns - 300 * NS_PER_SECOND, now_ns, how)) is not None:
        seen.append((due.name, (due.hours[0] - T0) // HOUR, len(due.hours)))
        marks = due.marks
    return seen


def test_each_hour_goes_through_its_passes_in_time():
    marks = started(PassMarks(), T0)
    how = bounds()
    assert rounds(marks, T0 + HOUR + 74 * NS_PER_MINUTE, how) == []
    assert rounds(marks, T0 + HOUR + 75 * NS_PER_MINUTE, how) == [("warm", 0, 1)]
    assert rounds(marks, T0 + 5 * HOUR, how) == [("warm", 1, 2), ("cold", 0, 1)]


def test_a_long_history_is_sealed_a_day_at_a_time_without_earlier_passes():
    marks = started(PassMarks(), T0 + 30 * NS_PER_DAY)
    seen = rounds(marks, T0 + 30 * NS_PER_DAY, bounds())
    assert seen[:2] == [("warm", 714, 2), ("cold", 549, 24)] or seen[0][0] == "warm"
    sealed = [entry for entry in seen if entry[0] == "seal"]
    assert sum(hours for _, _, hours in sealed) == 30 * 24 - 7 * 24 - 3
    assert max(hours for _, _, hours in sealed) == 24


def test_drift_covers_everything_open_each_day_and_sealed_history_each_month():
    how = bounds()
    now_ns = T0 + 60 * NS_PER_DAY
    marks = PassMarks(now_ns, now_ns - 5 * HOUR, now_ns - 8 * NS_PER_DAY, 0, now_ns, 0, now_ns)
    later = now_ns + NS_PER_DAY
    open_hours = set(
        range(marks.seal_ns + 2 * NS_PER_DAY, marks.cold_ns, HOUR)
    )  # nearly two days of them is sealed meanwhile
    touched: set[int] = set()
    rechecked = 0
    while (due := next_round(marks, (), T0, later - HOUR, later, how)) is not None:
        if due.name == "drift" and due.hours[0] >= marks.seal_ns:
            touched.update(due.hours)
        rechecked += due.name == "drift" and due.hours[-1] < marks.seal_ns
        marks = due.marks
    assert open_hours <= touched
    assert rechecked == 1


def test_bounds_come_from_loki_and_end_before_it_forgets():
    week = 7 * 86_400
    assert bounds().seal_ns == (week + 3 * 3600) * NS_PER_SECOND
    assert bounds(max_age_seconds=86_400.0).seal_ns == 27 * HOUR
    assert bounds(max_query_lookback_seconds=48 * 3600.0).seal_ns == 46 * HOUR
    assert bounds(retention_seconds=72 * 3600.0).seal_ns == 70 * HOUR
    limits = parse_limits(
        "reject_old_samples_max_age: 3d\nretention_period: 31d\nretention_stream:\n- {period: 2d}\n- {period: 40d}\n"
        "reject_old_samples: false\n"
    )
    assert (limits.max_age_seconds, limits.shortest_retention_seconds) == (3 * 86_400, 2 * 86_400)
    assert not limits.rejects_old_samples


def test_the_sealed_frontier_waits_for_what_is_not_proven_and_never_goes_back():
    marks = PassMarks(seal_ns=T0 + 5 * HOUR)
    suspect = Trouble("suspect", T0 + 2 * HOUR + 7, T0 + 2 * HOUR + 9, "r")
    held = Trouble("held", T0, T0 + 9, "r")
    assert sealed_ns(T0, marks, (held,)) == T0 + 5 * HOUR
    assert sealed_ns(T0, marks, (suspect, held)) == suspect.start_ns
    assert sealed_ns(T0 + 4 * HOUR, marks, (suspect,)) == T0 + 4 * HOUR


# --- priority ---------------------------------------------------------------------------------------------------------


async def test_background_questions_take_only_places_that_nobody_waits_for():
    share = FairShare(4, 2)
    order: list[str] = []
    release = {name: asyncio.Event() for name in ("pass-a", "pass-b", "live-1", "live-2", "live-3")}

    async def hold(name: str, place) -> None:
        async with place:
            order.append(name)
            await release[name].wait()

    tasks = [
        asyncio.create_task(hold("pass-a", share.background_place("a"))),
        asyncio.create_task(hold("pass-b", share.background_place("b"))),  # a quarter of all is one
        asyncio.create_task(hold("live-1", share.place("a"))),
        asyncio.create_task(hold("live-2", share.place("a"))),
        asyncio.create_task(hold("live-3", share.place("a"))),
    ]
    for _ in range(5):
        await asyncio.sleep(0)
    assert order == ["pass-a", "live-1", "live-2"]  # the pass takes none of its tenant's two places
    release["pass-a"].set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert order[3:] == ["pass-b"]
    tasks[1].cancel()
    release["live-1"].set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert order[4:] == ["live-3"]
    for event in release.values():
        event.set()
    await asyncio.gather(*tasks, return_exceptions=True)
