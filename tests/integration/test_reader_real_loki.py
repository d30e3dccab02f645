"""Guarantee G1 on a real Loki: what it accepted comes out of the reader's units exactly once.

The cell (three ingesters as processes of their own) truncates and fails as no single binary does, so the hard sets run
there. Expectations are what was pushed, not what any Loki says; comparisons are numbers, so no line shows in a failure.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import httpx
import pytest

from exporter.domain.clock import SystemClock
from exporter.domain.ids import fingerprint
from exporter.domain.windows import NS_PER_MS, NS_PER_SECOND
from tests.support.loki_cell import MISSING, RealLoki, loki_binary, running_loki
from tests.support.reading import Bus, drain

pytestmark = [
    pytest.mark.loki,
    pytest.mark.skipif(loki_binary() is None, reason=MISSING),
    pytest.mark.timeout(240),  # starting processes and flushing takes part of it
]

#: Blocks this small are cut between two pushes, so a repeated push is stored twice (reference finding 1).
SMALL_BLOCKS_BYTES = 1024
#: Below Loki's 4 MiB gRPC limit between distributor and ingester.
PUSH_BYTES = 2_000_000
#: Loki adds these by itself (``discover_service_name``, ``discover_log_levels``); they were not pushed.
ADDED_LABEL, ADDED_METADATA = "service_name", "detected_level"

Entry = tuple[int, str, dict[str, str]]


@pytest.fixture(scope="module", params=["single", "cell", "cell-rf3"])
def any_loki(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLoki]:
    ingesters, replication = {"single": (0, 1), "cell": (3, 1), "cell-rf3": (3, 3)}[request.param]
    directory = tmp_path_factory.mktemp(request.param)
    with running_loki(directory, ingesters=ingesters, replication=replication, block_bytes=SMALL_BLOCKS_BYTES) as loki:
        yield loki


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLoki]:
    with running_loki(tmp_path_factory.mktemp("cell"), ingesters=3) as loki:
        yield loki


@pytest.fixture(scope="module")
def impatient_cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLoki]:
    """An answer above 4 MiB never reaches the frontend, which then waits for the query's timeout, a minute by default."""
    overrides = {"limits_config": {"query_timeout": "2s"}, "query_range": {"max_retries": 1}}
    with running_loki(tmp_path_factory.mktemp("impatient"), ingesters=3, overrides=overrides) as loki:
        yield loki


class Pushed:
    """Pushes to one tenant of a Loki and remembers what was accepted."""

    def __init__(self, loki: RealLoki) -> None:
        self.url = loki.url
        self.org_id = f"t{time.monotonic_ns()}"
        self.truth: set[tuple] = set()

    def push(self, labels: dict[str, str], entries: list[Entry]) -> None:
        part: list[list[object]] = []
        size = 0
        for time_ns, line, metadata in entries:
            part.append([str(time_ns), line, metadata])
            size += len(line) + 100
            if size > PUSH_BYTES:
                self._send(labels, part)
                part, size = [], 0
        self._send(labels, part)
        for time_ns, line, metadata in entries:
            self.truth.add((tuple(sorted(labels.items())), time_ns, line, tuple(sorted(metadata.items()))))

    def _send(self, labels: dict[str, str], values: list[list[object]]) -> None:
        answer = httpx.post(
            f"{self.url}/loki/api/v1/push",
            json={"streams": [{"stream": labels, "values": values}]},
            headers={"X-Scope-OrgID": self.org_id},
            timeout=30,
        )
        assert answer.status_code == 204, f"the push was refused with {answer.status_code}"

    async def read(self, *, until_ns: int | None = None, bus: Bus | None = None) -> Bus:
        """Read from the oldest data, which the reader finds by itself, up to now."""
        return await drain(
            None,
            bus=bus,
            clock=SystemClock(),
            until_ns=until_ns or time.time_ns() - NS_PER_SECOND,
            loki={"url": self.url, "hot_delay_seconds": 0.1, "poll_interval_seconds": 0.1},
            org_id=self.org_id,
        )

    def holds(self, bus: Bus) -> tuple[int, int, int]:
        """Missing, invented, repeated."""
        mine = set(as_pushed(bus.entries))
        return len(self.truth - mine), len(mine - self.truth), len(bus.ids) - len(set(bus.ids))


def as_pushed(entries: list[tuple]) -> list[tuple]:
    """Without what Loki added."""
    return [
        (
            tuple(pair for pair in labels if pair[0] != ADDED_LABEL),
            time_ns,
            line,
            tuple(pair for pair in metadata if pair[0] != ADDED_METADATA),
        )
        for labels, time_ns, line, metadata in entries
    ]


def seconds_ago(seconds: float) -> int:
    """A whole second, so that windows and seconds of the reader begin where the test thinks."""
    return int(time.time() - seconds) * NS_PER_SECOND


