"""The connector: one batch → as few requests as fit on the wire, and after a 400 exactly the bad record set aside.

The service stores a request whole or not at all and never says which record it refuses, so a refused request is sent again in
halves, left one first, until the bad record stands alone. Halves are also the answer to a request that is too large or
too slow. 204 means accepted: what Azure drops later shows in ``DCRLogErrors``, under the request ids of the receipt. There is
no idempotence: what may be stored twice is counted, and ``EventId`` tells the copies apart (``docs/targets/sentinel.md``).
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from connectors.azure.identity import fetch_token
from connectors.base import (
    Batch,
    Capabilities,
    ConnectorContext,
    DeliveryResult,
    Rejection,
    TargetError,
    TargetMisconfigured,
)
from connectors.http import OutcomeUnknown
from connectors.sentinel.answers import Answer, Meaning
from connectors.sentinel.client import Reply, SentinelClient, error_of
from connectors.sentinel.columns import parse_columns
from connectors.sentinel.limiter import Limiter
from connectors.sentinel.rows import Mapper, Range, Rows
from connectors.sentinel.settings import SentinelSettings
from connectors.sentinel.unsure import UnsureRequests
from connectors.tokens import Token, TokenSource
from exporter.domain.clock import Clock, SystemClock

#: Audience of the token by cloud (Azure Monitor, Logs Ingestion API, authentication).
SCOPES: Mapping[str, str] = {
    "public": "https://monitor.azure.com/.default",
    "us_government": "https://monitor.azure.us/.default",
    "china": "https://monitor.azure.cn/.default",
}
#: The gateway refuses a Content-Length above 1,048,576; the rest is room for a proxy that counts headers.
MAX_WIRE_BYTES = 1_048_576 - 4_096
#: Azure takes 50 MiB after decompression; a fifth of it keeps memory and halving cheap.
MAX_PLAIN_BYTES = 10 * 1_048_576
#: isal level 1 compresses rows ten times; higher levels gain nothing.
GZIP_LEVEL = 1
#: How well the first request is expected to compress. Then the requests before tell.
FIRST_RATIO = 4.0
#: Requests are planned for this share of the wire limit, because the next rows may compress worse than the last ones.
PLANNED_SHARE = 0.9
#: A limit that a proxy sets is not sought below this.
MIN_WIRE_BYTES = 65_536
#: A batch of events of 600 bytes then makes one request of half the wire limit; larger ones gain nothing and cost memory.
MAX_BATCH_BYTES = 4 * 1_048_576
MAX_BATCH_RECORDS = 10_000
#: Records mapped at a stretch, about 2 ms, before other lanes have their turn.
BLOCK_RECORDS = 256
#: How much longer a row is than its event, at most, usually: three columns of time, and longer names.
ROW_BYTES = 160
#: Lone records refused in a row, none stored between them, after which not the records but rule and table are wrong.
MAX_REFUSED_IN_A_ROW = 100
#: Auxiliary tables want the records of a request within 30 minutes; kept to once the service has asked for it.
MAX_SPAN_NS = 29 * 60 * 1_000_000_000
#: Azure replaces TimeGenerated outside these bounds by the time of receipt (Log Analytics, standard columns).
RESTAMPED_AFTER_NS, RESTAMPED_AHEAD_NS = 172_800 * 1_000_000_000, 86_400 * 1_000_000_000
#: Request ids kept in a receipt.
MAX_REQUEST_IDS = 100


@dataclass(slots=True, repr=False)
class _Progress:
    """A delivery under way: the rows that can be sent, and ``pending``, the ranges of them that are neither stored nor refused,
    in order.
    """

    batch: Batch
    rows: Rows
    pending: deque[Range] = field(default_factory=deque)
    rejected: list[Rejection] = field(default_factory=list)
    request_ids: list[str] = field(default_factory=list)
    stored: int = 0
    requests: int = 0
    wire_bytes: int = 0
    duplicates: int = 0
    restamped: int = 0
    moved: int = 0
    truncated: int = 0

    @property
    def lane(self) -> tuple[str, int]:
        return self.batch.tenant, self.batch.partition

    def offset(self, row: int) -> int:
        return self.batch.records[self.rows.indices[row]].offset

    def push(self, *ranges: Range) -> None:
        """Put ranges in front of what is pending."""
        self.pending.extendleft(reversed(ranges))

    def receipt(self) -> dict[str, Any]:
        return {
            "status": 204,
            "requests": self.requests,
            "request_ids": self.request_ids,
            "wire_bytes": self.wire_bytes,
            "values_moved": self.moved,
            "fields_truncated": self.truncated,
            "restamped_by_azure": self.restamped,
        }


class SentinelConnector:
    """See ``connectors.base.Connector``. ``clock`` and ``fetch`` (of a token, blocking) are seams for tests."""

    def __init__(
        self,
        settings: SentinelSettings,
        context: ConnectorContext,
        *,
        clock: Clock | None = None,
        fetch: Callable[[], Token] | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        ask = fetch or partial(fetch_token, settings, SCOPES[settings.cloud])
        tokens = TokenSource(partial(asyncio.to_thread, ask), self._clock)
        self._client = SentinelClient(settings, tokens, context.user_agent)
        self._mapper = Mapper(parse_columns(settings.columns))
        self._add = self._mapper.add_mapped if settings.schema == "asim" else self._mapper.encode
        self._limiter = Limiter(self._clock, settings.quota_share)
        self._unsure = UnsureRequests()
        self._wire_limit = MAX_WIRE_BYTES
        self._ratio = FIRST_RATIO
        self._narrow = False
        self._refusals_left = MAX_REFUSED_IN_A_ROW
        self.capabilities = Capabilities(
            max_batch_bytes=MAX_BATCH_BYTES, max_batch_records=MAX_BATCH_RECORDS, max_in_flight=6
        )

    async def open(self) -> None:
        """Prove identity, role, rule and stream, writing nothing."""
        self._refusals_left = max(1, self._refusals_left)
        self._wire_limit = MAX_WIRE_BYTES
        await self._client.open()

    async def close(self) -> None:
        await self._client.close()

    async def deliver(self, batch: Batch) -> DeliveryResult:
        """Store the batch, or its head; see the contract."""
        progress = await self._encode(batch)
        try:
            while progress.pending:
                await self._send(progress)
        except TargetError:
            if not (progress.stored or progress.rejected):
                raise
            # The head is settled; the engine hands the rest in again and meets the error then.
        left = [progress.rows.indices[row] for first, end in progress.pending for row in range(first, end)]
        return DeliveryResult(
            rejected=tuple(progress.rejected),
            retry=tuple(left),
            receipt=progress.receipt(),
            possible_duplicates=progress.duplicates,
        )

    async def _encode(self, batch: Batch) -> _Progress:
        room = batch.size_bytes + ROW_BYTES * len(batch.records)
        progress, changes = _Progress(batch, Rows(room)), self._mapper.changes
        for start in range(0, len(batch.records), BLOCK_RECORDS):
            moved, truncated = changes.moved, changes.truncated
            block = batch.records[start : start + BLOCK_RECORDS]
            for index in self._add(block, start, progress.rows):
                progress.rejected.append(Rejection(index, "not_canonical", "not a canonical event; it was not sent"))
            progress.moved += changes.moved - moved
            progress.truncated += changes.truncated - truncated
            await asyncio.sleep(0)
        if progress.rows.ends:
            progress.pending.append((0, len(progress.rows.ends)))
        return progress

    # --- one request --------------------------------------------------------------------------------------------------

    async def _send(self, progress: _Progress) -> None:
        """Send as much of the first pending range as one request holds. What is not settled stays pending, also on errors."""
        rows = self._take(progress)
        size = progress.rows.size(rows)
        packed = progress.rows.packed(rows, GZIP_LEVEL)  # 3 ms for the largest batch: not worth a thread
        self._ratio = (self._ratio + size / len(packed)) / 2
        if len(packed) > self._wire_limit:
            self._too_large(progress, rows, f"{len(packed)} bytes after compression")
            return
        settled = False
        try:
            await self._limiter.admit(size)
            reply = await self._post(progress, rows, packed)
            if reply.answer.outcome_unknown:
                self._unsure.note(progress.lane, progress.offset(rows[0]), progress.offset(rows[1] - 1))
            self._judge(progress, rows, reply, len(packed))
            settled = True
        finally:
            if not settled:
                progress.push(rows)

    def _take(self, progress: _Progress) -> Range:
        """Take from what is pending the rows of the next request: at least one, else as many as are expected to fit."""
        first, end = progress.pending.popleft()
        most = min(MAX_PLAIN_BYTES, int(self._wire_limit * self._ratio * PLANNED_SHARE))
        rows = progress.rows
        cut = max(first + 1, bisect_right(rows.ends, rows.start(first) + most, first, end))
        if self._narrow:
            cut = _within_span(rows.times, first, cut)
        if cut < end:
            progress.push((cut, end))
        return first, cut

    async def _post(self, progress: _Progress, rows: Range, packed: bytes) -> Reply:
        progress.requests += 1
        try:
            return await self._client.send(packed)
        except OutcomeUnknown:
            self._unsure.note(progress.lane, progress.offset(rows[0]), progress.offset(rows[1] - 1))
            raise
        except TargetError:
            raise
        except BaseException:  # cancelled in the middle
            self._unsure.note(progress.lane, progress.offset(rows[0]), progress.offset(rows[1] - 1))
            raise

    def _judge(self, progress: _Progress, rows: Range, reply: Reply, wire_bytes: int) -> None:
        answer, alone = reply.answer, rows[1] - rows[0] == 1
        if answer.meaning is Meaning.STORED:
            self._store(progress, rows, reply.request_id, wire_bytes)
        elif answer.meaning is Meaning.TOO_LARGE:
            # Somebody on the way takes less than the service says; later requests keep below what was refused.
            self._wire_limit = max(MIN_WIRE_BYTES, min(self._wire_limit, wire_bytes * 3 // 4))
            self._too_large(progress, rows, answer.text)
        elif answer.meaning in {Meaning.BAD_RECORD, Meaning.TIME_RANGE}:
            self._narrow |= answer.meaning is Meaning.TIME_RANGE
            if alone:
                self._refuse_alone(progress, rows[0], answer)
            else:
                _halve(progress, rows)
        elif answer.meaning is Meaning.TOO_SLOW and not alone:
            _halve(progress, rows)
        else:
            raise error_of(reply)

    # --- settling -----------------------------------------------------------------------------------------------------

    def _store(self, progress: _Progress, rows: Range, request_id: str, wire_bytes: int) -> None:
        first, end = rows
        progress.stored += end - first
        progress.wire_bytes += wire_bytes
        if self._unsure.concerns(progress.lane):
            offsets = [progress.offset(row) for row in range(first, end)]
            progress.duplicates += self._unsure.stored(progress.lane, offsets)
        progress.restamped += self._restamped(progress.rows.times[first:end])
        if len(progress.request_ids) < MAX_REQUEST_IDS:
            progress.request_ids.append(request_id)
        self._refusals_left = MAX_REFUSED_IN_A_ROW

    def _restamped(self, times: list[int]) -> int:
        now = self._clock.now_ns()
        oldest, newest = now - RESTAMPED_AFTER_NS, now + RESTAMPED_AHEAD_NS
        if min(times) >= oldest and max(times) <= newest:
            return 0
        return sum(1 for time_ns in times if not oldest <= time_ns <= newest)

    def _refuse_alone(self, progress: _Progress, row: int, answer: Answer) -> None:
        """Note a record as refused. Raises TargetMisconfigured when that has become the rule."""
        if not self._refusals_left:
            raise TargetMisconfigured(
                f"{answer.text} for {MAX_REFUSED_IN_A_ROW} records in a row, each alone in its request",
                hint="compare the DCR's stream and table with columns, then open DCRLogErrors",
                code=answer.name,
            )
        self._refusals_left -= 1
        self._refuse(progress, row, answer.name, f"{answer.text}, alone in its request")

    def _refuse(self, progress: _Progress, row: int, code: str, reason: str) -> None:
        """Note a record as refused. Copies of it may be stored all the same, by requests before whose outcome is unknown."""
        progress.rejected.append(Rejection(progress.rows.indices[row], code, reason))
        progress.duplicates += self._unsure.stored(progress.lane, [progress.offset(row)])

    def _too_large(self, progress: _Progress, rows: Range, what: str) -> None:
        if rows[1] - rows[0] > 1:
            _halve(progress, rows)
            return
        index = progress.rows.indices[rows[0]]
        size = len(progress.batch.records[index].value)
        self._refuse(progress, rows[0], "too_large", f"event of {size} bytes is too large alone: {what}")


def _halve(progress: _Progress, rows: Range) -> None:
    """Put both halves, by bytes, in front of what is pending."""
    first, end = rows
    ends, start = progress.rows.ends, progress.rows.start(first)
    middle = bisect_right(ends, (start + ends[end - 1]) // 2, first, end)
    middle = min(max(middle, first + 1), end - 1)
    progress.push((first, middle), (middle, end))


def _within_span(times: list[int], first: int, end: int) -> int:
    """Return where the rows from ``first`` on stop lying within :data:`MAX_SPAN_NS` of each other."""
    low = high = times[first]
    for row in range(first + 1, end):
        low, high = min(low, times[row]), max(high, times[row])
        if high - low > MAX_SPAN_NS:
            return row
    return end
