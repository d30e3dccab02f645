"""The small parts of the reader: limits, fair share, cutting, pacing, ties, troubles, the start."""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.domain.checkpoints import Trouble
from exporter.domain.windows import NS_PER_HOUR, NS_PER_MS, Window
from exporter.errors import SplitWindow
from exporter.loki.fairness import FairShare
from exporter.loki.limits import TenantLimits, parse_limits
from exporter.loki.pace import Pace
from exporter.loki.splitting import split_cut_page, split_evenly, split_hours
from exporter.loki.start import find_earliest, parse_start
from exporter.loki.ties import halving_pattern
from exporter.loki.troubles import MAX_TROUBLES, merged

# --- limits -----------------------------------------------------------------------------------------------------------


def test_limits_are_read_in_lokis_units():
    got = parse_limits(
        "max_entries_limit_per_query: 9000\nmax_line_size: 256KB\nmax_structured_metadata_size: 64KB\n"
        "max_query_lookback: 30d\nmax_query_length: 30d1h\nper_tenant_override_config: ''\nretention_stream: []\n"
    )
    assert got == TenantLimits(
        max_entries=9000, max_query_lookback_seconds=2_592_000.0, max_query_length_seconds=2_595_600.0
    )


@pytest.mark.parametrize(
    "text", ["", "a: [", "- 1", "<html>", "max_line_size: x\nmax_entries_limit_per_query: 0\nmax_query_length: soon"]
)
def test_limits_that_cannot_be_read_keep_their_defaults(text: str):
    assert parse_limits(text) == TenantLimits()


def test_a_safe_page_cannot_pass_the_message_limit():
    limits = TenantLimits()
    entries = limits.safe_page(4_194_304)
    assert limits.is_safe_page(entries, 4_194_304)
    assert not limits.is_safe_page(entries + 1, 4_194_304)
    unlimited = TenantLimits(max_line_size_bytes=0)
    assert unlimited.safe_page(4_194_304) == 1
    assert not unlimited.is_safe_page(1, 4_194_304)


# --- fair share -------------------------------------------------------------------------------------------------------


async def test_places_are_bounded_in_all_and_per_tenant_and_given_in_order():
    share = FairShare(3, 2)
    order: list[str] = []
    release = asyncio.Event()

    async def hold(tenant: str, name: str) -> None:
        async with share.place(tenant):
            order.append(name)
            await release.wait()

    tasks = [
        asyncio.create_task(hold(*args)) for args in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("b", "b2"))
    ]
    for _ in range(3):
        await asyncio.sleep(0)
    assert order == ["a1", "a2", "b1"]
    release.set()
    await asyncio.gather(*tasks)
    assert order == ["a1", "a2", "b1", "a3", "b2"]


