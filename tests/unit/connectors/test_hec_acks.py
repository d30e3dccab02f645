"""Indexer acknowledgement: nothing counts as stored before Splunk says so, and every way in which it never says so."""

from __future__ import annotations

import asyncio

import pytest

from connectors.base import TargetMisconfigured, TargetThrottled, TargetUnavailable
from connectors.splunk_hec.channels import Channel
from connectors.testing import deliver_fully, make_batch
from exporter.sandbox.hec import Fault, StandInHec
from exporter.sandbox.hec_acks import Acks
from tests.support.delivery import until
from tests.support.events import event, events
from tests.support.hec import TOKEN, hec_and_connector, hec_connector


def ids(numbers):
    return [f"{n:032x}" for n in numbers]


def acked(tmp_path, **settings):
    return hec_and_connector(tmp_path, settings={"ack_timeout_seconds": 1.0, **settings}, use_ack=True)


async def test_a_delivery_waits_for_its_acknowledgement(tmp_path):
    async with acked(tmp_path, ack_timeout_seconds=30) as (hec, connector):
        await connector.open()
        hec.acks.delay_seconds = 0.2
        delivery = asyncio.create_task(connector.deliver(make_batch(events(20))))
        await until(lambda: hec.accepted)
        assert not delivery.done()
        result = await delivery
        assert (result.retry, result.possible_duplicates, result.receipt["acknowledged"]) == ((), 0, 20)
        assert hec.accepted == ids(range(20))
        assert hec.acks.told == 1


async def test_the_requests_of_a_batch_wait_together(tmp_path):
    async with acked(tmp_path, max_content_length=10_000) as (hec, connector):
        await connector.open()
        polls = hec.stats.polls
        hec.acks.delay_seconds = 0.1
        result = await connector.deliver(make_batch(events(100, padding=300)))
        assert result.receipt["requests"] > 3
        assert hec.acks.told == result.receipt["requests"]
        assert hec.stats.polls - polls < 12
        assert hec.accepted == ids(range(100))


async def test_opening_learns_the_mode_and_writes_nothing(tmp_path):
    async with acked(tmp_path) as (hec, connector):
        for _ in range(2):
            await connector.open()
            await connector.close()
        assert not hec.accepted
        assert hec.acks.channels == 0


async def test_required_acknowledgement_is_missed_at_opening(tmp_path):
    async with hec_and_connector(tmp_path, settings={"ack": "require"}) as (_, connector):
        with pytest.raises(TargetMisconfigured, match="useACK"):
            await connector.open()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(cut=True),
        Fault(status=401),
        Fault(status=429),
        Fault(status=500),
        Fault(code=19),
        Fault(body="<html>please log in</html>"),
        Fault(body='{"acks":'),
        Fault(body='{"acks":{"0":"true"}}'),
        Fault(body='{"text":"Success","code":0}'),
    ],
    ids=str,
)
async def test_no_other_answer_acknowledges(tmp_path, fault):
    async with acked(tmp_path) as (hec, connector):
        await connector.open()
        fault.times = 10**6
        hec.ack_faults.append(fault)
        with pytest.raises(TargetUnavailable) as caught:
            await connector.deliver(make_batch(events(5)))
        assert caught.value.code == "ack_timeout"
        hec.ack_faults.clear()
        result = await connector.deliver(make_batch(events(5)))
        assert result.possible_duplicates == 5
        assert hec.accepted == ids([*range(5), *range(5)])


async def test_polls_that_fail_for_a_while_lose_nothing(tmp_path):
    async with acked(tmp_path, ack_timeout_seconds=20) as (hec, connector):
        await connector.open()
        hec.ack_faults += [Fault(status=503), Fault(cut=True), Fault(code=20), Fault(body="")]
        result = await connector.deliver(make_batch(events(5)))
        assert (result.retry, result.possible_duplicates) == ((), 0)
        assert not hec.ack_faults


async def test_an_answer_that_is_lost_is_an_eternal_false(tmp_path):
    """F.6, 3: the indexer told it, nobody heard it, so the events go out again and are counted."""
    async with acked(tmp_path) as (hec, connector):
        await connector.open()
        hec.ack_faults.append(Fault(cut=True, store=True))
        with pytest.raises(TargetUnavailable):
            await connector.deliver(make_batch(events(8)))
        result = await connector.deliver(make_batch(events(8)))
        assert result.possible_duplicates == 8
        assert len(hec.accepted) == 16


