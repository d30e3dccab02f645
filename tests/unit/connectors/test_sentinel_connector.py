"""The connector against the strict stand-in: every status, every kind of broken answer, limits, and batches under faults."""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import replace
from email.utils import formatdate

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from connectors.base import (
    Batch,
    Record,
    TargetMisconfigured,
    TargetThrottled,
    TargetUnauthorized,
    TargetUnavailable,
)
from connectors.sentinel.columns import DEFAULT_COLUMNS
from connectors.sentinel.connector import MAX_REFUSED_IN_A_ROW, MAX_WIRE_BYTES, RESTAMPED_AFTER_NS, _Progress
from connectors.sentinel.limiter import BURST, REQUESTS_A_MINUTE, Limiter
from connectors.sentinel.rows import Rows
from connectors.testing import deliver_fully, make_batch
from exporter.domain.clock import ManualClock
from exporter.domain.events import encode_head
from exporter.sandbox.certificates import self_signed
from exporter.sandbox.logs_ingestion import Fault, StandInLogs
from exporter.sandbox.logs_rules import MAX_WIRE_BYTES as GATEWAY_BYTES
from tests.support.events import events
from tests.support.sentinel import connector_of, ids, logs_and_connector, now_event

#: Raised to thousands for a release: ``SENTINEL_EXAMPLES=2000 pytest --timeout=900 -k nothing_is_lost``.
EXAMPLES = int(os.environ.get("SENTINEL_EXAMPLES", "100"))
MARK = "payload-mark"
MARKED = b'"message":"%b"' % MARK.encode()


@pytest.fixture(scope="module")
def small_ca(tmp_path_factory):
    """The system's bundle takes longer to load than most examples take."""
    return self_signed(tmp_path_factory.mktemp("tls"))[1]


def noise(number: int, size: int) -> bytes:
    """An event that does not compress."""
    text = random.Random(number).randbytes(size // 2).hex()
    return now_event(number, b'"message":"%b"' % text[:65_000].encode() + b',"x":"%b"' % text[65_000:].encode())


async def test_a_batch_is_one_gzipped_request_with_an_id(tmp_path):
    async with logs_and_connector(keep_rows=True) as (logs, connector):
        await connector.open()
        result = await connector.deliver(make_batch([now_event(n) for n in range(500)]))
        assert logs.accepted == ids(range(500))
        assert (result.rejected, result.retry, result.possible_duplicates) == ((), (), 0)
        assert (logs.stats.requests, logs.stats.probes) == (2, 1)
        assert logs.stats.wire_bytes < logs.stats.accepted_bytes / 3
        receipt = result.receipt
        assert logs.stored_by == {receipt["request_ids"][0]: 500}
        assert (receipt["requests"], receipt["values_moved"], receipt["fields_truncated"]) == (1, 0, 0)
        assert receipt["restamped_by_azure"] == logs.table.silent.restamped == 0


async def test_old_events_keep_their_time_and_are_counted():
    async with logs_and_connector(keep_rows=True) as (logs, connector):
        await connector.open()
        old = time.time_ns() - RESTAMPED_AFTER_NS - 10**12
        values = [now_event(0), encode_head("1".zfill(32), old) + b'"message":"m"}']
        result = await connector.deliver(make_batch(values))
        assert result.receipt["restamped_by_azure"] == logs.table.silent.restamped == 1
        assert logs.rows[1]["EventTimeNs"] == old
        assert logs.rows[1]["TimeGenerated"] != logs.rows[1]["EventTime"]


@pytest.mark.parametrize("compressible", [True, False])
async def test_requests_stay_below_the_limits(compressible):
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        for start in range(0, 90, 30):  # later batches are planned by the ratio of the first ones, which is theirs
            make = (
                (lambda n: now_event(n, b'"message":"%b"' % (b"x" * 60_000)))
                if compressible
                else (lambda n: noise(n, 120_000))
            )
            await deliver_fully(connector, make_batch([make(n) for n in range(start, start + 30)], start=start))
        assert logs.accepted == ids(range(90))
        assert logs.stats.largest_wire_bytes <= MAX_WIRE_BYTES < GATEWAY_BYTES
        assert set(logs.stats.answers) == {"204"}


@examples(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(st.integers(0, 120_000), st.booleans()), min_size=1, max_size=40))
async def test_random_ratios_never_pass_the_wire_limit(small_ca, shapes):
    async with logs_and_connector(settings={"ca_file": small_ca}) as (logs, connector):
        await connector.open()
        values = [
            noise(n, size) if random_text else now_event(n, b'"message":"%b"' % (b"y" * min(size, 65_000)))
            for n, (size, random_text) in enumerate(shapes)
        ]
        await deliver_fully(connector, make_batch(values))
        assert logs.accepted == ids(range(len(values)))
        assert logs.stats.largest_wire_bytes <= MAX_WIRE_BYTES
        assert logs.table.silent.fields_cut == 0
        assert set(logs.stats.answers) == {"204"}


