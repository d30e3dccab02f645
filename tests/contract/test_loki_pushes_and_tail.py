"""More of what the stand-in promises of Loki (see ``test_loki_behaviour``): refused pushes, empty lines, and tailing, on
the stand-in and on a real Loki.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.support.loki import SECOND, LokiUnderTest

JOB = {"job": "a"}
SELECTOR = '{job="a"}'
#: A real Loki does not answer the close of a client; nothing is gained by waiting for it.
_CLOSE = aiohttp.ClientWSTimeout(ws_close=0.1)


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (b"", 422),
        (b'{"stream": {"job": "a"}, "values": []}', 204),
        (b'{"stream": {"bad-name": "a"}, "values": [["NOW", "x"]]}', 400),
        (b'{"stream": {"1a": "a"}, "values": [["NOW", "x"]]}', 400),
        (b'{"stream": {}, "values": [["NOW", "x"]]}', 400),
        (b'{"stream": {"job": "a"}, "values": [[NOW, "x"]]}', 400),
        (b'{"stream": {"job": "a"}, "values": [["NOW", 5]]}', 400),
    ],
)
async def test_what_a_push_must_hold(loki: LokiUnderTest, base: int, stream: bytes, status: int) -> None:
    body = b'{"streams": [' + stream.replace(b"NOW", str(base).encode()) + b"]}"
    headers = {"X-Scope-OrgID": loki.tenant, "Content-Type": "application/json"}
    answer = await loki.client.post(f"{loki.url}/loki/api/v1/push", content=body, headers=headers)
    assert answer.status_code == status
    assert await loki.lines(base, base + SECOND) == []


async def test_a_lone_empty_line_shows_only_with_the_next_line(loki: LokiUnderTest, base: int) -> None:
    assert (await loki.push((JOB, [(base, "")]))).status_code == 204
    assert await loki.lines(base, base + SECOND) == []
    assert await loki.count(base + SECOND - 1, "1s") == 0
    await loki.push((JOB, [(base + 1, "x")]))
    assert [e[2] for e in await loki.lines(base, base + SECOND)] == ["", "x"]
    assert await loki.count(base + SECOND - 1, "1s") == 2


async def test_an_empty_line_with_metadata_shows_at_once(loki: LokiUnderTest, base: int) -> None:
    await loki.push((JOB, [(base, "", {"k": "v"})]))
    assert len(await loki.lines(base, base + SECOND)) == 1


async def test_index_statistics_take_no_line_filter(loki: LokiUnderTest, base: int) -> None:
    answer = await loki.get("/loki/api/v1/index/stats", query=SELECTOR + ' |= "x"', start=base, end=base + SECOND)
    assert (answer.status_code, answer.text.strip()) == (400, "only label matchers are supported")


# --- tail ---------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def tailing(loki: LokiUnderTest, **params: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url, headers = f"{loki.url}/loki/api/v1/tail", {"X-Scope-OrgID": loki.tenant}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, params={"query": SELECTOR, **params}, headers=headers, timeout=_CLOSE) as socket,
    ):
        yield socket


async def received(socket: aiohttp.ClientWebSocketResponse, entries: int) -> list[tuple[dict, int, str]]:
    """Messages until they held that many entries. Pings of a real Loki restart aiohttp's own time limit."""
    found: list[tuple[dict, int, str]] = []
    async with asyncio.timeout(10):
        while len(found) < entries:
            message = await socket.receive()
            assert message.type == aiohttp.WSMsgType.TEXT
            streams = json.loads(message.data)["streams"]
            assert all(len(s["values"]) == 1 for s in streams)
            assert len(streams) <= 100
            found += [(s["stream"], int(s["values"][0][0]), s["values"][0][1]) for s in streams]
    return found


async def test_tail_begins_with_the_newest_of_the_past_oldest_first(loki: LokiUnderTest, base: int) -> None:
    await loki.push((JOB, [(base + n, f"n{n}") for n in range(150)]))
    async with tailing(loki, start=str(base), limit="120") as socket:
        assert [e[1] - base for e in await received(socket, 120)] == list(range(30, 150))


async def test_tail_shows_what_is_pushed_of_its_selector_only(loki: LokiUnderTest, base: int) -> None:
    await loki.push((JOB, [(base, "past")]))
    async with tailing(loki, limit="1") as socket:
        assert [e[2] for e in await received(socket, 1)] == ["past"]
        now = time.time_ns()
        await loki.push(({"job": "b"}, [(now, "other")]), ({"job": "a", "z": "1"}, [(now, "one"), (now + 1, "two")]))
        found = await received(socket, 2)
    assert [(e[0], e[2]) for e in found] == [({"job": "a", "z": "1"}, "one"), ({"job": "a", "z": "1"}, "two")]


async def test_a_tail_of_a_count_is_closed(loki: LokiUnderTest) -> None:
    async with tailing(loki, query="sum(count_over_time(" + SELECTOR + "[5s]))") as socket, asyncio.timeout(10):
        message = await socket.receive()
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1011)
    assert message.extra == "only log selector is supported"


async def test_more_than_ten_tails_of_a_tenant_are_closed(loki: LokiUnderTest, base: int) -> None:
    await loki.push((JOB, [(base, "x")]))
    sockets = [tailing(loki) for _ in range(10)]
    opened = [await s.__aenter__() for s in sockets]
    for socket in opened:
        await received(socket, 1)
    try:
        async with tailing(loki) as eleventh, asyncio.timeout(10):
            while (message := await eleventh.receive()).type == aiohttp.WSMsgType.TEXT:
                pass
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1011)
        assert "max concurrent tail requests limit exceeded" in message.extra
    finally:
        for s in sockets:
            await s.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"delay_for": "6"}, "delay_for can't be greater than 5"),
        ({"delay_for": "x"}, "invalid syntax"),
        ({"limit": "0"}, "limit must be a positive value"),
        ({"query": "{job="}, "parse error"),
        ({}, "Bad Request"),  # no upgrade
    ],
)
async def test_what_a_tail_refuses(loki: LokiUnderTest, params: dict[str, str], text: str) -> None:
    answer = await loki.get("/loki/api/v1/tail", **{"query": SELECTOR, **params})
    assert answer.status_code == 400
    assert text in answer.text