async def test_a_restart_shows_in_ids_that_begin_again(tmp_path):
    """F.6, 4: what was not acknowledged is sent again on a new channel, also what the indexer lost."""
    async with acked(tmp_path, ack_timeout_seconds=30) as (hec, connector):
        await connector.open()
        await connector.deliver(make_batch(events(3)))
        hec.acks.delay_seconds = 60
        waiting = asyncio.create_task(connector.deliver(make_batch(events(5, start=3), start=3)))
        await until(lambda: len(hec.accepted) == 8)
        lost = hec.restart(lose=True)
        assert lost == ids(range(3, 8))
        hec.acks.delay_seconds = 0
        await connector.deliver(make_batch(events(4, start=50), partition=1))  # another lane on the channel that waits
        with pytest.raises(TargetUnavailable, match="restarted"):
            await waiting
        result = await connector.deliver(make_batch(events(5, start=3), start=3))
        assert result.possible_duplicates == 5
        assert set(hec.accepted) == set(ids([*range(8), *range(50, 54)]))


async def test_a_port_that_nobody_listened_on_is_a_restart(tmp_path):
    async with acked(tmp_path, ack_timeout_seconds=30) as (hec, connector):
        await connector.open()
        hec.acks.never = True
        waiting = asyncio.create_task(connector.deliver(make_batch(events(5))))
        await until(lambda: hec.accepted)
        port = int(hec.url.rpartition(":")[2])
        await hec._server.stop()
        await asyncio.sleep(0.1)
        hec.restart(lose=True)
        hec.acks.never = False
        await hec.start(port)
        with pytest.raises(TargetUnavailable, match="restarted"):
            await waiting
        await deliver_fully(connector, make_batch(events(5)))
        assert hec.accepted == ids(range(5))


async def test_a_cookie_that_changes_is_another_indexer(tmp_path):
    async with acked(tmp_path, ack_timeout_seconds=30) as (hec, connector):
        await connector.open()
        hec.cookie = "session=one"
        hec.acks.never = True
        waiting = asyncio.create_task(connector.deliver(make_batch(events(5))))
        await until(lambda: hec.accepted)
        hec.cookie = "session=two"
        with pytest.raises(TargetUnavailable, match="another indexer"):
            await waiting


@pytest.mark.parametrize(("cookie", "kept"), [("AWSALB", True), ("AWSALBCORS", True), ("sticky", False)])
def test_cookies_that_are_new_in_every_answer_are_no_other_session(cookie, kept):
    channel = Channel("t")
    channel.keep_session([f"{cookie}=a; Path=/", "other=x"])
    assert channel.headers()["Cookie"] == f"{cookie}=a; other=x"
    channel.keep_session([f"{cookie}=b; Path=/"])
    assert channel.retired is not kept
    assert f"{cookie}=b" in channel.headers()["Cookie"]


class _Balanced(StandInHec):
    """Two indexers behind a balancer that sends every request to the other one."""

    async def _handle(self, request):
        self.acks, self.other = self.other, self.acks
        return await super()._handle(request)


async def test_a_balancer_without_memory_pauses_the_target(tmp_path):
    hec = _Balanced(TOKEN, use_ack=True)
    hec.other = Acks()
    await hec.start()
    connector = hec_connector(tmp_path, hec, ack_timeout_seconds=1, max_content_length=10_000)
    values = events(100, padding=300)
    try:
        await connector.open()
        for _ in range(100):
            try:
                await connector.deliver(make_batch(values))
            except TargetUnavailable:
                continue
            except TargetMisconfigured as error:
                assert "sticky" in str(error)  # noqa: PT017 - which of many tries raises is chance
                return
        raise AssertionError("went on for ever")
    finally:
        await connector.close()
        await hec.stop()


@pytest.mark.parametrize("policy", ["resend", "accept"])
async def test_the_head_of_a_refused_request_is_acknowledged_by_nobody(tmp_path, policy):
    async with acked(tmp_path, ack_refused_head=policy) as (hec, connector):
        await connector.open()
        hec.rules.bad_ids = dict.fromkeys(ids([3, 7]), 6)
        refused, duplicates = await deliver_fully(connector, make_batch(events(10)))
        assert refused == [3, 7]
        good = ids(n for n in range(10) if n not in {3, 7})
        again = 3 + 3 if policy == "resend" else 0
        assert set(hec.accepted) == set(good)
        assert (len(hec.accepted) - len(good), duplicates) == (again, again)