async def test_a_single_record_above_the_wire_limit_is_refused_with_its_size():
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        big = encode_head("f" * 32, time.time_ns()) + b",".join(
            b'"%b":"%b"' % (key, random.Random(n).randbytes(160_000).hex()[:65_000].encode())
            for n, key in enumerate(b"message kind user.name source.ip url.path host.name service.name trace.id policy.id "
                                    b"tenant.id severity.text http.request.method event.original".split())
        ) + b"}"  # fmt: skip
        connector._wire_limit = 200_000
        result = await connector.deliver(make_batch([now_event(0), big, now_event(2)]))
        (rejection,) = result.rejected
        assert (rejection.index, rejection.code) == (1, "too_large")
        assert str(len(big)) in rejection.reason
        assert logs.accepted == ids([0, 2])


@pytest.mark.parametrize("most", [500_000, 90_000])
async def test_a_proxy_with_a_smaller_limit_is_learned(most):
    async with logs_and_connector(max_wire_bytes=most) as (logs, connector):
        await connector.open()
        await deliver_fully(connector, make_batch([noise(n, 50_000) for n in range(40)]))
        refused = logs.stats.answers["413"]
        await deliver_fully(connector, make_batch([noise(n, 50_000) for n in range(40, 60)], start=40))
        assert logs.accepted == ids(range(60))
        assert logs.stats.answers["413"] - refused <= 1


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_the_bad_record_alone_is_refused(position):
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        logs.table.bad_ids = {ids([position])[0]}
        result = await connector.deliver(make_batch([now_event(n, MARKED) for n in range(3)]))
        (rejection,) = result.rejected
        assert (rejection.index, rejection.code, result.possible_duplicates) == (position, "http_400", 0)
        assert "InvalidRecord" in rejection.reason
        assert MARK not in rejection.reason
        assert logs.accepted == ids(n for n in range(3) if n != position)


async def test_bisecting_costs_few_requests():
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        logs.table.bad_ids = {ids([777])[0]}
        result = await connector.deliver(make_batch([now_event(n) for n in range(2_000)]))
        assert [r.index for r in result.rejected] == [777]
        assert result.receipt["requests"] <= 24
        assert len(result.receipt["request_ids"]) == len(logs.stored_by)
        assert len(logs.accepted) == len(set(logs.accepted)) == 1_999


async def test_when_every_record_is_refused_the_target_pauses():
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        count = MAX_REFUSED_IN_A_ROW + 50
        logs.table.bad_ids = set(ids(range(count)))
        result = await connector.deliver(make_batch([now_event(n) for n in range(count)]))
        assert len(result.rejected) == MAX_REFUSED_IN_A_ROW
        assert result.retry == tuple(range(MAX_REFUSED_IN_A_ROW, count))
        rest = make_batch([now_event(n) for n in result.retry])
        with pytest.raises(TargetMisconfigured, match="in a row"):
            await connector.deliver(rest)
        logs.table.bad_ids.clear()
        assert await deliver_fully(connector, rest) == ([], 0)


