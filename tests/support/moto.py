"""A real S3 over HTTP: moto's server in a process of its own, and a proxy in front of it that can do what networks do.

moto takes wrong checksums and does not ask for one with Object Lock; what must be sent is therefore read off the proxy's
recorded requests.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp
import pytest
from aiobotocore.session import AioSession
from aiohttp import web

from connectors.base import ConnectorContext
from connectors.s3.connector import S3Connector
from connectors.s3.encode import decode
from connectors.s3.settings import S3Settings
from exporter.domain.secrets import Secret

_RUNNING = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Address of moto's server, one per test run."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if found := _RUNNING.search(line):
                break
        else:
            raise AssertionError("moto does not start")
        drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)  # or its log fills the pipe
        yield found[1]
        server.terminate()
        server.wait(10)
        drain.wait(10)


def client(url: str):
    """Return a plain S3 client (an async context manager) for what a test does as the bucket's admin."""
    return AioSession().create_client(
        "s3", region_name="us-east-1", endpoint_url=url, aws_access_key_id="admin", aws_secret_access_key="admin"
    )


async def make_bucket(url: str, **keys: object) -> str:
    name = f"b-{uuid.uuid4().hex[:12]}"
    async with client(url) as s3:
        await s3.create_bucket(Bucket=name, **keys)
    return name


async def objects(url: str, bucket: str) -> dict[str, list[bytes]]:
    """Return the lines of each event object by key, in order of their keys."""
    found = {}
    async with client(url) as s3:
        async for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page.get("Contents", []):
                if not item["Key"].startswith("_loki-siem/"):
                    answer = await s3.get_object(Bucket=bucket, Key=item["Key"])
                    found[item["Key"]] = decode(await answer["Body"].read())
    return found


def make_settings(url: str, bucket: str, tmp_path: Path, **keys: object) -> S3Settings:
    secret = tmp_path / "secret"
    if not secret.exists():
        secret.write_text("s3cret")
    values = {"kind": "s3", "bucket": bucket, "endpoint_url": url, "path_style": True, "access_key_id": "exporter"}
    return S3Settings(**{**values, "secret_access_key_file": Secret(path=secret), **keys})


def make_connector(url: str, bucket: str, tmp_path: Path, **keys: object) -> S3Connector:
    return S3Connector(make_settings(url, bucket, tmp_path, **keys), ConnectorContext("archive", ""))


Answer = Callable[[web.Request, bytes], Awaitable[web.StreamResponse | None]]


def error(status: int, code: str, message: str = "no", **headers: str) -> web.Response:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return web.Response(status=status, text=body, content_type="application/xml", headers=headers)


@dataclass
class Proxy:
    """``fault(request, body)`` answers instead of the store, or returns None to pass the request on; ``after`` the same once
    the store has done its work, to lose or change its answer.
    """

    upstream: str
    fault: Answer | None = None
    after: Answer | None = None
    strip_conditions: bool = False
    url: str = ""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    _runner: web.AppRunner | None = None
    _session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._session = aiohttp.ClientSession(auto_decompress=False)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request.method, request.path_qs, {k.lower(): v for k, v in request.headers.items()}))
        if self.fault is not None and (answer := await self.fault(request, body)) is not None:
            return answer
        dropped = {"host", "content-length", "transfer-encoding"} | (
            {"if-none-match"} if self.strip_conditions else set()
        )
        headers = {k: v for k, v in request.headers.items() if k.lower() not in dropped}
        url = self.upstream + request.raw_path
        async with self._session.request(
            request.method,
            aiohttp.client.URL(url, encoded=True),
            headers=headers,
            data=body or None,
            skip_auto_headers={"Content-Type"},  # Azure's signature covers it
        ) as reply:
            content = await reply.read()
        if self.after is not None and (answer := await self.after(request, body)) is not None:
            return answer
        kept = {k: v for k, v in reply.headers.items() if k.lower() not in {"content-length", "transfer-encoding"}}
        return web.Response(status=reply.status, body=content, headers=kept)


async def hang_up(request: web.Request, body: bytes) -> web.StreamResponse | None:
    """Close the connection without an answer."""
    request.transport.close()
    await asyncio.sleep(0)
    return web.Response()
