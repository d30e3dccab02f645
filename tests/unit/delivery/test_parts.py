"""Offsets, buffer, breakers, limit, retries, rejections: each alone, with a clock moved by hand."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import (
    Capabilities,
    Rejection,
    TargetMisconfigured,
    TargetThrottled,
    TargetUnauthorized,
    TargetUnavailable,
)
from exporter.bus.base import BusRecord, Lane
from exporter.delivery.breaker import Breakers, Failure
from exporter.delivery.buffer import HeldBytes, LaneBuffer, held_size
from exporter.delivery.concurrency import AdaptiveLimit
from exporter.delivery.gate import SMALLER_BATCH_SECONDS, BatchSize
from exporter.delivery.offsets import OffsetLedger
from exporter.delivery.rejections import RejectionGuard, build_letters
from exporter.delivery.retry import RetryPolicy
from exporter.domain.clock import ManualClock
from exporter.errors import ExporterError
from tests.support.delivery import settings
from tests.support.events import event


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000_000_000_000_000_000)


# --- offsets ----------------------------------------------------------------------------------------------------------


@given(st.data())
def test_the_position_is_the_first_open_offset_whatever_the_order(data):
    ledger, received, settled, next_offset = OffsetLedger(), [], set(), 0
    for _ in range(data.draw(st.integers(1, 8))):
        gaps = data.draw(st.lists(st.integers(0, 3), max_size=6))
        offsets = []
        for gap in gaps:
            next_offset += gap
            offsets.append(next_offset)
            next_offset += 1
        next_offset += data.draw(st.integers(0, 2))
        ledger.receive(offsets, next_offset)
        received += offsets
        open_ = [o for o in received if o not in settled]
        some = sorted(data.draw(st.sets(st.sampled_from(open_)))) if open_ else []
        if data.draw(st.booleans()) and open_:
            some = open_[: len(some)]  # the usual case: the head
        if some:
            ledger.settle(some)
            settled |= set(some)
        open_ = [o for o in received if o not in settled]
        assert ledger.position == (open_[0] if open_ else next_offset)
        assert ledger.open_count == len([o for o in received if ledger.position is not None and o >= ledger.position])


def test_offsets_never_go_back():
    ledger = OffsetLedger()
    ledger.receive([3, 4], 6)
    for offsets, end in (([4], 7), ([5], 7), ([8, 7], 9), ([], 5), ([7], 7)):
        with pytest.raises(ExporterError):
            ledger.receive(offsets, end)
    assert ledger.position == 3


# --- buffer -----------------------------------------------------------------------------------------------------------


def records(sizes, start=0):
    return [BusRecord(start + i, b"", b"x" * size, 0) for i, size in enumerate(sizes)]


@given(
    st.lists(st.lists(st.integers(0, 120), min_size=1, max_size=10), min_size=1, max_size=6),
    st.integers(1, 200),
    st.integers(1, 7),
)
def test_batches_are_bounded_complete_and_in_order(polls, max_bytes, max_records):
    async def cut() -> list[list[BusRecord]]:
        buffer, batches, start = LaneBuffer(0.0, ManualClock(0)), [], 0
        for sizes in polls:
            buffer.put(records(sizes, start))
            start += len(sizes)
            batches.append(await buffer.take(max_bytes, max_records))
        buffer.finish()
        while batch := await buffer.take(max_bytes, max_records):
            batches.append(batch)
        assert len(buffer) == 0
        return batches

    batches = asyncio.run(cut())
    assert [r.offset for b in batches for r in b] == list(range(sum(map(len, polls))))
    for batch in batches:
        assert 1 <= len(batch) <= max_records
        assert len(batch) == 1 or sum(len(r.value) for r in batch) <= max_bytes


async def test_a_batch_waits_for_more_at_most_the_linger_time(clock):
    buffer = LaneBuffer(2.0, clock)
    buffer.put(records([10]))
    before = clock.monotonic()
    assert len(await buffer.take(1000, 10)) == 1
    assert 1.9 < clock.monotonic() - before < 2.1
    buffer.put(records([600, 600]))
    before = clock.monotonic()
    assert len(await buffer.take(1000, 10)) == 1  # full by bytes: no wait
    assert clock.monotonic() == before


async def test_a_batch_does_not_wait_for_what_the_memory_bound_keeps_out(clock):
    """The poller pauses a lane by the memory it occupies, which for small events is far more than their bytes."""
    buffer = LaneBuffer(60.0, clock)
    buffer.put(records([10, 10, 10]))
    before = clock.monotonic()
    assert len(await buffer.take(1000, 10, held_size(records([10, 10, 10])))) == 3
    assert clock.monotonic() == before


def test_held_bytes_are_counted_per_lane():
    held, one, two = HeldBytes(), Lane("a", 0), Lane("b", 0)
    held.add(one, 100)
    held.add(two, 50)
    held.add(one, -30)
    assert (held.total, held.of(one), held.of(two)) == (120, 70, 50)
    held.drop(one)
    assert (held.total, held.of(one)) == (50, 0)
    assert held_size(records([10, 20])) > 30


# --- retries and breakers ---------------------------------------------------------------------------------------------


def test_pauses_are_jittered_doubled_and_clamped():
    policy = RetryPolicy(10.0, 1.0, random.Random(1))
    assert [policy.bound(n) for n in (1, 2, 3, 4, 5, 60)] == [1, 2, 4, 8, 10, 10]
    pauses = [policy.pause(3) for _ in range(300)]
    assert min(pauses) < 0.4
    assert 3.6 < max(pauses) <= 4.0
    assert policy.pause(1, 7.0) == 7.0
    assert policy.pause(1, 3600.0) == 10.0


@pytest.fixture
def breakers(clock) -> Breakers:
    return Breakers("soc", clock, RetryPolicy(60.0, 1.0, random.Random(1)))


@pytest.mark.parametrize(
    ("error", "failure", "needed"),
    [
        (TargetUnauthorized("x"), "unauthorized", 1),
        (TargetMisconfigured("x"), "misconfigured", 1),
        (TargetThrottled("x", retry_after_seconds=5), "throttled", 1),
        (TargetThrottled("x"), "throttled", 3),
        (TargetUnavailable("x"), "outage", 3),
    ],
)
async def test_each_failure_opens_its_own_breaker(breakers, clock, error, failure, needed):
    for count in range(1, needed + 1):
        assert breakers.enter() is False
        assert breakers.failed(error, probe=False) == (count == needed)
    assert {f for f, s in breakers.states().items() if s == "open"} == {failure}
    assert breakers.enter() is None or clock.monotonic() >= breakers._all[Failure(failure)].until
    await breakers.passable()  # the clock moves by its sleeps
    assert breakers.enter() is True
    assert breakers.enter() is None  # one probe at a time
    assert breakers.states()[failure] == "half_open"
    breakers.succeeded(probe=True)
    breakers.leave()
    assert breakers.closed


async def test_retry_after_is_waited_for_and_an_older_success_does_not_end_it(breakers, clock):
    before = clock.monotonic()
    breakers.failed(TargetThrottled("x", retry_after_seconds=20), probe=False)
    breakers.succeeded(probe=False)
    assert not breakers.closed
    await breakers.passable()
    assert clock.monotonic() - before >= 20


async def test_a_failed_probe_opens_for_longer(breakers, clock):
    breakers.failed(TargetUnauthorized("x"), probe=False)
    waits = []
    for _ in range(6):
        before = clock.monotonic()
        await breakers.passable()
        waits.append(round(clock.monotonic() - before))
        assert breakers.enter()
        breakers.failed(TargetUnauthorized("x"), probe=True)
        breakers.leave()
    assert waits == [5, 10, 20, 40, 60, 60]


async def test_an_abandoned_probe_lets_the_next_one_probe(breakers):
    breakers.failed(TargetUnauthorized("x"), probe=False)
    await breakers.passable()
    assert breakers.enter()
    waiting = asyncio.create_task(breakers.passable())
    await asyncio.sleep(0)
    breakers.leave()  # cancelled: neither success nor failure
    await waiting
    assert breakers.enter() is True


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_the_limit_grows_when_it_is_in_the_way_and_halves_once_a_second(clock):
    limit = AdaptiveLimit(16, clock)
    assert limit.limit == 2
    await limit.acquire()
    limit.succeeded()
    assert limit.limit == 2  # one of two in use: the limit was not in the way
    for _ in range(200):
        while limit.in_use < limit.limit:
            await limit.acquire()
        limit.succeeded()
    assert limit.limit == 16
    limit.overloaded()
    limit.overloaded()
    assert limit.limit == 8
    clock.advance(1.0)
    limit.overloaded()
    assert limit.limit == 4


async def test_slots_are_given_in_order_and_not_lost_by_cancellation(clock):
    limit = AdaptiveLimit(1, clock)
    await limit.acquire()
    first, second = asyncio.create_task(limit.acquire()), asyncio.create_task(limit.acquire())
    await asyncio.sleep(0)
    limit.release()
    first.cancel()  # granted and cancelled in the same turn
    await asyncio.gather(first, return_exceptions=True)
    await second
    assert limit.in_use == 1


def test_a_smaller_batch_is_learned_for_a_while(clock):
    size = BatchSize(settings(batch_max_bytes=900), Capabilities(1000, 50), clock)
    assert (size.max_bytes, size.max_records) == (900, 50)
    size.too_large(800)
    size.too_large(800)
    assert size.max_bytes == 400
    clock.advance(SMALLER_BATCH_SECONDS)
    assert size.max_bytes == 900
    assert BatchSize(settings(batch_max_bytes=5000), Capabilities(1000, 50), clock).max_bytes == 1000


def test_the_share_of_refused_events():
    guard = RejectionGuard(0.5)
    guard.note(10_000, 0)
    assert guard.admits(500)
    assert not guard.admits(501)
    guard.note(0, 400)
    assert guard.admits(100)
    assert not guard.admits(101)
    guard.note(1000, 0)
    assert guard.admits(500)
    guard.note(0, 500)
    assert not guard.admits(1)
    guard.reset()
    assert guard.admits(1)
    assert RejectionGuard(1.0).admits(10**6)


def test_letters_name_the_event_and_show_nothing():
    bad = [BusRecord(5, b"k", event(5, text="payload-mark"), 0), BusRecord(6, b"k", b"no event", 0)]
    letters = build_letters("soc", Lane("acme", 2), bad, [Rejection(0, "c", "r"), Rejection(1, "c", "r")], 77)
    assert [(x.offset, x.event_id, x.partition, x.failed_ns) for x in letters] == [
        (5, f"{5:032x}", 2, 77),
        (6, "", 2, 77),
    ]
    assert "payload-mark" not in repr(letters)