@pytest.mark.parametrize(
    ("fault", "error", "unknown"),
    [
        (Fault(status=400, code="InvalidStream"), TargetMisconfigured, False),
        (Fault(status=400, code="UnsupportedApiVersion"), TargetMisconfigured, False),
        (Fault(status=400, html=True), TargetMisconfigured, False),
        (Fault(status=401, code="InvalidToken", times=2), TargetUnauthorized, False),
        (Fault(status=403, code="OperationFailed"), TargetUnauthorized, False),
        (Fault(status=404, code="NotFound"), TargetMisconfigured, False),
        (Fault(status=405), TargetMisconfigured, False),
        (Fault(status=407, html=True), TargetMisconfigured, False),
        (Fault(status=415), TargetMisconfigured, False),
        (Fault(status=429), TargetThrottled, False),
        (Fault(status=500, code="InternalServerError"), TargetUnavailable, True),
        (Fault(status=502, html=True), TargetUnavailable, True),
        (Fault(status=503), TargetThrottled, True),
        (Fault(status=504, store=True), TargetUnavailable, True),
        (Fault(status=302), TargetMisconfigured, False),
        (Fault(cut=True), TargetUnavailable, True),
        (Fault(cut=True, store=True), TargetUnavailable, True),
        (Fault(body="<html>please log in</html>"), TargetMisconfigured, True),
        (Fault(body='{"half"'), TargetMisconfigured, True),
        (Fault(status=201), TargetMisconfigured, True),
    ],
    ids=str,
)
async def test_every_failure_keeps_the_batch(fault, error, unknown):
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        logs.faults.append(fault)
        values = [now_event(n, MARKED) for n in range(10)]
        with pytest.raises(error) as caught:
            await connector.deliver(make_batch(values))
        assert type(caught.value).__mro__[:2].count(error) == 1
        tokens = list(logs.entra.issued)
        assert not any(text in f"{caught.value!s}{caught.value!r}" for text in (MARK, *tokens))
        refused, duplicates = await deliver_fully(connector, make_batch(values))
        assert (set(logs.accepted), refused) == (set(ids(range(10))), [])
        assert duplicates == (10 if unknown else 0)
        assert len(logs.accepted) - 10 <= duplicates


@pytest.mark.parametrize(
    ("fault", "unknown"),
    [
        (Fault(status=413), False),
        (Fault(status=413, html=True), False),
        (Fault(status=413, code="PayloadSizeLimitExceeded"), False),
        (Fault(status=400, code="ContentLengthLimitExceeded"), False),
        (Fault(status=408, code="TimeoutExpired"), True),
        (Fault(status=400, code="ReadyBody_ClientConnectionAbort"), True),
        (Fault(status=408), True),
    ],
    ids=str,
)
async def test_too_large_and_too_slow_are_halved(fault, unknown):
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        fault.times = 2
        logs.faults.append(fault)
        result = await connector.deliver(make_batch([now_event(n) for n in range(100)]))
        assert not result.retry
        assert logs.accepted == ids(range(100))
        assert result.receipt["requests"] == 5
        assert (result.possible_duplicates > 0) is unknown


@pytest.mark.parametrize("code", ["ContentLengthLimitExceeded", "TimeoutExpired"])
async def test_a_lone_record_is_too_large_or_tried_again(code):
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        logs.faults.append(Fault(status=413 if code.startswith("Content") else 408, code=code))
        if code == "TimeoutExpired":
            with pytest.raises(TargetUnavailable):
                await connector.deliver(make_batch([now_event(1)]))
        else:
            result = await connector.deliver(make_batch([now_event(1)]))
            assert result.rejected[0].code == "too_large"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "low", "high"),
    [("7", 7, 7), ("999999", 300, 300), (None, None, None), ("soon", None, None), ("date", 20, 31)],
)
async def test_retry_after_in_both_forms(status, header, low, high):
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        given_header = formatdate(time.time() + 30, usegmt=True) if header == "date" else header
        logs.faults.append(Fault(status=status, retry_after=given_header))
        with pytest.raises(TargetThrottled) as caught:
            await connector.deliver(make_batch([now_event(1)]))
        seconds = caught.value.retry_after_seconds
        assert seconds is None if low is None else low <= seconds <= high


async def test_the_quota_of_the_service_is_obeyed():
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        logs.quota.requests_a_minute = 0
        with pytest.raises(TargetThrottled) as caught:
            await connector.deliver(make_batch([now_event(1)]))
        assert 0 < caught.value.retry_after_seconds <= 61
        assert not logs.accepted


