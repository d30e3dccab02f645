"""The stand-ins' HTTP server, against raw sockets and httpx."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trustme

from exporter.sandbox.http import Handler, Request, Response, Server


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None, **options: int) -> AsyncIterator[Server]:
    server = Server(handler, **options)
    await server.start(tls=tls)
    try:
        yield server
    finally:
        await server.stop()


async def echo(request: Request) -> Response:
    return Response(200, request.decoded_body(), {"X-Path": request.path, "X-Query": repr(request.query)})


async def raw(server: Server, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_keep_alive_query_and_both_body_framings() -> None:
    async with serving(echo) as server, httpx.AsyncClient(base_url=server.url) as client:
        one = await client.post("/a%20b?x=1&x=2&y=", content=b"plain")

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(50):
                yield b"0123456789" * 1000

        two = await client.post("/c", content=parts())
        three = await client.post("/d", content=gzip.compress(b"zipped"), headers={"content-encoding": "gzip"})
        assert len(server.connections) == 1
    assert (one.content, one.headers["x-path"]) == (b"plain", "/a b")
    assert one.headers["x-query"] == "{'x': ['1', '2'], 'y': ['']}"
    assert two.content == b"0123456789" * 50_000
    assert three.content == b"zipped"


async def test_pipelined_requests_and_expect_continue() -> None:
    async with serving(echo) as server:
        answer = await raw(
            server,
            b"POST /1 HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\na"
            b"POST /2 HTTP/1.1\r\nContent-Length: 1\r\nConnection: close\r\n\r\nb",
        )
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert answer.index(b"X-Path: /1") < answer.index(b"X-Path: /2")
    assert answer.endswith(b"\r\n\r\nb")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/3\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 2000\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
        (b"POST / HTTP/1.1\r\nContent-Encoding: br\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", 415),
        (b"POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", 400),
    ],
)
async def test_bad_requests_are_refused(data: bytes, status: int) -> None:
    async with serving(echo, max_body_bytes=1000) as server:
        answer = await raw(server, data)
        assert server.failures == []
    assert answer.startswith(b"HTTP/1.1 %d " % status)


async def test_a_gzip_bomb_is_stopped() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, request.decoded_body(max_bytes=1000))

    async with serving(handler) as server, httpx.AsyncClient() as client:
        bomb = gzip.compress(b"\x00" * 10_000_000)
        answer = await client.post(server.url, content=bomb, headers={"content-encoding": "gzip"})
    assert answer.status_code == 413


async def test_faults_on_order() -> None:
    answers = {
        "/close": Response(close=True),
        "/cut": Response(200, b"x" * 1000, cut_after_bytes=10),
        "/hang": Response(hang=True),
        "/slow": Response(200, b"late", delay_seconds=0.05),
    }

    async def handler(request: Request) -> Response:
        return answers[request.path]

    async with serving(handler) as server, httpx.AsyncClient(base_url=server.url, timeout=0.3) as client:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.get("/close")
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/cut")
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/hang")
        assert (await client.get("/slow")).content == b"late"
        assert server.failures == []


async def test_a_broken_handler_answers_500_without_its_values() -> None:
    async def handler(request: Request) -> Response:
        raise RuntimeError(request.body.decode())

    async with serving(handler) as server, httpx.AsyncClient() as client:
        answer = await client.post(server.url, content=b"secret")
        assert answer.status_code == 500
        assert b"secret" not in answer.content
        assert len(server.failures) == 1
        assert "secret" not in server.failures[0]


async def test_tls_and_gzipped_answers() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    async def handler(request: Request) -> Response:
        response = Response(200, b"y" * 100_000)
        return response.gzipped() if request.accepts_gzip() else response

    async with serving(handler, tls=context) as server, httpx.AsyncClient(verify=trust) as client:
        zipped = await client.get(server.url)
        plain = await client.get(server.url, headers={"accept-encoding": "gzip;q=0"})
    assert server.url.startswith("https://")
    assert (len(zipped.content), zipped.headers.get("content-encoding")) == (100_000, "gzip")
    assert (len(plain.content), plain.headers.get("content-encoding")) == (100_000, None)