async def test_busy_with_a_number_has_no_acknowledgement_either(tmp_path):
    async with acked(tmp_path) as (hec, connector):
        await connector.open()
        hec.faults.append(Fault(code=9, event=4))
        with pytest.raises(TargetThrottled):
            await connector.deliver(make_batch(events(10)))
        result = await connector.deliver(make_batch(events(10)))
        assert result.possible_duplicates == 4
        assert hec.accepted == ids([*range(4), *range(10)])


async def test_a_full_channel_is_a_throttle_and_is_emptied(tmp_path):
    async with acked(tmp_path) as (hec, connector):
        await connector.open()
        hec.acks.max_pending = 0
        with pytest.raises(TargetThrottled) as caught:
            await connector.deliver(make_batch(events(3)))
        assert caught.value.code == "hec_27"
        hec.acks.max_pending = 1
        assert (await connector.deliver(make_batch(events(3)))).slow_down
        assert hec.accepted == ids(range(3))


async def test_the_token_gets_and_loses_acknowledgement_meanwhile(tmp_path):
    async with hec_and_connector(tmp_path, settings={"ack_timeout_seconds": 1.0}) as (hec, connector):
        await connector.open()
        assert (await connector.deliver(make_batch(events(3)))).receipt["acknowledged"] == 0
        hec.use_ack = True
        result = await connector.deliver(make_batch(events(3, start=3), start=3))
        assert result.receipt["acknowledged"] == 3
        hec.use_ack = False
        _, duplicates = await deliver_fully(connector, make_batch(events(3, start=6), start=6))
        assert set(hec.accepted) == set(ids(range(9)))
        assert len(hec.accepted) - 9 <= duplicates


async def test_acknowledgement_switched_off_while_it_is_waited_for(tmp_path):
    async with acked(tmp_path, ack_timeout_seconds=30) as (hec, connector):
        await connector.open()
        hec.acks.never = True
        waiting = asyncio.create_task(connector.deliver(make_batch(events(3))))
        await until(lambda: hec.accepted)
        hec.use_ack = False
        with pytest.raises(TargetUnavailable, match="switched off"):
            await waiting
        result = await connector.deliver(make_batch(events(3)))
        assert (result.possible_duplicates, result.receipt["acknowledged"]) == (3, 0)


async def test_a_cancelled_wait_is_counted_when_it_is_sent_again(tmp_path):
    async with acked(tmp_path, ack_timeout_seconds=30) as (hec, connector):
        await connector.open()
        hec.acks.never = True
        waiting = asyncio.create_task(connector.deliver(make_batch(events(3))))
        await until(lambda: hec.accepted)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        hec.acks.never = False
        assert (await connector.deliver(make_batch(events(3)))).possible_duplicates == 3


async def test_a_rotated_token_does_not_lose_what_waits(tmp_path):
    async with acked(tmp_path, ack_timeout_seconds=30) as (hec, connector):
        await connector.open()
        hec.acks.delay_seconds = 0.3
        waiting = asyncio.create_task(connector.deliver(make_batch(events(3))))
        await until(lambda: hec.accepted)
        hec.token = "rotated-token"
        (tmp_path / "token").write_text("rotated-token")
        result = await connector.deliver(make_batch(events(3, start=3), partition=1))
        assert (await waiting).possible_duplicates == result.possible_duplicates == 0
        assert hec.accepted == ids(range(6))


async def test_every_endpoint_has_its_own_channels(tmp_path):
    hecs = [StandInHec(TOKEN, use_ack=use_ack) for use_ack in (True, False)]
    for hec in hecs:
        await hec.start()
    connector = hec_connector(tmp_path, *hecs, ack_timeout_seconds=5)
    try:
        await connector.open()
        for start in range(0, 40, 4):
            batch = make_batch([event(n) for n in range(start, start + 4)], start=start)
            assert not (await connector.deliver(batch)).retry
        assert sorted(hecs[0].accepted + hecs[1].accepted) == ids(range(40))
        assert hecs[0].acks.told
        assert hecs[1].accepted
    finally:
        await connector.close()
        for hec in hecs:
            await hec.stop()
