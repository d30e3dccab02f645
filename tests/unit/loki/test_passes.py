"""Lines that come after the near horizon: found by the passes over history, exported once, and history sealed behind them."""

from __future__ import annotations

import random

import pytest

from exporter.domain.checkpoints import LiveCheckpoint, live_key
from exporter.domain.clock import ManualClock
from exporter.domain.windows import NS_PER_HOUR
from exporter.sandbox.loki import Fault, LokiLimits, StandInLoki
from tests.support.in_process import InProcess
from tests.support.reading import NOW_NS, SECOND, Bus, drain

HOUR = NS_PER_HOUR
MINUTE = 60 * SECOND


class Scene:
    """A stand-in, a clock moved by hand and what was committed."""

    def __init__(self, *, mode: str = "separate", **limits: object) -> None:
        self.clock = ManualClock(NOW_NS)
        self.loki = StandInLoki(mode=mode, limits=LokiLimits(**limits), clock=self.clock)
        self.transport = InProcess(self.loki)
        self.bus = Bus()
        self.number = 0

    def push(self, at_ns: int, lines: int = 1, *, step_ns: int = SECOND // 7, **labels: str) -> None:
        entries = [(at_ns + n * step_ns, f"line {self.number + n}") for n in range(lines)]
        self.number += lines
        result = self.loki.push("acme", {"job": "api", **labels}, entries)
        assert not result.errors, "the stand-in refused a line"

    async def read(self, **tenant: object) -> None:
        """Read up to a second ago, and make what is due."""
        now_ns = self.clock.now_ns()
        how = {"start": "2025-10-09T06:00:00Z"} | tenant
        await drain(self.transport, bus=self.bus, clock=self.clock, until_ns=now_ns - 2 * SECOND, **how)

    async def go_on(self, hours: float, *, flush: bool = True, **tenant: object) -> None:
        """Let time pass. Ingesters flush long before nobody asks them any more."""
        self.clock.advance(hours * 3600)
        if flush:
            self.loki.flush()
        await self.read(**tenant)

    @property
    def live(self) -> LiveCheckpoint:
        return LiveCheckpoint.decode(self.bus.records[live_key("acme")])

    def holds(self) -> tuple[int, int, int]:
        truth = {
            (tuple(sorted(e.labels.items())), e.time_ns, e.line, tuple(sorted((e.metadata or {}).items())))
            for e in self.loki.truth("acme")
        }
        return self.bus.holds(truth)

    def found_by(self) -> set[str]:
        return {unit.pass_name for unit in self.bus.units if unit.batch.late and unit.batch.count}


def test_now_is_nine_o_clock():
    assert NOW_NS % (24 * HOUR) == 9 * HOUR


async def test_out_of_order_lines_are_found_by_warm_and_exported_once():
    scene = Scene()
    scene.push(NOW_NS - 2 * HOUR, 3000)
    await scene.read()
    scene.push(NOW_NS - 2 * HOUR + 5, 40, late="yes")
    scene.clock.advance(3600)
    await scene.read()
    assert scene.holds() == (0, 0, 0)
    assert scene.found_by() == {"warm"}
    assert scene.bus.units[-1].live.late == 40


async def test_lines_that_show_only_after_a_flush_are_found_by_cold():
    scene = Scene()
    scene.push(NOW_NS - 2 * HOUR, 3000)
    await scene.read()
    await scene.go_on(2.5)  # beyond WARM, and beyond the time for which Loki asks its ingesters
    scene.push(NOW_NS - 100 * MINUTE, 40, late="yes")
    await scene.read()
    assert scene.holds() == (40, 0, 0)
    await scene.go_on(1.3)
    assert scene.holds() == (0, 0, 0)
    assert scene.found_by() == {"cold"}


async def test_lines_days_late_are_found_by_drift_and_what_is_left_by_seal():
    scene = Scene()
    scene.push(NOW_NS - 2 * HOUR, 3000)
    await scene.read()
    await scene.go_on(30)
    scene.push(NOW_NS - 2 * HOUR + 7, 20, late="first")
    scene.loki.flush()
    await scene.go_on(25)
    assert scene.found_by() == {"drift"}
    assert scene.holds() == (0, 0, 0)
    await scene.go_on(4 * 24 + 12)
    scene.push(NOW_NS - 2 * HOUR + 9, 20, late="second")
    scene.loki.flush()
    for _ in range(4):
        await scene.go_on(6)
    assert scene.holds() == (0, 0, 0)
    assert scene.live.sealed_ns >= NOW_NS - HOUR
    assert scene.live.troubles == ()


async def test_the_sealed_frontier_follows_and_days_are_kept_in_little_room():
    scene = Scene()
    for hour in range(60):
        scene.push(NOW_NS + hour * HOUR + MINUTE - HOUR, 20)
        await scene.go_on(1)
    for _ in range(9):
        await scene.go_on(24)
    assert scene.holds() == (0, 0, 0)
    assert scene.live.sealed_ns > NOW_NS + 72 * HOUR
    kinds = {key.split("/")[0] for key in scene.bus.records}
    assert "ids" not in kinds
    assert not [key for key in scene.bus.records if key.startswith("hour/") and int(key[10:]) < NOW_NS + 14 * HOUR]
    days = [raw for key, raw in scene.bus.records.items() if key.startswith("day/")]
    assert days
    assert max(map(len, days)) < 1100


async def test_an_agent_that_was_away_brings_its_backlog_over_hours():
    scene = Scene()
    for app in "abc":
        scene.push(NOW_NS - 150 * MINUTE, 5000, app=app)
    await scene.read()
    rng = random.Random(5)
    for app in "bde":
        times = sorted(NOW_NS - rng.randrange(HOUR // 2, 2 * HOUR) for _ in range(2500))
        entries = [(t, f"backlog {app} {n}") for n, t in enumerate(times)]
        scene.loki.push("acme", {"job": "api", "app": app, "host": "away"}, entries)
    await scene.go_on(1.5)
    await scene.go_on(1.5)
    assert scene.holds() == (0, 0, 0)


@pytest.mark.parametrize("near_bytes", [150_000, 5_000_000])
async def test_scattered_late_lines_in_a_dense_tenant_whose_ids_do_not_fit_the_room(near_bytes: int):
    scene = Scene()
    scene.push(NOW_NS - 2 * HOUR, 12_000, step_ns=30 * SECOND // 100)
    await scene.read(near_bytes=near_bytes)
    rng = random.Random(2)
    for _ in range(30):
        scene.push(NOW_NS - 2 * HOUR + rng.randrange(40 * MINUTE))
    await scene.go_on(1, near_bytes=near_bytes)
    assert scene.holds() == (0, 0, 0)
    assert scene.live.troubles == ()


async def test_what_cannot_be_told_apart_is_suspect_and_nothing_is_repeated():
    scene = Scene()
    scene.push(NOW_NS - 2 * HOUR, 6000, step_ns=SECOND // 100)
    await scene.read(near_bytes=300)
    rng = random.Random(2)
    for _ in range(60):
        scene.push(NOW_NS - 2 * HOUR + rng.randrange(50 * SECOND))
    await scene.go_on(1, near_bytes=300)
    missing, invented, repeated = scene.holds()
    assert (missing > 0, invented, repeated) == (True, 0, 0)
    assert {t.state for t in scene.live.troubles} == {"suspect"}
    assert "replay" in scene.live.troubles[0].reason


async def test_lines_on_whole_hours_and_minutes_cause_no_second_read():
    scene = Scene()
    for minute in range(180):
        scene.push(NOW_NS - 3 * HOUR + minute * MINUTE, 2, step_ns=MINUTE)
    await scene.read()
    await scene.go_on(1.5)
    scene.loki.faults.requests.clear()
    await scene.go_on(3)
    assert scene.holds() == (0, 0, 0)
    assert not [unit for unit in scene.bus.units if unit.pass_name in {"warm", "cold"} and unit.batch.count]
    assert scene.live.passes.cold_ns >= NOW_NS


async def test_deleted_lines_are_explained_and_late_ones_among_them_still_found():
    scene = Scene()
    scene.push(NOW_NS - 2 * HOUR, 600)
    await scene.read()
    answer = await scene.transport.handle_async_request(delete("line 5", NOW_NS - 3 * HOUR, NOW_NS))
    assert answer.status_code == 204
    scene.push(NOW_NS - 2 * HOUR + 3, 111, late="yes")  # as many as went
    await scene.go_on(1)
    assert scene.holds() == (0, 0, 0)
    assert scene.live.troubles == ()
    await scene.go_on(24)
    assert scene.live.troubles == ()


def delete(line: str, start_ns: int, end_ns: int):
    import httpx  # noqa: PLC0415

    query = f'{{job="api"}} |= "{line}"'
    parameters = {"query": query, "start": str(start_ns), "end": str(end_ns)}
    return httpx.Request(
        "POST", "http://loki.test/loki/api/v1/delete", params=parameters, headers={"X-Scope-OrgID": "acme"}
    )


async def test_lines_that_vanish_without_a_reason_make_the_window_suspect_and_the_frontier_wait():
    scene = Scene()
    scene.push(NOW_NS - 2 * HOUR, 600)
    await scene.read()
    scene.loki.flush()
    scene.loki.lose_chunks("acme")
    await scene.go_on(5)
    assert {t.state for t in scene.live.troubles} == {"suspect"}
    assert sum(t.count for t in scene.live.troubles) == 600
    await scene.go_on(24 * 8)
    assert scene.live.passes.seal_ns > NOW_NS
    assert scene.live.sealed_ns <= NOW_NS - 2 * HOUR
    assert scene.holds() == (0, 0, 0)


async def test_a_chunk_that_is_missing_from_one_answer_only_is_read_again():
    scene = Scene()
    scene.push(NOW_NS - 2 * HOUR, 600)
    scene.loki.flush()
    await scene.read()
    scene.loki.faults.add(Fault(kind="query_range", times=2, lost_chunks=1))  # the count of hours and the first page
    await scene.go_on(1)
    assert scene.live.troubles == ()
    assert scene.holds() == (0, 0, 0)


async def test_a_lookback_shorter_than_the_proof_needs_is_said():
    scene = Scene(max_query_lookback_seconds=3 * 3600)
    scene.push(NOW_NS - HOUR, 600)
    await scene.read(start="2025-10-09T08:00:00Z")
    await scene.go_on(1, start="2025-10-09T08:00:00Z")
    assert scene.live.sealed_ns == NOW_NS  # two hours before Loki hides it
    scene.clock.advance(10 * 3600)
    await scene.read(start="2025-10-09T08:00:00Z")
    assert "max_query_lookback" in scene.live.troubles[0].reason
    assert scene.live.sealed_ns == scene.live.troubles[0].start_ns


async def test_caches_of_loki_hide_nothing():
    scene = Scene(cache_results=True, obey_no_cache=False)
    scene.push(NOW_NS - 2 * HOUR, 300)
    await scene.read()
    await scene.go_on(1)
    scene.push(NOW_NS - 2 * HOUR + 3, 30, late="yes")
    scene.loki.flush()
    await scene.go_on(4)
    assert scene.holds() == (0, 0, 0)


async def test_a_new_label_only_in_late_lines():
    scene = Scene()
    scene.push(NOW_NS - 2 * HOUR, 300)
    await scene.read()
    scene.push(NOW_NS - 2 * HOUR + 3, 30, __stream_shard__="1", pod="x")
    await scene.go_on(1)
    assert scene.holds() == (0, 0, 0)


async def test_history_that_is_older_than_the_bounds_is_sealed_at_once_by_few_questions():
    scene = Scene(reject_old_samples_max_age_seconds=0)
    for day in range(40):
        scene.push(NOW_NS - (day + 10) * 24 * HOUR, 10, day=str(day))
    await scene.read(start="2025-08-01T00:00:00Z")
    before = scene.transport.requests
    assert scene.live.sealed_ns > NOW_NS - 8 * 24 * HOUR
    assert scene.live.troubles == ()
    assert before < 450  # seventy days: live windows, two counts and the list of deletes a day


async def test_a_pass_that_fails_rests_and_the_live_reading_goes_on():
    scene = Scene()
    scene.push(NOW_NS - 2 * HOUR, 300)
    await scene.read()
    scene.clock.advance(3600)
    scene.loki.faults.add(
        Fault(kind="query_range", times=-1, status=400, body="unknown"),
        when=lambda request: request.query.get("step") == ["3600s"],
    )
    from contextlib import aclosing  # noqa: PLC0415

    from exporter.loki.client import LokiClient  # noqa: PLC0415
    from exporter.settings.model import LokiSettings  # noqa: PLC0415
    from tests.support.reading import reader_of  # noqa: PLC0415

    settings = LokiSettings(url="http://loki.test")
    target = scene.clock.now_ns() + 5 * SECOND
    async with LokiClient(settings, clock=scene.clock, transport=scene.transport) as client:
        reader = reader_of(client, settings, scene.clock, start="2025-10-09T06:00:00Z")
        await reader.restore(scene.bus.records)
        async with aclosing(reader.units()) as units:
            async for unit in units:
                scene.bus.commit(unit)
                if unit.live.frontier_ns > target:
                    break
    assert scene.live.passes.warm_ns == 0 or scene.live.passes.warm_ns < NOW_NS
    scene.loki.faults.clear()
    await scene.go_on(0.3)
    assert scene.live.passes.warm_ns == NOW_NS