async def test_a_role_that_is_not_yet_in_effect_is_waited_for():
    async with logs_and_connector(role_after_seconds=1000) as (logs, connector):
        with pytest.raises(TargetUnauthorized, match="30 minutes"):
            await connector.open()
        with pytest.raises(TargetUnauthorized, match="Monitoring Metrics Publisher"):
            await connector.deliver(make_batch([now_event(1)]))
        logs.role_from = 0
        await connector.open()
        await connector.deliver(make_batch([now_event(1)]))
        assert logs.accepted == ids([1])


async def test_a_refused_token_is_replaced_once():
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        logs.entra.revoke_all()
        result = await connector.deliver(make_batch([now_event(1)]))
        assert (result.retry, result.possible_duplicates) == ((), 0)
        assert logs.stats.answers["401"] == 1
        assert len(logs.entra.issued) == 1


async def test_a_batch_that_stops_half_way_is_settled_that_far():
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        logs.faults.append(Fault(status=429, skip=1))
        values = [noise(n, 100_000) for n in range(30)]  # several requests
        result = await connector.deliver(make_batch(values))
        assert result.retry
        assert result.retry == tuple(range(len(logs.accepted), 30))
        assert await deliver_fully(connector, make_batch([values[n] for n in result.retry], start=result.retry[0])) == (
            [],
            0,
        )
        assert logs.accepted == ids(range(30))


async def test_an_auxiliary_table_gets_requests_of_less_than_thirty_minutes():
    columns = {name: "string" if kind == "dynamic" else kind for name, kind in StandInLogs().table.columns.items()}
    spec = {
        "loki.labels": "Labels",
        "loki.structured_metadata": "Metadata",
        "unmapped": "Unmapped",
        "truncated": "Truncated",
    }
    async with logs_and_connector(columns=columns, settings={"columns": {**DEFAULT_COLUMNS, **spec}}) as (
        logs,
        connector,
    ):
        logs.table.auxiliary = True
        await connector.open()
        start = time.time_ns() - 86_400 * 10**9

        def at(n):
            return encode_head(f"{n:032x}", start + n * 600 * 10**9) + b'"message":"m","loki.labels":{"a":"b"},"x":1}'

        assert await deliver_fully(connector, make_batch([at(n) for n in range(24)])) == ([], 0)
        refusals = logs.stats.answers["400"]
        await deliver_fully(connector, make_batch([at(n) for n in range(24, 48)], start=24))
        assert logs.accepted == ids(range(48))
        assert logs.stats.answers["400"] == refusals


async def test_a_timeout_is_unavailable_and_counted():
    async with logs_and_connector(settings={"timeout_seconds": 1.0}) as (logs, connector):
        await connector.open()
        logs.faults.append(Fault(hang=True))
        with pytest.raises(TargetUnavailable) as caught:
            await connector.deliver(make_batch([now_event(1)]))
        assert caught.value.code == "timeout"
        assert await deliver_fully(connector, make_batch([now_event(1)])) == ([], 1)


async def test_what_is_no_event_is_not_sent():
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        result = await connector.deliver(make_batch([b"nonsense", now_event(1), b""]))
        assert [(r.index, r.code) for r in result.rejected] == [(0, "not_canonical"), (2, "not_canonical")]
        assert logs.accepted == ids([1])
        only = await connector.deliver(make_batch([b"nonsense"]))
        assert len(only.rejected) == 1


async def test_before_opening_and_without_a_server():
    logs = StandInLogs()
    await logs.start()
    connector = connector_of(logs)
    with pytest.raises(TargetUnavailable):
        await connector.deliver(make_batch(events(1)))
    await logs.stop()
    with pytest.raises(TargetUnavailable):
        await connector.open()
    await connector.close()


@pytest.mark.parametrize(("change", "error"), [("stream", TargetMisconfigured), ("dcr_id", TargetMisconfigured)])
async def test_opening_proves_rule_and_stream(change, error):
    wrong = {"stream": "Custom-Other", "dcr_id": "dcr-" + "0" * 32}[change]
    async with logs_and_connector(settings={change: wrong}) as (logs, connector):
        with pytest.raises(error, match="dcr_id"):
            await connector.open()
        assert not logs.accepted


FAULTS = st.builds(
    Fault,
    status=st.sampled_from([400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504]),
    code=st.sampled_from(["", "TimeoutExpired", "ContentLengthLimitExceeded", "InvalidStream"]),
    html=st.booleans(),
    store=st.booleans(),
    cut=st.booleans(),
    body=st.sampled_from([None, None, None, "<html>", ""]),
    skip=st.integers(0, 2),
    times=st.integers(1, 2),
)


