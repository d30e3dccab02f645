"""Property: whatever is cut how, killed when, answered or not, and by how many writers: each event stands there once (F.6, 9)."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence

import pytest
import structlog
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.base import Batch, ConnectorContext, Record, TargetThrottled, TargetUnavailable
from connectors.s3.connector import S3Connector
from connectors.s3.encode import decode
from connectors.s3.names import HOUR_NS
from connectors.s3.settings import S3Settings
from exporter.domain.events import encode_head
from tests.support.events import number_of
from tests.support.s3_store import MemoryBucket, MemoryStore, copies

pytestmark = pytest.mark.slow

BASE_NS = 1_764_000_000_000_000_000


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """A thousand stores without conditions would make a thousand warnings."""
    with structlog.testing.capture_logs():
        yield


class CrashError(Exception):
    """The process is gone."""


def lane_of(chance: random.Random, count: int, hours: int) -> list[Record]:
    """Events of some hours, mixed, at offsets with gaps as Kafka's transactions leave them."""
    offset, records = 0, []
    for number in range(count):
        offset += 1 if chance.random() < 0.9 else chance.randrange(2, 5)
        hour = number * hours // count if chance.random() < 0.6 else chance.randrange(hours)
        head = encode_head(f"{number:032x}", BASE_NS + hour * HOUR_NS + number)
        records.append(Record(offset, b"stream", head + b'"tenant.id":"t"}'))
    return records


def connector(bucket: MemoryBucket, chance: random.Random, faults: float, late: float = 0.3) -> S3Connector:
    mode = "required" if bucket.conditional else "preferred"
    target = S3Settings(kind="s3", bucket="bucket", conditional_writes=mode)
    return S3Connector(target, ConnectorContext("archive", ""), store=MemoryStore(bucket, chance, faults, late))


class Engine:
    """Delivers a lane as the engine does, with batches cut at random. ``committed`` is what a successor starts from."""

    def __init__(self, records: Sequence[Record], chance: random.Random, start: int = 0) -> None:
        self.records, self.chance, self.committed, self.duplicates = records, chance, start, 0

    async def run(self, target: S3Connector, crashes: float, until: Callable[[], bool] = lambda: False) -> None:
        await target.open()
        pending = list(self.records[self.committed :])
        settled: set[int] = set()
        while pending and not until():
            size = self.chance.randrange(1, 30)
            batch = Batch("t", 0, pending[:size], 1)
            try:
                result = await target.deliver(batch)
            except (TargetUnavailable, TargetThrottled):
                if self.chance.random() < crashes:
                    raise CrashError from None
                continue
            assert not result.rejected
            self.duplicates += result.possible_duplicates
            left = [batch.records[i] for i in result.retry]
            settled |= {r.offset for r in batch.records} - {r.offset for r in left}
            pending = left + pending[size:]
            if self.chance.random() < crashes:
                raise CrashError
            if self.chance.random() < 0.5:
                self._commit(settled)
        self._commit(settled)

    def _commit(self, settled: set[int]) -> None:
        while self.committed < len(self.records) and self.records[self.committed].offset in settled:
            self.committed += 1


async def deliver_all(engine: Engine, bucket: MemoryBucket, faults: float, crashes: float, late: float = 0.3) -> None:
    """Run to the end through crashes; each time another process, which may also start too early."""
    while engine.committed < len(engine.records):
        try:
            await engine.run(connector(bucket, engine.chance, faults, late), crashes)
        except CrashError:
            if engine.chance.random() < 0.2:  # an operator moved the position back
                engine.committed = engine.chance.randrange(engine.committed + 1)
    bucket.settle()


def in_order_per_hour(bucket: MemoryBucket) -> bool:
    paths: dict[str, list[int]] = {}
    for key in sorted(bucket.objects):
        paths.setdefault(key.rpartition("/")[0], []).extend(map(number_of, decode(bucket.objects[key].body)))
    return all(numbers == sorted(numbers) for numbers in paths.values())


