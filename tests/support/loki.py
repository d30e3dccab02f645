"""One face for the Lokis that contract tests run on: the stand-in and a real binary, as a single process and as a cell.

Real ones come from ``tests.support.loki_cell``; they are started once for a test module, because that takes seconds.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from exporter.sandbox.loki import protobuf

Entry = tuple[int, str] | tuple[int, str, Mapping[str, str]]
Stream = tuple[Mapping[str, str], Sequence[Entry]]

SECOND = 1_000_000_000
#: Blocks this small make an ingester store a repeated push a second time.
BLOCK_BYTES = 1024
#: What both kinds are told, so that they can be compared: no labels or metadata of Loki's own.
REAL_LIMITS = {"limits_config": {"discover_service_name": [], "discover_log_levels": False}}
_FLUSH_SECONDS = 30.0
_POLL_SECONDS = 0.5


@dataclass
class LokiUnderTest:
    """A Loki with a tenant of its own for one test. ``cell``: its ingesters are apart from its querier."""

    url: str
    cell: bool
    real: bool
    flush_all: Callable[[], Awaitable[None]]
    client: httpx.AsyncClient
    tenant: str = field(default_factory=lambda: f"t-{uuid.uuid4().hex[:12]}")

    async def get(self, path: str, headers: Mapping[str, str] | None = None, **params: Any) -> httpx.Response:
        """One GET as this tenant."""
        merged = {"X-Scope-OrgID": self.tenant, **(headers or {})}
        return await self.client.get(self.url + path, params=params, headers=merged)

    async def push(self, *streams: Stream) -> httpx.Response:
        """Push streams as JSON."""
        body = {
            "streams": [
                {"stream": dict(labels), "values": [[str(e[0]), e[1], *([dict(e[2])] if len(e) > 2 else [])] for e in entries]}
                for labels, entries in streams
            ]
        }  # fmt: skip
        return await self.client.post(f"{self.url}/loki/api/v1/push", json=body, headers={"X-Scope-OrgID": self.tenant})

    async def push_protobuf(self, labels: str, entries: Sequence[tuple[int, bytes]]) -> httpx.Response:
        """Push one stream as agents do: protobuf in snappy, which carries any bytes."""
        stream = protobuf.encode_bytes(1, labels.encode())
        for time_ns, line in entries:
            entry = protobuf.encode_timestamp(1, time_ns) + protobuf.encode_bytes(2, line)
            stream += protobuf.encode_bytes(2, entry)
        return await self.client.post(
            f"{self.url}/loki/api/v1/push",
            content=snappy_literals(protobuf.encode_bytes(1, stream)),
            headers={"X-Scope-OrgID": self.tenant, "Content-Type": "application/x-protobuf"},
        )

    async def query_range(self, start: int, end: int, query: str = '{job=~".+"}', **params: Any) -> httpx.Response:
        """A log query with metadata set apart, oldest first, up to the maximum, unless told otherwise."""
        wanted = {"direction": "forward", "limit": 5000, "query": query, "start": start, "end": end, **params}
        return await self.get(
            "/loki/api/v1/query_range", {"X-Loki-Response-Encoding-Flags": "categorize-labels"}, **wanted
        )

    async def lines(self, start: int, end: int, query: str = '{job=~".+"}', **params: Any) -> list[tuple]:
        """Entries of a log query as (labels, ns, line, metadata), in the order of the answer."""
        answer = await self.query_range(start, end, query, **params)
        assert answer.status_code == 200, answer.status_code
        return entries_of(answer.json())

    async def count(self, at: int, range_: str, selector: str = '{job=~".+"}') -> int:
        """An instant count of the right-closed range that ends at ``at``."""
        answer = await self.get("/loki/api/v1/query", query=f"sum(count_over_time({selector}[{range_}]))", time=at)
        assert answer.status_code == 200, answer.status_code
        return sum(int(item["value"][1]) for item in answer.json()["data"]["result"])

    async def flush_until(self, seen: Callable[[], Awaitable[bool]]) -> bool:
        """Flush, and wait until the store shows it: a real one publishes its index a little later."""
        await self.flush_all()
        deadline = time.monotonic() + _FLUSH_SECONDS
        while not (found := await seen()) and self.real and time.monotonic() < deadline:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(_POLL_SECONDS)
        return found


def entries_of(document: Mapping[str, Any]) -> list[tuple]:
    """Entries of an answer with ``categorize-labels``."""
    return [
        (
            tuple(sorted(stream["stream"].items())),
            int(value[0]),
            value[1],
            tuple(sorted(value[2].get("structuredMetadata", {}).items())) if len(value) > 2 else None,
        )
        for stream in document["data"]["result"]
        for value in stream["values"]
    ]


def snappy_literals(plain: bytes) -> bytes:
    """Snappy without compression: literals only, which every decoder takes."""
    out = bytearray(protobuf.encode_varint(len(plain)))
    for start in range(0, len(plain), 60):
        part = plain[start : start + 60]
        out.append((len(part) - 1) << 2)
        out += part
    return bytes(out)