def truthful(fault: Fault) -> Fault:
    """A server that stored the records may die, cut, or say 5xx; it does not say that it refused them, and it calls a record bad
    only when it is (``bad_ids``): either would be believed, rightly.
    """
    answers = not fault.cut and fault.body is None
    if answers and fault.status == 400 and fault.code == "":
        fault = replace(fault, code="InvalidStream")
    slow = (fault.status in {400, 408} and fault.code == "TimeoutExpired") or (fault.status == 408 and not fault.code)
    refuses = answers and fault.status < 500 and not (slow and not fault.html)
    return replace(fault, store=fault.store and not refuses)


@examples(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    faults=st.lists(FAULTS.map(truthful), max_size=5),
    bad=st.sets(st.integers(0, 47), max_size=4),
)
async def test_nothing_is_lost_and_duplicates_are_counted(small_ca, sizes, faults, bad):
    async with logs_and_connector(settings={"ca_file": small_ca}) as (logs, connector):
        await connector.open()
        logs.table.bad_ids = set(ids(bad))
        logs.faults.extend(replace(fault) for fault in faults)  # the stand-in counts them down
        start = duplicates = 0
        refused: set[int] = set()
        for size in sizes:
            pending = [Record(n, b"", now_event(n)) for n in range(start, start + size)]
            start += size
            for _ in range(60):
                if not pending:
                    break
                try:
                    result = await connector.deliver(Batch("t", 0, tuple(pending), sum(len(r.value) for r in pending)))
                except (TargetUnavailable, TargetThrottled, TargetUnauthorized, TargetMisconfigured):
                    continue
                refused |= {pending[r.index].offset for r in result.rejected if r.code != "too_large"}
                duplicates += result.possible_duplicates
                lone = {pending[r.index].offset for r in result.rejected if r.code == "too_large"}
                refused |= lone
                assert len(lone) <= sum(f.times for f in faults if f.status == 413 or "Length" in f.code)
                pending = [pending[index] for index in result.retry]
            assert not pending, f"{len(pending)} records never settled"
        everything = set(ids(range(start)))
        assert set(logs.accepted) | set(ids(refused)) == everything, "records lost"
        assert set(ids(n for n in bad if n < start)) <= set(ids(refused))
        assert len(logs.accepted) - len(set(logs.accepted)) <= duplicates


async def test_copies_of_a_record_that_is_refused_in_the_end_are_counted():
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        logs.faults += [Fault(cut=True, store=True, times=2), Fault(status=413)]
        refused, duplicates = await deliver_fully(connector, make_batch([now_event(1)]))
        assert (refused, duplicates, logs.accepted) == ([0], 2, ids([1, 1]))


async def test_lanes_at_once_are_counted_apart():
    async with logs_and_connector() as (logs, connector):
        await connector.open()
        logs.faults.append(Fault(cut=True, store=True))
        batches = [make_batch([now_event(100 * p + n) for n in range(300)], partition=p) for p in range(3)]
        results = await asyncio.gather(*(deliver_fully(connector, batch) for batch in batches))
        assert sorted(duplicates for _, duplicates in results) == [0, 0, 300]
        assert len(logs.accepted) == 1200


async def test_the_limiter_keeps_to_its_share_in_every_minute():
    clock = ManualClock(0)
    limiter = Limiter(clock, 0.1)
    times = []
    for _ in range(3000):
        await limiter.admit(1000)
        times.append(clock.monotonic())
    allowed = REQUESTS_A_MINUTE * 0.1
    for first in range(0, 3000, 100):
        in_a_minute = sum(1 for at in times if times[first] <= at < times[first] + 60)
        assert in_a_minute <= allowed + 1
    assert times[-1] >= (3000 - allowed * BURST) / allowed * 60 * 0.99
    before = clock.monotonic()
    await limiter.admit(400_000_000)  # two minutes' worth of bytes: taken, and paid for
    assert 100 < clock.monotonic() - before < 135


def test_the_receipt_is_plain_json():
    assert orjson.loads(orjson.dumps(_Progress(make_batch(events(1)), Rows(0)).receipt()))["status"] == 204
