"""The stand-in Loki without a network: its handler as an HTTP transport, so that thousands of steps cost seconds."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs

import httpx

from exporter.sandbox.http import Request
from exporter.sandbox.loki import StandInLoki


class InProcess(httpx.AsyncBaseTransport):
    """Answers as the stand-in does over HTTP. ``before`` is called with every path and may raise, as a worker may die at
    any question.
    """

    def __init__(self, loki: StandInLoki) -> None:
        self.loki = loki
        self.requests = 0
        self.before: Callable[[str], None] = lambda path: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        self.before(request.url.path)
        body = await request.aread()
        query = parse_qs(request.url.query.decode(), keep_blank_values=True)
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = await self.loki.server.handler(Request(request.method, request.url.path, query, headers, body))
        if answer.close:
            raise httpx.RemoteProtocolError("closed")
        sent = answer.body if answer.cut_after_bytes is None else answer.body[: answer.cut_after_bytes]
        return httpx.Response(answer.status, headers=answer.headers, stream=httpx.ByteStream(sent))
