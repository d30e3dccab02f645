"""The connector against the strict stand-in: every code, every kind of broken answer."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme

from connectors.base import (
    BatchTooLarge,
    TargetMisconfigured,
    TargetThrottled,
    TargetUnauthorized,
    TargetUnavailable,
)
from connectors.testing import deliver_fully, make_batch
from exporter.sandbox.hec import Fault, StandInHec
from tests.support.events import event, events
from tests.support.hec import TOKEN, hec_and_connector, hec_connector


def ids(numbers):
    return [f"{n:032x}" for n in numbers]


async def test_a_batch_is_one_gzipped_request(tmp_path):
    async with hec_and_connector(tmp_path) as (hec, connector):
        await connector.open()
        result = await connector.deliver(make_batch(events(500)))
        assert hec.accepted == ids(range(500))
        assert (result.rejected, result.retry, result.possible_duplicates) == ((), (), 0)
        assert (hec.stats.requests, hec.stats.probes) == (2, 1)
        assert hec.stats.wire_bytes < hec.stats.accepted_bytes / 3
        assert result.receipt["requests"] == 1


async def test_requests_stay_below_the_limit(tmp_path):
    async with hec_and_connector(tmp_path, settings={"max_content_length": 20_000}, max_content_length=20_000) as (
        hec,
        c,
    ):
        await c.open()
        result = await c.deliver(make_batch([*events(100, padding=500), event(100, padding=30_000), event(101)]))
        assert [r.index for r in result.rejected] == [100]
        assert hec.accepted == ids([*range(100), 101])
        assert "http_413" not in hec.stats.answers


@pytest.mark.parametrize("gzip", [True, False])
@pytest.mark.parametrize("code", [5, 6, 7, 12, 13, 15])
@pytest.mark.parametrize("position", [0, 1, 2])
async def test_the_bad_event_alone_is_refused(tmp_path, code, position, gzip):
    async with hec_and_connector(tmp_path, settings={"gzip": gzip}) as (hec, connector):
        await connector.open()
        hec.rules.bad_ids[ids([position])[0]] = code
        refused, duplicates = await deliver_fully(connector, make_batch(events(3)))
        assert (refused, duplicates) == ([position], 0)
        assert hec.accepted == ids(n for n in range(3) if n != position)


async def test_many_bad_events(tmp_path):
    async with hec_and_connector(tmp_path) as (hec, connector):
        await connector.open()
        bad = {0, 1, 2, 50, 51, 99}
        hec.rules.bad_ids = dict.fromkeys(ids(bad), 6)
        refused, _ = await deliver_fully(connector, make_batch(events(100)))
        assert set(refused) == bad
        assert hec.accepted == ids(n for n in range(100) if n not in bad)


@pytest.mark.parametrize("shift", [None, 1000, -1000])
async def test_a_bad_event_without_a_usable_number_is_found_by_halving(tmp_path, shift):
    async with hec_and_connector(tmp_path) as (hec, connector):
        await connector.open()
        hec.number_offset = shift
        hec.rules.bad_ids = {ids([77])[0]: 6}
        refused, duplicates = await deliver_fully(connector, make_batch(events(100)))
        assert refused == [77]
        assert set(hec.accepted) == set(ids(n for n in range(100) if n != 77))
        assert len(hec.accepted) - 99 <= duplicates


async def test_a_refused_index_pauses_and_eats_no_event(tmp_path):
    async with hec_and_connector(tmp_path, settings={"index": "elsewhere"}) as (hec, connector):
        await connector.open()
        for count in (100, 3, 2, 1):
            with pytest.raises(TargetMisconfigured, match="elsewhere"):
                await connector.deliver(make_batch(events(count)))
        assert not hec.accepted


async def test_a_single_event_refused_for_its_index_is_refused_once_only(tmp_path):
    async with hec_and_connector(tmp_path) as (hec, connector):
        await connector.open()
        await connector.deliver(make_batch(events(3)))
        hec.rules.bad_ids = dict.fromkeys(ids([3, 4]), 7)
        result = await connector.deliver(make_batch([event(3)], start=3))
        assert [r.code for r in result.rejected] == ["hec_7"]
        with pytest.raises(TargetMisconfigured):
            await connector.deliver(make_batch([event(4)], start=4))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(code=1), TargetUnauthorized),
        (Fault(code=2), TargetUnauthorized),
        (Fault(code=3), TargetUnauthorized),
        (Fault(code=4), TargetUnauthorized),
        (Fault(code=8), TargetUnavailable),
        (Fault(code=9), TargetThrottled),
        (Fault(code=10), TargetMisconfigured),
        (Fault(code=11), TargetMisconfigured),
        (Fault(code=14), TargetMisconfigured),
        (Fault(code=16), TargetMisconfigured),
        (Fault(code=17), TargetMisconfigured),
        (Fault(code=18), TargetThrottled),
        (Fault(code=19), TargetThrottled),
        (Fault(code=20), TargetThrottled),
        (Fault(code=21), TargetUnauthorized),
        (Fault(code=22), TargetUnauthorized),
        (Fault(code=23), TargetUnavailable),
        (Fault(code=26), TargetThrottled),
        (Fault(code=27), TargetThrottled),
        (Fault(status=401), TargetUnauthorized),
        (Fault(status=403), TargetUnauthorized),
        (Fault(status=404), TargetMisconfigured),
        (Fault(status=405), TargetMisconfigured),
        (Fault(status=408), TargetUnavailable),
        (Fault(status=413), BatchTooLarge),
        (Fault(status=415), TargetMisconfigured),
        (Fault(status=429), TargetThrottled),
        (Fault(status=500), TargetUnavailable),
        (Fault(status=502), TargetUnavailable),
        (Fault(status=503), TargetThrottled),
        (Fault(cut=True), TargetUnavailable),
        (Fault(body="<html>please log in</html>"), TargetMisconfigured),
        (Fault(body=""), TargetMisconfigured),
        (Fault(body='{"text":"Success"'), TargetMisconfigured),
    ],
    ids=str,
)
async def test_every_failure_keeps_the_batch(tmp_path, fault, error):
    async with hec_and_connector(tmp_path) as (hec, connector):
        await connector.open()
        hec.faults.append(fault)
        with pytest.raises(error) as caught:
            await connector.deliver(make_batch([event(i, text="payload-mark") for i in range(10)]))
        assert type(caught.value).__mro__[:2].count(error) == 1
        assert "payload-mark" not in f"{caught.value!s}{caught.value!r}"
        assert TOKEN not in f"{caught.value!s}{caught.value!r}"
        _, duplicates = await deliver_fully(connector, make_batch(events(10)))
        assert set(hec.accepted) == set(ids(range(10)))
        assert len(hec.accepted) - 10 <= duplicates


@pytest.mark.parametrize("code", [24, 25])
async def test_near_capacity_is_stored_and_slows_down(tmp_path, code):
    async with hec_and_connector(tmp_path) as (hec, connector):
        await connector.open()
        hec.faults.append(Fault(code=code))
        result = await connector.deliver(make_batch(events(5)))
        assert result.slow_down
        assert hec.accepted == ids(range(5))


async def test_busy_with_a_number_resends_from_there(tmp_path):
    async with hec_and_connector(tmp_path) as (hec, connector):
        await connector.open()
        hec.faults.append(Fault(code=9, event=4))
        result = await connector.deliver(make_batch(events(10)))
        assert result.retry == tuple(range(4, 10))
        assert result.slow_down
        refused, duplicates = await deliver_fully(connector, make_batch(events(6, start=4), start=4))
        assert (hec.accepted, refused, duplicates) == (ids(range(10)), [], 0)


async def test_busy_before_the_first_event_is_a_throttle_with_its_pause(tmp_path):
    async with hec_and_connector(tmp_path) as (hec, connector):
        await connector.open()
        hec.faults.append(Fault(code=9, event=0, retry_after="7"))
        with pytest.raises(TargetThrottled) as caught:
            await connector.deliver(make_batch(events(10)))
        assert caught.value.retry_after_seconds == 7.0
        assert not hec.accepted


async def test_a_single_event_above_the_servers_limit_is_refused_with_its_size(tmp_path):
    async with hec_and_connector(tmp_path, max_content_length=5_000) as (_, connector):
        await connector.open()
        result = await connector.deliver(make_batch([event(1, padding=6000)]))
        (rejection,) = result.rejected
        assert str(len(event(1, padding=6000))) in rejection.reason
        with pytest.raises(BatchTooLarge):
            await connector.deliver(make_batch(events(100, padding=100)))


@pytest.mark.parametrize("fault", [Fault(cut=True, store=True), Fault(status=504, store=True)], ids=["cut", "504"])
async def test_stored_without_an_answer_is_sent_again_and_counted(tmp_path, fault):
    async with hec_and_connector(tmp_path) as (hec, connector):
        await connector.open()
        hec.faults.append(fault)
        with pytest.raises(TargetUnavailable):
            await connector.deliver(make_batch(events(10)))
        result = await connector.deliver(make_batch(events(12)))
        assert result.possible_duplicates == 10
        assert len(hec.accepted) == 22
        assert (await connector.deliver(make_batch(events(5, start=12), start=12))).possible_duplicates == 0


async def test_a_timeout_is_unavailable(tmp_path):
    async with hec_and_connector(tmp_path, settings={"timeout_seconds": 1.0}) as (hec, connector):
        await connector.open()
        hec.faults.append(Fault(hang=True))
        with pytest.raises(TargetUnavailable) as caught:
            await connector.deliver(make_batch(events(3)))
        assert caught.value.code == "timeout"


class _Rotating(StandInHec):
    """The token file is replaced while the refusal of the old token is on its way."""

    token_file = None

    def _refuse_token(self, request):
        code = super()._refuse_token(request)
        if code == 4 and self.token_file is not None:
            self.token_file.write_text(self.token)
        return code


async def test_the_token_is_read_again_before_pausing(tmp_path):
    hec = _Rotating(TOKEN)
    await hec.start()
    connector = hec_connector(tmp_path, hec)
    try:
        await connector.open()
        hec.token = "rotated"
        with pytest.raises(TargetUnauthorized):
            await connector.deliver(make_batch(events(3)))
        hec.token_file = tmp_path / "token"
        await connector.deliver(make_batch(events(3)))
        assert hec.accepted == ids(range(3))
    finally:
        await connector.close()
        await hec.stop()


@pytest.mark.parametrize("token", ["wrong", "with\nline", "sn\N{SNOWMAN}w", " "])
async def test_a_bad_token_is_named_at_opening_and_never_shown(tmp_path, token):
    async with hec_and_connector(tmp_path, token=token) as (_, connector):
        with pytest.raises(TargetUnauthorized) as caught:
            await connector.open()
        assert token.strip() == "" or token not in f"{caught.value!s}{caught.value!r}"


async def test_a_token_with_acknowledgement_is_refused_clearly_where_none_is_wanted(tmp_path):
    async with hec_and_connector(tmp_path, settings={"ack": "never"}, use_ack=True) as (_, connector):
        with pytest.raises(TargetMisconfigured, match="useACK"):
            await connector.open()


async def test_opening_without_a_server(tmp_path):
    connector = hec_connector(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(TargetUnavailable):
        await connector.open()
    await connector.close()


async def test_another_endpoint_takes_over(tmp_path):
    first, second = StandInHec(TOKEN), StandInHec(TOKEN)
    await first.start()
    await second.start()
    connector = hec_connector(tmp_path, first, second)
    try:
        await connector.open()
        await first.stop()
        result = await connector.deliver(make_batch(events(10)))
        assert not result.retry
        assert second.accepted == ids(range(10))
        second.faults.append(Fault(code=23))
        with pytest.raises(TargetUnavailable):  # the first one is gone, the second one goes
            await connector.deliver(make_batch(events(5, start=10), start=10))
        await deliver_fully(connector, make_batch(events(5, start=10), start=10))
        assert second.accepted == ids(range(15))
    finally:
        await connector.close()
        await second.stop()


async def test_requests_are_spread_over_endpoints(tmp_path):
    hecs = [StandInHec(TOKEN), StandInHec(TOKEN)]
    for hec in hecs:
        await hec.start()
    connector = hec_connector(tmp_path, *hecs)
    try:
        await connector.open()
        for hec in hecs:
            hec.faults.extend([Fault(slow_seconds=0.1)])
        await asyncio.gather(*(connector.deliver(make_batch(events(5, start=10 * p), partition=p)) for p in range(4)))
        assert all(len(hec.accepted) == 10 for hec in hecs)
    finally:
        await connector.close()
        for hec in hecs:
            await hec.stop()


async def test_tls_is_verified(tmp_path):
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    hec = StandInHec(TOKEN)
    await hec.start(tls=context)
    trusting = hec_connector(tmp_path, hec, ca_file=tmp_path / "ca.pem")
    strange = hec_connector(tmp_path, hec)
    missing = hec_connector(tmp_path, hec, ca_file=tmp_path / "no.pem")
    try:
        await trusting.open()
        await trusting.deliver(make_batch(events(3)))
        assert hec.accepted == ids(range(3))
        with pytest.raises(TargetMisconfigured, match="ca_file"):
            await strange.open()
        with pytest.raises(TargetMisconfigured, match="ca_file"):
            await missing.open()
    finally:
        for connector in (trusting, strange, missing):
            await connector.close()
        await hec.stop()
