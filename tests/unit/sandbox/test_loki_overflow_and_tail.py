"""What the stand-in does beyond what a contract test can wait for: answers that never come, and the losses of a tail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import httpx
import pytest

from exporter.sandbox.http import BadRequest, Request
from exporter.sandbox.loki import LokiLimits, StandInLoki
from exporter.sandbox.loki.logql import parse
from exporter.sandbox.loki.tail import Tailer
from exporter.sandbox.websocket import frame, upgraded
from tests.support.loki import SECOND

NOW_PAST = 30 * SECOND


@pytest.fixture
async def cell() -> AsyncIterator[StandInLoki]:
    loki = StandInLoki(limits=LokiLimits(query_timeout_seconds=0.05))
    await loki.start()
    yield loki
    await loki.stop()
    assert loki.server.failures == []


async def ask(loki: StandInLoki, limit: int) -> httpx.Response:
    now = loki.clock.now_ns()
    params = {"query": '{job=~".+"}', "limit": limit, "start": now - 60 * SECOND, "end": now}
    async with httpx.AsyncClient() as client:
        return await client.get(f"{loki.url}/loki/api/v1/query_range", params=params, headers={"X-Scope-OrgID": "t"})


def put_fat(loki: StandInLoki, streams: int) -> None:
    past = loki.clock.now_ns() - NOW_PAST
    for n in range(streams):
        loki.push("t", {"job": "a", "n": str(n)}, [(past + n, "x" * 60_000)])


async def test_an_answer_above_the_frontends_limit_is_a_closed_connection(cell: StandInLoki) -> None:
    put_fat(cell, 130)
    assert (await ask(cell, 60)).status_code == 200
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(cell, 100)


async def test_an_ingesters_message_above_its_limit_may_fail_the_query(cell: StandInLoki) -> None:
    past = cell.clock.now_ns() - NOW_PAST
    cell.push("t", {"job": "a"}, [(past + n, "x" * 60_000) for n in range(130)])
    assert (await ask(cell, 130)).status_code == 200  # without its lines
    cell.limits.message_overflow = "fails"
    answer = await ask(cell, 130)
    assert answer.status_code == 500
    assert "ResourceExhausted" in answer.text


async def test_tail_ends_after_its_time_with_a_reason(cell: StandInLoki) -> None:
    cell.limits.tail_max_duration_seconds = 0.05
    url, headers = f"{cell.url}/loki/api/v1/tail", {"X-Scope-OrgID": "t"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, params={"query": '{job="a"}'}, headers=headers) as socket,
        asyncio.timeout(10),
    ):
        message = await socket.receive()
    assert (message.data, message.extra) == (1011, "reached tail max duration limit")


async def test_pings_are_answered_and_a_client_that_leaves_is_forgotten(cell: StandInLoki) -> None:
    url, headers = f"{cell.url}/loki/api/v1/tail", {"X-Scope-OrgID": "t"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, params={"query": '{job="a"}'}, headers=headers, autoping=False) as socket,
        asyncio.timeout(10),
    ):
        await socket.ping(b"here")
        pong = await socket.receive()
        assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, b"here")
    async with asyncio.timeout(10):
        while cell.tenant("t").tailers:  # noqa: ASYNC110 - nothing tells when it has left
            await asyncio.sleep(0.01)


def offered(streams: int, entries: int) -> Tailer:
    loki, tailer = StandInLoki(), Tailer(parse('{job="a"}'))
    loki.tenant("t").tailers.append(tailer)
    now = loki.clock.now_ns()
    for n in range(streams):
        loki.push("t", {"job": "a", "n": str(n)}, [(now + i, f"{i}") for i in range(entries)])
    return tailer


def test_a_burst_is_dropped_without_a_word() -> None:
    tailer = offered(streams=250, entries=80)
    assert tailer.lost == 150 * 80


def test_what_a_slow_client_misses_is_told_in_part() -> None:
    tailer = offered(streams=100, entries=80)
    tailer.collect(1 << 63)
    first = json.loads(tailer.next_message() or b"")
    assert len(first["streams"]) == 100
    assert len(first["dropped_entries"]) == 1000
    assert tailer.lost == 100 * 80 - 10 * 100 - 1000
    assert "dropped_entries" not in json.loads(tailer.next_message() or b"")


def test_entries_younger_than_the_delay_wait() -> None:
    tailer = offered(streams=1, entries=2)
    tailer.collect(0)
    assert tailer.next_message() is None
    tailer.collect(1 << 63)
    assert tailer.next_message() is not None


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_tell_their_length(size: int) -> None:
    written = frame(1, b"x" * size)
    assert len(written) == size + (2 if size < 126 else 4 if size < 65_536 else 10)


@pytest.mark.parametrize("key", ["", "short", "dGhlIHNhbXBsZSBub25jZQ"])
def test_a_handshake_needs_a_key_of_sixteen_bytes(key: str) -> None:
    headers = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13", "sec-websocket-key": key}

    async def session(_socket: object) -> None:
        """Never reached."""

    with pytest.raises(BadRequest):
        upgraded(Request("GET", "/", {}, headers), session)


def test_the_handshake_of_the_rfc() -> None:
    async def session(_socket: object) -> None:
        """Not run here."""

    headers = {"upgrade": "websocket", "connection": "keep-alive, Upgrade", "sec-websocket-version": "13",
               "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
    # RFC 6455, 1.3
    assert upgraded(Request("GET", "/", {}, headers), session).headers["Sec-WebSocket-Accept"] == (
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    )
