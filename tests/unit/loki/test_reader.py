"""G1 on a Loki in the process: whatever was accepted comes out once, however the answers hide it."""

from __future__ import annotations

import random
from contextlib import aclosing
from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.domain.checkpoints import HourSummary, LiveCheckpoint, live_key
from exporter.domain.clock import ManualClock
from exporter.domain.ids import fingerprint
from exporter.errors import TenantStopped
from exporter.loki.client import LokiClient
from exporter.settings.model import LokiSettings
from tests.support.mini_loki import MiniLoki
from tests.support.reading import NOW_NS, SECOND, Bus, drain, reader_of

HOUR = 3600 * SECOND


def filled(count: int, *, span_ns: int = 2 * HOUR, seed: int = 3, **loki: int) -> MiniLoki:
    mini = MiniLoki(**loki)
    rng = random.Random(seed)
    for number in range(count):
        labels = {"job": "api", "app": f"app-{rng.randrange(3)}"}
        mini.push(labels, NOW_NS - 1 - rng.randrange(span_ns), f"line {number}", source=rng.randrange(3))
    return mini


async def test_everything_comes_out_once_and_the_frontier_reaches_the_goal():
    mini = filled(2000, max_entries=150)
    bus = await drain(mini)
    assert bus.holds(mini.truth()) == (0, 0, 0)
    live = bus.units[-1].live
    assert (live.frontier_ns, live.troubles) == (NOW_NS, ())


