"""``/loki/api/v1/tail``: lines as they come, with the losses that make it no way to export anything.

What a client sees (seen on a real one, else loki ``pkg/querier/tail/tail.go``, ``pkg/ingester/tailer.go``): first the newest
``limit`` entries since ``start``, oldest first; then what is pushed, each entry as a stream of its own, at most 100 a
message. An ingester queues 100 streams for each tailer and drops the rest without a word; the querier keeps 10 messages
for a slow client and tells of what it drops then, at most 1,000 in one message. After an hour the socket is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from exporter.domain.clock import Clock
from exporter.domain.windows import NS_PER_SECOND
from exporter.sandbox.http import BadRequest, Request
from exporter.sandbox.loki import encode
from exporter.sandbox.loki.engine import LogResult
from exporter.sandbox.loki.limits import LokiLimits
from exporter.sandbox.loki.logql import Query, parse
from exporter.sandbox.loki.params import Params
from exporter.sandbox.loki.storage import PushedEntry, Stream, Tenant, repaired
from exporter.sandbox.websocket import INTERNAL_ERROR, WebSocket

#: Streams an ingester queues for a tailer (loki ``pkg/ingester/tailer.go``, ``bufferSizeForTailStream``).
_QUEUED_STREAMS = 100
#: Messages the querier keeps for a slow client, and entries of one (``pkg/querier/tail/tail.go``).
_KEPT_MESSAGES, _MESSAGE_ENTRIES = 10, 100
#: Dropped entries told in one message; more are forgotten (``maxDroppedEntriesPerTailResponse``).
_TOLD_DROPS = 1000
_MAX_DELAY_SECONDS = 5
#: A tailer looks for what may be sent this often.
_TICK_SECONDS = 0.02

_Row = tuple[Mapping[str, str], int, str]


@dataclass(frozen=True, slots=True)
class TailRequest:
    """What a client asked for."""

    query: Query
    start_ns: int
    limit: int
    delay_ns: int


def tail_request(request: Request, now_ns: int) -> TailRequest:
    """Read the parameters; the limit knows no maximum here. Raises BadRequest, ParseError."""
    params = Params(request)
    text = params.text("delay_for", "0")
    try:
        delay, limit = int(text), int(params.text("limit", "100"))
    except ValueError:
        raise BadRequest(400, "invalid syntax in a number of the tail request") from None
    if not 0 <= delay <= _MAX_DELAY_SECONDS:
        raise BadRequest(400, f"delay_for can't be greater than {_MAX_DELAY_SECONDS}")
    if limit <= 0:
        raise BadRequest(400, "limit must be a positive value")
    start_ns = params.time_ns("start", now_ns - 3600 * NS_PER_SECOND)
    return TailRequest(parse(params.text("query")), start_ns, limit, delay * NS_PER_SECOND)


@dataclass(slots=True, repr=False)
class Tailer:
    """One client's side in the ingesters and the querier. The tenant offers it what was accepted."""

    query: Query
    queue: deque[list[_Row]] = field(default_factory=deque)
    kept: deque[list[_Row]] = field(default_factory=deque)
    dropped: list[_Row] = field(default_factory=list)
    lost: int = 0  # never told to the client; for assertions

    def offer(self, stream: Stream, entries: Sequence[PushedEntry]) -> None:
        """Queue accepted entries of one stream, or lose them without a word."""
        if not self.query.selects(stream.labels):
            return
        rows: list[_Row] = [(stream.labels, time_ns, line) for time_ns, line, _ in entries if self.query.keeps(line)]
        if len(self.queue) >= _QUEUED_STREAMS:
            self.lost += len(rows)
        elif rows:
            self.queue.append(rows)

    def collect(self, before_ns: int) -> None:
        """Make messages of what is queued and not younger than ``before_ns``; beyond the messages kept, drop and tell."""
        rows = [row for queued in self.queue for row in queued]
        self.queue.clear()
        due = sorted((row for row in rows if row[1] <= before_ns), key=lambda row: row[1])
        if waiting := [row for row in rows if row[1] > before_ns]:
            self.queue.append(waiting)
        for at in range(0, len(due), _MESSAGE_ENTRIES):
            message = due[at : at + _MESSAGE_ENTRIES]
            if len(self.kept) < _KEPT_MESSAGES:
                self.kept.append(message)
            else:
                room = max(0, _TOLD_DROPS - len(self.dropped))
                self.dropped += message[:room]
                self.lost += len(message[room:])

    def next_message(self) -> bytes | None:
        """Take the oldest message, as JSON; None when nothing waits."""
        if not self.kept:
            return None
        dropped, self.dropped = self.dropped, []
        return _message(self.kept.popleft(), dropped)


async def run_tail(
    socket: WebSocket, asked: TailRequest, tenant: Tenant, history: LogResult, limits: LokiLimits, clock: Clock
) -> None:
    """Serve one client until it leaves or the time is up."""
    if asked.query.function:
        await socket.close(INTERNAL_ERROR, "only log selector is supported")
        return
    tailer = Tailer(asked.query)
    tenant.tailers.append(tailer)
    try:
        rows = [(p.stream.labels, time_ns, line) for p in history.pieces for time_ns, line, _ in p.rows()]
        rows.sort(key=lambda row: row[1])
        for at in range(0, len(rows), _MESSAGE_ENTRIES):
            await socket.send_text(_message(rows[at : at + _MESSAGE_ENTRIES], []))
        ends = clock.monotonic() + limits.tail_max_duration_seconds
        await _first_of(_send(socket, tailer, asked.delay_ns, clock, ends), socket.until_closed())
    finally:
        tenant.tailers.remove(tailer)


async def _send(socket: WebSocket, tailer: Tailer, delay_ns: int, clock: Clock, ends: float) -> None:
    """Send what comes. A client that does not read holds only its own messages up, not the collecting."""

    async def collect() -> None:
        while True:
            tailer.collect(clock.now_ns() - delay_ns if delay_ns else 1 << 63)
            await asyncio.sleep(_TICK_SECONDS)

    async def deliver() -> None:
        while clock.monotonic() < ends:
            message = tailer.next_message()
            if message is None:
                await asyncio.sleep(_TICK_SECONDS)
            else:
                await socket.send_text(message)
        await socket.close(INTERNAL_ERROR, "reached tail max duration limit")

    await _first_of(collect(), deliver())


async def _first_of(*works: Awaitable[None]) -> None:
    """Run until one ends; the others are ended with it."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _message(rows: Sequence[_Row], dropped: Sequence[_Row]) -> bytes:
    document: dict[str, Any] = {
        "streams": [{"stream": dict(labels), "values": [[str(t), repaired(line)]]} for labels, t, line in rows]
    }
    if dropped:
        document["dropped_entries"] = [{"labels": dict(labels), "timestamp": str(t)} for labels, t, _ in dropped]
    return encode.to_json(document)