def mixture(pushed: Pushed, base_ns: int, rng: random.Random) -> None:
    """Several streams with ties inside and across them, equal lines that differ in metadata, and pushes sent again."""
    moments = [base_ns + rng.randrange(20 * NS_PER_SECOND) for _ in range(300)]
    for stream in range(8):
        labels = {"job": "mix", "app": f"app-{stream}"} | ({"zone": "a b"} if stream % 2 else {})
        entries: list[Entry] = []
        for number in range(500):
            moment = rng.choice(moments)
            metadata = {"trace": str(number)} if number % 3 == 0 else {}
            entries.append((moment, f"line {stream} {number} " + "x" * rng.randrange(200), metadata))
        same = rng.choice(moments)
        entries += [(same, "the same line", {"copy": str(copy)}) for copy in range(5)]
        entries.sort(key=lambda entry: entry[0])
        pushed.push(labels, entries)
        pushed.push(labels, entries[100:350])  # what an agent does after a timeout: the same lines again
        pushed.push(labels, entries)


async def test_every_accepted_line_comes_out_once(any_loki: RealLoki):
    pushed = Pushed(any_loki)
    mixture(pushed, seconds_ago(90), random.Random(7))
    bus = await pushed.read()
    assert pushed.holds(bus) == (0, 0, 0)
    assert not bus.units[-1].live.troubles


async def test_the_store_gives_the_same_events_as_the_memory(any_loki: RealLoki):
    pushed = Pushed(any_loki)
    mixture(pushed, seconds_ago(90), random.Random(8))
    hot = await pushed.read()
    any_loki.flush()
    cold = await pushed.read()
    assert pushed.holds(cold) == (0, 0, 0)
    assert fingerprint(hot.ids) == fingerprint(cold.ids)


async def test_fat_lines_beside_small_ones(cell: RealLoki):
    """An ingester's message of 128 such lines is above the gRPC limit (reference finding 11)."""
    pushed = Pushed(cell)
    base_ns = seconds_ago(60)
    for stream in range(9):
        pushed.push({"job": "small", "app": str(stream)}, [(base_ns + n * 2000, f"small {n}", {}) for n in range(11)])
    for stream in range(4):
        fat = [(base_ns + n * 1000, f"fat {n} " + "y" * 60_000, {}) for n in range(50)]
        pushed.push({"job": "fat", "app": str(stream)}, fat)
    bus = await pushed.read()
    assert pushed.holds(bus) == (0, 0, 0)
    assert not bus.units[-1].live.troubles


async def test_fat_lines_of_many_streams_at_once(impatient_cell: RealLoki):
    """Every ingester's message is small enough, but together they pass the limit between querier and frontend."""
    pushed = Pushed(impatient_cell)
    base_ns = seconds_ago(60)
    for stream in range(130):
        pushed.push({"job": "fat", "app": str(stream)}, [(base_ns + stream * 1000, "fat " + "y" * 60_000, {})])
    assert pushed.holds(await pushed.read()) == (0, 0, 0)


async def test_a_hundred_thousand_lines_within_one_millisecond(cell: RealLoki):
    pushed = Pushed(cell)
    base_ns = seconds_ago(60)
    for stream in range(4):
        entries: list[Entry] = [(base_ns + n * 40, f"burst {stream} {n}", {}) for n in range(25_000)]
        assert entries[-1][0] < base_ns + NS_PER_MS
        pushed.push({"job": "burst", "app": str(stream)}, entries)
    assert pushed.holds(await pushed.read()) == (0, 0, 0)


async def test_more_lines_on_one_nanosecond_than_a_page_holds(cell: RealLoki):
    """Four streams, one with twice the page's limit: only filters on the line can tell those apart."""
    pushed = Pushed(cell)
    tie_ns = seconds_ago(60) + 123_456_789
    for stream, count in enumerate((10_000, 3_000, 3_000, 1)):
        entries: list[Entry] = [(tie_ns, f"tie {stream} {n}", {}) for n in range(count)]
        pushed.push({"job": "tie", "app": str(stream)}, entries)
    assert pushed.holds(await pushed.read()) == (0, 0, 0)


async def test_lines_pushed_after_their_second_was_read_come_out_once_and_late(any_loki: RealLoki):
    pushed = Pushed(any_loki)
    base_ns = seconds_ago(60)
    labels = {"job": "near"}
    pushed.push(labels, [(base_ns + n * 20 * NS_PER_MS, f"on time {n}", {}) for n in range(1000)])
    bus = await pushed.read()
    assert pushed.holds(bus) == (0, 0, 0)
    assert bus.late == 0

    late: list[Entry] = [(base_ns + n * 200 * NS_PER_MS, f"late {n}", {}) for n in range(100)]
    pushed.push(labels, late)
    pushed.push(labels | {"app": "new"}, late[:50])
    bus = await pushed.read(bus=bus)
    assert pushed.holds(bus) == (0, 0, 0)
    assert bus.late == 150
    late_lines = [stream.lines for unit in bus.units if unit.batch.late for stream in unit.batch.streams]
    assert sum(line.startswith("late") for lines in late_lines for line in lines) == 150

    bus = await pushed.read(bus=bus)  # a restart from the checkpoint repeats nothing
    assert pushed.holds(bus) == (0, 0, 0)
    assert bus.late == 150