async def test_windows_tile_time_are_whole_milliseconds_and_stay_within_an_hour():
    bus = await drain(filled(2000, max_entries=150))
    forward = [unit.window for unit in bus.units if not unit.batch.late]
    assert all(a.end_ns == b.start_ns for a, b in pairwise(forward))
    assert all(w.duration_ns % 1_000_000 == 0 for w in forward)
    assert all(w.start_ns // HOUR == (w.end_ns - 1) // HOUR for w in forward if w.duration_ns <= HOUR)


async def test_hour_records_hold_counts_and_fingerprint_of_what_went_out():
    bus = await drain(filled(500))
    hours = [HourSummary.decode(raw) for key, raw in bus.records.items() if key.startswith("hour/")]
    assert sum(hour.count for hour in hours) == 500
    total = sum(print_ for hour in hours for _, print_ in hour.minutes.values()) % 2**128
    assert total == fingerprint(bus.ids)


async def test_a_retried_push_makes_short_pages_that_are_not_believed():
    """Findings 1 and 2: copies fill an ingester's answer, are removed, and leave a gap in a short page."""
    mini = filled(400, span_ns=20 * SECOND, max_entries=60)
    for line in list(mini.lines)[:200]:
        mini.push(line.labels, line.time_ns, line.line, source=line.source)
    bus = await drain(mini)
    assert bus.holds(mini.truth()) == (0, 0, 0)
    assert bus.units[-1].live.troubles == ()


async def test_a_lost_ingester_message_is_found_by_the_count_and_repaired():
    """Finding 11: fat lines make an ingester vanish from a clean answer; its small lines vanish too."""
    mini = filled(99, span_ns=60 * SECOND, message_bytes=100_000)
    for number in range(60):
        mini.push({"job": "fat"}, NOW_NS - 1 - number * SECOND, f"{number} " + "x" * 3000, source=1)
    mini.limits_yaml = "max_line_size: 4KB\nmax_structured_metadata_size: 0B\nmax_label_names_per_series: 0\n"
    bus = await drain(mini, loki={"ingester_message_bytes": 100_000})
    assert bus.holds(mini.truth()) == (0, 0, 0)
    assert bus.units[-1].live.troubles == ()


async def test_counted_copies_are_told_from_lost_lines():
    mini = filled(50, span_ns=2 * HOUR, max_entries=5000)
    for line in list(mini.lines)[:10]:
        mini.push(line.labels, line.time_ns, line.line, source=line.source)
    bus = await drain(mini)
    assert bus.holds(mini.truth()) == (0, 0, 0)
    assert bus.units[-1].live.troubles == ()


async def test_copies_of_retried_pushes_cost_two_questions_a_window_not_small_pages():
    mini = filled(3000, span_ns=2 * HOUR)
    for number in range(200):
        for _ in range(2):
            mini.push({"job": "api"}, NOW_NS - 1 - number * SECOND, f"retried {number}", source=1)
    bus = await drain(mini)
    assert bus.holds(mini.truth()) == (0, 0, 0)
    assert len(mini.requests) < 400


async def test_a_lost_message_is_found_among_replicas_too():
    mini = filled(1500, span_ns=2 * HOUR, message_bytes=100_000)
    mini.limits_yaml = "max_line_size: 4KB\nmax_structured_metadata_size: 0B\nmax_label_names_per_series: 0\n"
    for line in list(mini.lines):
        mini.push(line.labels, line.time_ns, line.line, source=line.source + 3)
    mini.replicas = 2
    for number in range(60):
        mini.push({"job": "fat"}, NOW_NS - 1 - number * SECOND, f"{number} " + "x" * 3000, source=1)
    bus = await drain(mini, loki={"ingester_message_bytes": 100_000})
    assert bus.holds(mini.truth()) == (0, 0, 0)


async def test_a_count_that_never_settles_makes_the_window_suspect_and_its_lines_still_go_out():
    mini = filled(20, span_ns=10 * SECOND)
    rng = random.Random(1)

    def wrong_count(request: httpx.Request, parameters: dict[str, str]) -> httpx.Response | None:
        if request.url.path.endswith("/query"):
            value = str(100 + rng.randrange(10**6))
            vector = {"resultType": "vector", "result": [{"metric": {}, "value": [1, value]}]}
            return httpx.Response(200, json={"status": "success", "data": vector})
        return None

    mini.faults.append(wrong_count)
    bus = await drain(mini, start="2025-10-09T08:59:50Z", loki={"page_entries": 30})
    assert bus.holds(mini.truth()) == (0, 0, 0)
    troubles = bus.units[-1].live.troubles
    assert {trouble.state for trouble in troubles} == {"suspect"}


@pytest.mark.parametrize("streams", [1, 7])
async def test_more_ties_on_one_nanosecond_than_a_page_holds(streams: int):
    mini = MiniLoki(max_entries=50)
    for number in range(900):
        labels = {"job": "api"} | ({"pod": f"p-{number % streams}"} if number % streams else {})
        mini.push(labels, NOW_NS - SECOND, f'{{"n": {number}, "text": "tie"}}', source=number % 3)
    bus = await drain(mini)
    assert bus.holds(mini.truth()) == (0, 0, 0)
    assert bus.units[-1].live.troubles == ()


async def test_a_nanosecond_that_nothing_parts_is_blocked_and_told():
    mini = MiniLoki(max_entries=10)
    for number in range(100):
        mini.push({"job": "api"}, NOW_NS - SECOND, "same", number=str(number))
    bus = await drain(mini)
    missing, invented, repeated = bus.holds(mini.truth())
    assert (invented, repeated) == (0, 0)
    assert missing > 0
    assert "blocked" in {trouble.state for trouble in bus.units[-1].live.troubles}


async def test_a_stream_whose_labels_are_a_subset_of_another_is_not_confused():
    mini = MiniLoki(max_entries=40)
    for number in range(120):
        labels = {"job": "api"} if number % 2 else {"job": "api", "pod": 'q"`\\'}
        mini.push(labels, NOW_NS - SECOND, f"tie {number % 100}")
    bus = await drain(mini)
    assert bus.holds(mini.truth()) == (0, 0, 0)


async def test_a_line_of_three_megabytes_comes_out_beside_its_neighbours():
    mini = filled(40, span_ns=20 * SECOND)
    mini.limits_yaml = "max_line_size: 4MB\n"
    for number in range(3):
        mini.push({"job": "fat"}, NOW_NS - 5 * SECOND, f"{number}" + "x" * 3_000_000)
    bus = await drain(mini)
    assert bus.holds(mini.truth()) == (0, 0, 0)


async def test_a_line_larger_than_any_message_is_told_as_suspect_not_explained_away():
    mini = filled(5, span_ns=20 * SECOND)
    mini.limits_yaml = "max_line_size: 0\n"
    mini.push({"job": "fat"}, NOW_NS - 5 * SECOND, "x" * 4_300_000, source=7)
    bus = await drain(mini)
    assert bus.holds(mini.truth()) == (1, 0, 0)
    assert {trouble.state for trouble in bus.units[-1].live.troubles} == {"suspect"}


# --- late lines -------------------------------------------------------------------------------------------------------


async def test_late_lines_go_out_once_and_marked():
    mini = filled(300, span_ns=100 * SECOND)
    clock = ManualClock(NOW_NS + 2 * SECOND)
    bus = await drain(mini, clock=clock)
    for number in range(40):
        mini.push({"job": "late"}, NOW_NS - (1 + number) * SECOND - 5, f"late {number}")
    clock.advance(5)
    await drain(mini, bus=bus, clock=clock, until_ns=NOW_NS + 4 * SECOND)
    assert bus.holds(mini.truth()) == (0, 0, 0)
    assert (bus.late, bus.units[-1].live.late) == (40, 40)


async def test_late_lines_into_seconds_that_were_empty():
    mini = MiniLoki()
    clock = ManualClock(NOW_NS)
    bus = await drain(mini, clock=clock, start="now", until_ns=NOW_NS + SECOND)
    clock.advance(30)
    await drain(mini, bus=bus, clock=clock, until_ns=NOW_NS + 20 * SECOND)
    mini.push({"job": "api"}, NOW_NS + 10 * SECOND, "late into silence")
    await drain(mini, bus=bus, clock=clock, until_ns=NOW_NS + 21 * SECOND)
    assert (len(bus.entries), bus.late) == (1, 1)


async def test_a_hot_window_that_lost_a_message_is_proven_by_its_cells():
    """At the live edge windows carry no count of their own; the first comparison of the cells must find the loss."""
    mini = MiniLoki(message_bytes=70_000)
    mini.limits_yaml = "max_line_size: 4KB\nmax_structured_metadata_size: 0B\nmax_label_names_per_series: 0\n"
    clock = ManualClock(NOW_NS)
    settings = LokiSettings(url="http://loki.test", ingester_message_bytes=70_000)
    bus = Bus()
    async with LokiClient(settings, clock=clock, transport=mini) as client:
        reader = reader_of(client, settings, clock, start="now")
        await reader.restore({})
        for number in range(40):
            mini.push({"job": "fat"}, NOW_NS + 100 + number, f"{number} " + "x" * 3000, source=1)
            mini.push({"job": "thin"}, NOW_NS + 100 + number, f"{number}", source=2)
        async with aclosing(reader.units()) as units:
            async for unit in units:
                bus.commit(unit)
                if unit.live.frontier_ns > NOW_NS + 6 * SECOND:
                    break
    assert bus.holds(mini.truth()) == (0, 0, 0)
    assert bus.late == 40


async def test_cells_leave_with_the_horizon():
    mini = filled(100, span_ns=20 * SECOND)
    clock = ManualClock(NOW_NS + 2 * SECOND)
    bus = await drain(mini, clock=clock)
    assert any(key.startswith("near/") for key in bus.records)
    clock.advance(1000)
    await drain(mini, bus=bus, clock=clock, until_ns=NOW_NS + 500 * SECOND)
    await drain(mini, bus=bus, clock=clock, until_ns=NOW_NS + 501 * SECOND)
    assert not [key for key in bus.records if key.startswith("near/")]


# --- restart ----------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 6), min_size=1, max_size=6))
async def test_any_sequence_of_deaths_loses_and_repeats_nothing(seed: int, deaths: list[int]):
    mini = filled(200, span_ns=400 * SECOND, seed=seed, max_entries=40)
    rng = random.Random(seed)
    clock = ManualClock(NOW_NS + 2 * SECOND)
    bus = Bus()
    for units in deaths:
        await drain(mini, bus=bus, clock=clock, stop_after=units)
        frontier_ns = bus.units[-1].live.frontier_ns if bus.units else NOW_NS - 400 * SECOND
        near_ns = max(frontier_ns - 60 * SECOND, NOW_NS - 250 * SECOND)
        mini.push(
            {"job": "late"}, near_ns + rng.randrange(10 * SECOND), f"late {rng.random()}", source=rng.randrange(3)
        )
    await drain(mini, bus=bus, clock=clock)
    assert bus.holds(mini.truth()) == (0, 0, 0)


async def test_another_selector_starts_anew_and_removes_the_old_cells():
    mini = filled(50, span_ns=60 * SECOND)
    clock = ManualClock(NOW_NS + 2 * SECOND)
    bus = await drain(mini, clock=clock)
    old = {key for key in bus.records if key.startswith("near/")}
    fresh = Bus(records=dict(bus.records))
    await drain(mini, bus=fresh, clock=clock, selector='{app="app-1"}')
    live = LiveCheckpoint.decode(fresh.records[live_key("acme")])
    assert live.selector == '{app="app-1"}'
    assert {line[0] for line in fresh.entries} == {(("app", "app-1"), ("job", "api"))}
    assert old - {key for key in fresh.records if key.startswith("near/")}


# --- start ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_index", [True, False])
async def test_earliest_finds_the_oldest_data(has_index: bool):
    mini = filled(20)
    mini.has_index = has_index
    mini.push({"job": "api"}, NOW_NS - 1900 * HOUR, "old")
    bus = await drain(mini)
    assert bus.holds(mini.truth()) == (0, 0, 0)
    assert bus.units[0].live.origin_ns > NOW_NS - 1902 * HOUR


@pytest.mark.parametrize("flushed_hours_ago", [5, 1])
async def test_earliest_sees_what_is_not_flushed(flushed_hours_ago: int):
    mini = filled(200)
    mini.indexed_before_ns = NOW_NS - flushed_hours_ago * HOUR
    bus = await drain(mini)
    assert bus.holds(mini.truth()) == (0, 0, 0)


async def test_earliest_on_an_empty_tenant_begins_where_lines_under_way_may_still_land():
    bus = await drain(MiniLoki())
    assert bus.units[0].live.origin_ns == NOW_NS - 298 * SECOND
    assert bus.entries == []


async def test_a_written_start_is_obeyed():
    mini = filled(100, span_ns=HOUR)
    bus = await drain(mini, start="2025-10-09T08:30:00Z")
    origin = bus.units[0].live.origin_ns
    assert origin == NOW_NS - HOUR // 2
    assert bus.holds({line for line in mini.truth() if line[1] >= origin}) == (0, 0, 0)


# --- errors -----------------------------------------------------------------------------------------------------------


def once(answer: httpx.Response | Exception, path: str = "/query_range"):
    """A fault that hits the first matching request only."""
    left = [answer]

    def fault(request: httpx.Request, parameters: dict[str, str]) -> httpx.Response | Exception | None:
        return left.pop() if left and request.url.path.endswith(path) else None

    return fault


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(429, text="too many outstanding requests"),
        httpx.Response(
            500, text="rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5 vs. 4)"
        ),
        httpx.Response(413, text="response larger than the max message size (104857600)"),
        httpx.Response(504, text="request timed out, decrease the duration of the request"),
        httpx.Response(503, text="no healthy ingesters"),
        httpx.Response(400, text="the query time range exceeds the limit (query length: 800h, limit: 721h)"),
        httpx.Response(200, text="<html>maintenance</html>"),
        httpx.Response(200, json={"status": "success", "data": {"resultType": "streams", "result": []}}),
        httpx.Response(200, text='{"status":"success","data":{"resu'),
        httpx.ReadTimeout("slow"),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
    ],
    ids=str,
)
async def test_every_passing_fault_costs_time_only(answer: httpx.Response | Exception):
    mini = filled(100)
    mini.faults.append(once(answer))
    bus = await drain(mini)
    assert bus.holds(mini.truth()) == (0, 0, 0)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401, text="no org id"),
        httpx.Response(403, text="forbidden"),
        httpx.Response(429, text="querying is disabled, please contact your Loki operator"),
        httpx.Response(500, text="multiple org IDs present"),
        httpx.Response(200, text="<html>please log in, here is a secret line</html>"),
        httpx.Response(302, headers={"Location": "http://login.test/"}),
    ],
    ids=str,
)
async def test_what_needs_a_human_stops_the_tenant_with_a_hint_and_no_text_of_the_answer(answer: httpx.Response):
    mini = filled(10)
    mini.faults.append(lambda request, parameters: answer if request.url.path.endswith("/query_range") else None)
    with pytest.raises(TenantStopped) as caught:
        await drain(mini)
    assert caught.value.hint
    assert "secret" not in str(caught.value)
    assert "operator" not in caught.value.message


