"""The connector: one batch → as few requests as fit, and after a 400 exactly the bad event set aside.

Splunk indexes a request event by event: when it refuses one, those before it are stored and those after it are not. So a
400 that names event *k* means: ``[0, k)`` stored, *k* refused, the rest again, before anything that follows.

A token without indexer acknowledgement says "stored" with HTTP 200 and code 0. :meth:`SplunkHecConnector._send` is where
acknowledgement channels will wait for theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from connectors.base import (
    Batch,
    BatchTooLarge,
    Capabilities,
    ConnectorContext,
    DeliveryResult,
    Rejection,
    TargetError,
    TargetMisconfigured,
)
from connectors.http import OutcomeUnknown
from connectors.splunk_hec.answers import HINTS, Answer, Meaning
from connectors.splunk_hec.client import HecClient, error_of, outcome_unknown
from connectors.splunk_hec.encode import Encoded, Envelopes
from connectors.splunk_hec.settings import SplunkHecSettings
from connectors.splunk_hec.unsure import UnsureRequests

#: "Incorrect index" in a row after which not the events but the route is wrong: all events of a target have one index.
INDEX_REFUSALS = 3
#: Share of a request that events may fill by their own bytes; the envelopes need the rest.
EVENT_SHARE = 3 / 4
MAX_BATCH_RECORDS = 10_000
ALONE_REFUSED = "HEC code 7 (incorrect index) for this event alone"


@dataclass(slots=True, repr=False)
class _Progress:
    """A delivery under way. Indices count within the batch; ``left`` holds what is neither stored nor refused, in order."""

    lane: tuple[str, int]
    offsets: list[int]
    left: Encoded
    rejected: list[Rejection]
    suspects: list[int] = field(default_factory=list)  # refused for their index, as yet unproven
    stored: int = 0
    requests: int = 0
    wire_bytes: int = 0
    duplicates: int = 0
    slow_down: bool = False
    endpoint: str = ""


class SplunkHecConnector:
    """See ``connectors.base.Connector``."""

    def __init__(self, settings: SplunkHecSettings, context: ConnectorContext) -> None:
        self._settings = settings
        self._client = HecClient(settings, context.user_agent)
        self._envelopes = Envelopes(settings)
        self._unsure = UnsureRequests()
        self._index_proven = False
        self.capabilities = Capabilities(
            max_batch_bytes=int(settings.max_content_length * EVENT_SHARE),
            max_batch_records=MAX_BATCH_RECORDS,
            max_in_flight=8 * len(settings.endpoints),
        )

    async def open(self) -> None:
        """Prove address and token at every endpoint, writing nothing."""
        await self._client.open()

    async def close(self) -> None:
        await self._client.close()

    async def deliver(self, batch: Batch) -> DeliveryResult:
        """Store the batch, or its head; see the contract."""
        encoded, rejected = self._envelopes.encode(batch.records)
        progress = _Progress(
            lane=(batch.tenant, batch.partition),
            offsets=[record.offset for record in batch.records],
            left=encoded,
            rejected=rejected,
        )
        try:
            while progress.left.indices and await self._send(progress):
                pass
            if progress.suspects:
                self._judge_route(progress)
        except TargetError:
            if not (progress.stored or progress.rejected):
                raise
            # The head is settled; the engine hands the rest in again and meets the error then.
        return DeliveryResult(
            rejected=tuple(progress.rejected),
            retry=tuple(sorted(progress.suspects + progress.left.indices)),
            receipt={
                "endpoint": progress.endpoint,
                "code": 0,
                "requests": progress.requests,
                "wire_bytes": progress.wire_bytes,
            },
            possible_duplicates=progress.duplicates,
            slow_down=progress.slow_down,
        )

    # --- one request --------------------------------------------------------------------------------------------------

    async def _send(self, progress: _Progress, most: int = MAX_BATCH_RECORDS) -> bool:
        """Send as much of the head as one request holds; return whether to go on with what is left."""
        left = progress.left
        count = left.fitting(self._settings.max_content_length, most)
        if not count:
            size = len(left.heads[0]) + len(left.values[0])
            self._refuse(progress, "too_large", f"its envelope is above max_content_length: {size} bytes")
            return True
        last_offset = progress.offsets[left.indices[count - 1]]
        progress.requests += 1
        try:
            reply = await self._client.send(left.body(count))
        except OutcomeUnknown:
            self._unsure.note(progress.lane, last_offset)
            raise
        except TargetError:
            raise
        except BaseException:  # cancelled in the middle
            self._unsure.note(progress.lane, last_offset)
            raise
        progress.wire_bytes += reply.wire_bytes
        progress.endpoint = reply.endpoint
        if outcome_unknown(reply.answer, count):
            self._unsure.note(progress.lane, last_offset)
        return await self._judge(progress, reply.answer, count)

    async def _judge(self, progress: _Progress, answer: Answer, count: int) -> bool:
        if answer.meaning is Meaning.STORED:
            self._store(progress, count)
            progress.slow_down |= answer.slow_down
            return True
        event = answer.event if answer.event is not None and 0 <= answer.event < count else None
        if answer.meaning is Meaning.BAD_EVENT:
            if event is None:
                return await self._halve(progress, answer, count)
            return self._isolate(progress, answer, count, event)
        if answer.meaning is Meaning.BAD_INDEX:
            # An index that was good for the head of the request is good: then it is this event alone.
            return self._isolate(progress, answer, count, event) if event else self._suspect(progress)
        if answer.meaning is Meaning.BUSY and event:
            self._store(progress, event)  # it took the events before the one it names
            progress.slow_down = True
            return False
        return self._too_large(progress, answer, count)

    def _isolate(self, progress: _Progress, answer: Answer, count: int, event: int) -> bool:
        self._store(progress, event)
        self._refuse(progress, answer.name, f"{answer.text}, event {event} of {count}")
        return False

    def _too_large(self, progress: _Progress, answer: Answer, count: int) -> bool:
        if answer.meaning is not Meaning.TOO_LARGE:
            raise error_of(answer)
        if count > 1:
            raise BatchTooLarge(answer.text, code=answer.name)
        size = len(progress.left.values[0])
        self._refuse(progress, answer.name, f"larger than the target takes: {size} bytes")
        return True

    async def _halve(self, progress: _Progress, answer: Answer, count: int) -> bool:
        """One event is bad but not named: send halves until it is alone. What was stored of the refused request is stored
        again by them.
        """
        if count == 1:
            self._refuse(progress, answer.name, f"{answer.text}, alone in its request")
            return False
        self._unsure.note(progress.lane, progress.offsets[progress.left.indices[count - 1]])
        await self._send(progress, count // 2)
        return False

    # --- settling -----------------------------------------------------------------------------------------------------

    def _store(self, progress: _Progress, count: int) -> None:
        """Note the first ``count`` as stored; that proves the index, so suspects were bad by themselves."""
        if not count:
            return
        offsets = [progress.offsets[index] for index in progress.left.indices[:count]]
        progress.duplicates += self._unsure.stored(progress.lane, offsets)
        progress.stored += count
        self._index_proven = True
        progress.left.drop(count)
        for index in progress.suspects:
            progress.rejected.append(Rejection(index, "hec_7", ALONE_REFUSED))
        progress.suspects.clear()

    def _refuse(self, progress: _Progress, code: str, reason: str) -> None:
        """Note the first one left as refused."""
        progress.rejected.append(Rejection(progress.left.indices[0], code, reason))
        progress.left.drop(1)

    def _suspect(self, progress: _Progress) -> bool:
        """Set an event aside whose index was refused. It counts as bad only once another one is stored: all have the
        same index, so otherwise the route is wrong, and no event may be lost for that.
        """
        progress.suspects.append(progress.left.indices[0])
        progress.left.drop(1)
        return len(progress.suspects) < INDEX_REFUSALS

    def _judge_route(self, progress: _Progress) -> None:
        """Decide about suspects after which nothing was stored. One alone, while the index was good a moment ago, is bad
        by itself, but only once: the next one pauses the target. Raises TargetMisconfigured.
        """
        if self._index_proven and len(progress.suspects) == 1 and not progress.left.indices:
            self._index_proven = False
            progress.rejected.append(Rejection(progress.suspects.pop(), "hec_7", ALONE_REFUSED))
            return
        index = "the token's default index" if self._settings.index is None else f"index {self._settings.index!r}"
        raise TargetMisconfigured(f"HEC code 7: {index} is refused", hint=HINTS[7], code="hec_7")