async def test_a_cancelled_wait_gives_its_place_on():
    share = FairShare(1, 1)
    async with share.place("a"):
        waiting = asyncio.create_task(_pass(share, "a"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    waiting = asyncio.create_task(_pass(share, "a"))
    async with share.place("a"):
        await asyncio.sleep(0)
    waiting.cancel()  # perhaps in the moment it was given the place
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.wait_for(_pass(share, "b"), 1)


async def _pass(share: FairShare, tenant: str) -> None:
    async with share.place(tenant):
        pass


def test_a_throttled_tenant_gets_fewer_places_and_wins_them_back():
    share = FairShare(16, 4)
    share.throttled("a")
    share.throttled("a")
    share.throttled("a")
    assert (share.limit_of("a"), share.limit_of("b")) == (1, 4)
    for _ in range(150):
        share.succeeded("a")
    assert share.limit_of("a") == 4


# --- cutting ----------------------------------------------------------------------------------------------------------


def tiles(window: Window, parts: list[Window]) -> bool:
    return (
        parts[0].start_ns == window.start_ns
        and parts[-1].end_ns == window.end_ns
        and all(a.end_ns == b.start_ns for a, b in pairwise(parts))
    )


@given(st.integers(0, 10**18), st.integers(2, 5 * 10**6), st.integers(1, 40))
def test_even_parts_tile_the_window(start: int, length: int, parts: int):
    window = Window(start, start + length)
    got = split_evenly(window, parts)
    assert tiles(window, got)
    assert len(got) >= 2


@given(st.integers(0, 10**18), st.integers(2, 10**4), st.lists(st.integers(0, 10**10), max_size=20))
def test_cuts_keep_to_whole_milliseconds_and_always_make_progress(start: int, length_ms: int, offsets: list[int]):
    window = Window(start, start + length_ms * NS_PER_MS)
    times = [start + offset % window.duration_ns for offset in offsets]
    got = split_cut_page(window, times, 3)
    assert tiles(window, got)
    assert len(got) >= 2
    assert all(part.duration_ns % NS_PER_MS == 0 for part in got)


def test_a_crowded_nanosecond_is_isolated_at_once():
    window = Window(0, NS_PER_MS)
    assert Window(5, 6) in split_cut_page(window, [5] * 9 + [1, 7], 2)


def test_long_windows_are_cut_at_whole_hours():
    got = split_hours(Window(NS_PER_HOUR // 2, 3 * NS_PER_HOUR))
    assert [w.duration_ns for w in got] == [NS_PER_HOUR // 2, NS_PER_HOUR, NS_PER_HOUR]


# --- pacing -----------------------------------------------------------------------------------------------------------


@given(st.integers(10**18, 2 * 10**18), st.lists(st.integers(0, 10**5), max_size=30))
def test_windows_end_at_whole_milliseconds_ahead_and_within_the_hour_unless_all_was_empty(
    start: int, weights: list[int]
):
    pace = Pace(3_500_000)
    start = start // NS_PER_MS * NS_PER_MS
    for weight in weights:
        end = pace.next_end(start, 5000)
        assert end > start
        assert end % NS_PER_MS == 0
        assert start // NS_PER_HOUR == (end - 1) // NS_PER_HOUR or weights[: weights.index(weight)].count(0) > 0
        pace.observe(Window(start, end), weight, weight * 300)
        start = end


def test_an_even_load_settles_below_half_a_page():
    pace, start = Pace(3_500_000), 10**18
    for _ in range(40):
        end = pace.next_end(start, 5000)
        entries = (end - start) // 10_000  # one entry every 10 µs
        pace.observe(Window(start, end), entries, entries * 340)
        start = end
    assert 1000 < entries < 2500


def test_fat_entries_shorten_windows_by_their_bytes():
    pace, start = Pace(3_500_000), 10**18
    for _ in range(40):
        end = pace.next_end(start, 5000)
        entries = max(1, (end - start) // NS_PER_MS)
        pace.observe(Window(start, end), entries, entries * 60_000)
        start = end
    assert entries * 60_000 < 3_500_000


# --- ties -------------------------------------------------------------------------------------------------------------


@given(st.sets(st.text(max_size=30), min_size=2, max_size=60))
def test_a_pattern_parts_any_two_different_lines(lines: set[str]):
    pattern = halving_pattern(sorted(lines))
    assert pattern is not None
    python = re.sub(r"\\x\{([0-9a-f]+)\}", lambda m: f"\\u{int(m[1], 16):04x}", pattern)
    matching = {line for line in lines if re.search(python, line)}
    assert 0 < len(matching) < len(lines)


def test_lines_that_differ_late_get_a_short_pattern():
    lines = ["x" * 5000 + str(number) for number in range(300)]
    pattern = halving_pattern(lines)
    assert pattern is not None
    assert len(pattern) < 80
    share = sum(re.search(pattern, line) is not None for line in lines) / len(lines)
    assert 0.1 < share < 0.9


# --- troubles ---------------------------------------------------------------------------------------------------------


def test_a_window_that_reads_well_clears_its_trouble_but_not_held_events():
    known = (Trouble("suspect", 10, 20, "r"), Trouble("held", 10, 20, "h", 3), Trouble("suspect", 30, 40, "r"))
    assert merged(known, Window(0, 25), []) == (Trouble("held", 10, 20, "h", 3), Trouble("suspect", 30, 40, "r"))


def test_the_list_stays_bounded_and_drops_no_time():
    troubles: tuple[Trouble, ...] = ()
    for number in range(400):
        window = Window(number * 100, number * 100 + 10)
        troubles = merged(troubles, window, [Trouble("suspect", window.start_ns, window.end_ns, "r", 1)])
    assert len(troubles) == MAX_TROUBLES
    assert sum(trouble.count for trouble in troubles) == 400
    assert all(any(t.start_ns <= n * 100 and n * 100 + 10 <= t.end_ns for t in troubles) for n in range(400))


# --- the start --------------------------------------------------------------------------------------------------------

NOW = 1_760_000_000_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("earliest", None),
        ("now", NOW),
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T01:00:00.123456789+01:00", 123_000_000),
    ],
)
def test_starts_are_whole_milliseconds(text: str, expected: int | None):
    assert parse_start(text, NOW + 5) == expected


@pytest.mark.parametrize("text", ["yesterday", "2026-01-01T00:00:00", ""])
def test_other_starts_are_refused(text: str):
    with pytest.raises(ValueError):
        parse_start(text, NOW)


@given(st.integers(0, 9 * 365 * 24), st.integers(0, 3))
async def test_the_oldest_hour_is_found_in_few_questions(hours_ago: int, heavy: int):
    oldest = NOW - hours_ago * NS_PER_HOUR
    asked = []

    async def has_data(window: Window) -> bool:
        asked.append(window)
        if len(asked) <= heavy:
            raise SplitWindow("too heavy")
        return window.end_ns > oldest

    found = await find_earliest(has_data, NOW, TenantLimits())
    assert found is not None
    assert found <= oldest < found + NS_PER_HOUR
    assert len(asked) < 160


async def test_the_lookback_is_kept_and_emptiness_is_told():
    async def nothing(window: Window) -> bool:
        assert window.end_ns - window.start_ns <= 721 * NS_PER_HOUR
        return False

    async def everything(window: Window) -> bool:
        return True

    limits = TenantLimits(max_query_lookback_seconds=86_400.0)
    assert await find_earliest(nothing, NOW, limits) is None
    assert await find_earliest(everything, NOW, limits) == NOW - 24 * NS_PER_HOUR