async def test_the_page_size_shrinks_until_fat_lines_fit():
    mini = filled(600, span_ns=60 * SECOND)
    big = httpx.Response(500, text="ResourceExhausted")
    mini.faults.append(lambda request, p: big if int(p.get("limit", "0")) > 30 else None)
    bus = await drain(mini)
    assert bus.holds(mini.truth()) == (0, 0, 0)


async def test_a_lower_limit_in_loki_than_in_our_settings_is_found_without_being_told():
    mini = filled(600, span_ns=600 * SECOND, max_entries=70)
    bus = await drain(mini)
    assert bus.holds(mini.truth()) == (0, 0, 0)


async def test_questions_carry_a_new_nonce_and_never_a_step_or_interval():
    mini = filled(100)
    await drain(mini)
    pages = [p for path, p in mini.requests if path.endswith("/query_range") and "direction" in p]
    assert all(
        p["direction"] == "forward" and len(p["start"]) == 19 and not {"step", "interval"} & p.keys() for p in pages
    )
    assert len({p["query"] for p in pages}) == len(pages)


async def test_an_answer_that_loki_never_gives_is_sized_by_the_mean_line_not_guessed():
    """A real Loki does not tell that an answer passed 4 MiB between querier and frontend: it closes after a minute."""
    mini = filled(2000, span_ns=3600 * SECOND, max_entries=5000)
    for number in range(130):
        mini.push({"job": "fat", "s": str(number)}, NOW_NS - 60 * SECOND + number, f"{number} " + "x" * 60_000)
    clock = ManualClock(NOW_NS + 2 * SECOND)
    closed = 0

    def too_large(request: httpx.Request, parameters: dict[str, str]) -> Exception | None:
        nonlocal closed
        if not request.url.path.endswith("/query_range") or parameters["query"].startswith("sum("):
            return None
        selected = mini.select_page(parameters)
        if sum(len(line.line) for line in selected) < 4 << 20:
            return None
        closed += 1
        clock.advance(60)
        return httpx.RemoteProtocolError("closed")

    mini.faults.append(too_large)
    bus = await drain(mini, clock=clock)
    assert bus.holds(mini.truth()) == (0, 0, 0)
    assert bus.units[-1].live.troubles == ()
    assert closed <= 4