@settings(max_examples=700, deadline=None)
@given(
    seed=st.integers(0, 2**32), count=st.integers(1, 150), hours=st.integers(1, 4), faults=st.sampled_from([0, 0.1, 0.4]),
    crashes=st.sampled_from([0, 0.1, 0.4]),
)  # fmt: skip
def test_one_writer_through_crashes_faults_and_other_cuts(seed, count, hours, faults, crashes):
    chance = random.Random(seed)
    bucket = MemoryBucket()
    engine = Engine(lane_of(chance, count, hours), chance)
    asyncio.run(deliver_all(engine, bucket, faults, crashes))
    assert copies(bucket.lines()) == (count, count)
    assert in_order_per_hour(bucket)
    assert engine.duplicates == 0


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 150),
    hours=st.integers(1, 4),
    faults=st.sampled_from([0, 0.1, 0.4]),
)
def test_two_writers_at_once(seed, count, hours, faults):
    """A paused worker wakes up and goes on while its successor delivers the same lane from the committed position."""
    chance = random.Random(seed)
    bucket = MemoryBucket()
    records = lane_of(chance, count, hours)
    first = Engine(records, chance)
    stop_at = chance.randrange(count + 1)
    zombie = connector(bucket, chance, faults)

    async def both() -> None:
        await first.run(zombie, 0, until=lambda: first.committed >= stop_at)
        second = Engine(records, chance, start=first.committed)
        lagging = Engine(records, chance, start=first.committed)
        await asyncio.gather(lagging.run(zombie, 0), deliver_all(second, bucket, faults, 0))
        bucket.settle()

    asyncio.run(both())
    assert copies(bucket.lines()) == (count, count)
    assert in_order_per_hour(bucket)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32), count=st.integers(1, 150), hours=st.integers(1, 3), faults=st.sampled_from([0, 0.1, 0.4]),
    crashes=st.sampled_from([0, 0.3]),
)  # fmt: skip
def test_a_store_without_conditions_loses_nothing_and_counts_what_is_there_twice(seed, count, hours, faults, crashes):
    """With crashes no write lands after its sender died: nobody is left who could count that one."""
    chance = random.Random(seed)
    bucket = MemoryBucket(conditional=False)
    engine = Engine(lane_of(chance, count, hours), chance)
    asyncio.run(deliver_all(engine, bucket, faults, crashes, late=0.0 if crashes else 0.3))
    total, distinct = copies(bucket.lines())
    assert distinct == count
    assert total - count <= engine.duplicates


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32), first=st.integers(1, 60), again=st.integers(1, 60), crashes=st.sampled_from([0, 0.3])
)
def test_a_bus_made_anew_loses_nothing_and_overwrites_nothing(seed, first, again, crashes):
    """Other events come at offsets that stand there already."""
    chance = random.Random(seed)
    bucket = MemoryBucket()
    asyncio.run(deliver_all(Engine(lane_of(chance, first, 2), chance), bucket, 0.1, crashes))
    fresh = [r._replace(value=r.value.replace(b'"t"', b'"u"')) for r in lane_of(chance, again, 2)]
    fresh = [r._replace(value=r.value[:13] + b"f" + r.value[14:]) for r in fresh]
    asyncio.run(deliver_all(Engine(fresh, chance), bucket, 0.1, crashes))
    total, distinct = copies(bucket.lines())
    assert (total, distinct) == (first + again, first + again)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 200), hours=st.integers(1, 2), faults=st.sampled_from([0, 0.2]))
@example(seed=1_384_801_460, count=176, hours=1, faults=0.2)  # a part was left, and another process wrote it with more
def test_a_lane_that_moves_between_processes_that_live_on(seed, count, hours, faults):
    """What a process knew of a lane is old when the lane comes back to it, from further on or from further back."""
    chance = random.Random(seed)
    bucket = MemoryBucket()
    processes = [connector(bucket, chance, faults) for _ in range(3)]
    engine = Engine(lane_of(chance, count, hours), chance)

    async def run() -> None:
        while engine.committed < count:
            with contextlib.suppress(CrashError):  # here only the run ends, not the process
                await engine.run(chance.choice(processes), 0.2)
            if chance.random() < 0.2:
                engine.committed = chance.randrange(engine.committed + 1)
        bucket.settle()

    asyncio.run(run())
    assert copies(bucket.lines()) == (count, count)
    assert in_order_per_hour(bucket)
