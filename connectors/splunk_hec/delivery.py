"""One batch on its way: as few requests as fit, and after a 400 exactly the bad event set aside.

Splunk indexes a request event by event: when it refuses one, those before it are stored and those after it are not. So a
400 that names event *k* means: ``[0, k)`` stored, *k* refused, the rest again, before anything that follows.

With acknowledgement "stored" is what the indexers say later: requests go out one after the other, and at the end all are
waited for. A 400 acknowledges nothing, not even the events before the bad one, so these go out once more, alone
(``ack_refused_head``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from connectors.base import BatchTooLarge, DeliveryResult, Rejection, TargetError, TargetMisconfigured
from connectors.http import OutcomeUnknown
from connectors.splunk_hec.answers import HINTS, Answer, Meaning
from connectors.splunk_hec.channels import Ack
from connectors.splunk_hec.client import HecClient, Reply, error_of, outcome_unknown
from connectors.splunk_hec.encode import Encoded
from connectors.splunk_hec.settings import SplunkHecSettings
from connectors.unsure import LaneName, UnsureCopies

#: "Incorrect index" in a row after which not the events but the route is wrong: all events of a request have one index.
INDEX_REFUSALS = 3
MAX_BATCH_RECORDS = 10_000
ALONE_REFUSED = "HEC code 7 (incorrect index) for this event alone"


class IndexRefused(TargetMisconfigured):
    """Splunk takes no event for this index; other indexes may be fine."""


@dataclass(slots=True)
class Shared:
    """What the deliveries of one connector have in common. ``proven``: indexes that took an event lately."""

    settings: SplunkHecSettings
    client: HecClient
    unsure: UnsureCopies = field(default_factory=UnsureCopies)
    proven: set[str | None] = field(default_factory=set)


class Delivery:
    """Indices count within the batch. What is neither stored nor refused when it ends is to be sent again."""

    def __init__(self, shared: Shared, lane: LaneName, offsets: Sequence[int], rejected: list[Rejection]) -> None:
        self._shared, self._client, self._lane, self._offsets = shared, shared.client, lane, offsets
        self._unsure = shared.unsure
        self._rejected = rejected
        self._suspects: list[int] = []  # of the present group: refused for their index, as yet unproven
        self._again: list[int] = []
        self._promised: list[tuple[Ack, list[int]]] = []
        self._stored = self._requests = self._wire_bytes = self._duplicates = self._acknowledged = 0
        self._slow_down = False
        self._endpoint = ""

    async def run(self, groups: Sequence[Encoded]) -> DeliveryResult:
        """Send the groups. Raises TargetError when nothing of them could be settled."""
        failure: TargetError | None = None
        try:
            for group in groups:
                if failure is None or isinstance(failure, IndexRefused):
                    failure = await self._send_group(group) or failure
                self._again += group.indices
            lost = await self._await_acks()
            failure = failure or lost
        finally:
            for ack, indices in self._promised:  # cancelled meanwhile
                ack.give_up()
                self._note_unsure(indices)
        if failure is not None and not (self._stored or self._rejected):
            raise failure
        # Where the head is settled, the engine hands the rest in again and meets the error then.
        return DeliveryResult(
            rejected=tuple(self._rejected),
            retry=tuple(sorted(self._again)),
            receipt={
                "endpoint": self._endpoint,
                "code": 0,
                "requests": self._requests,
                "wire_bytes": self._wire_bytes,
                "acknowledged": self._acknowledged,
            },
            possible_duplicates=self._duplicates,
            slow_down=self._slow_down,
        )

    async def _send_group(self, group: Encoded) -> TargetError | None:
        """Send events of one index; return what stopped it."""
        self._suspects = []
        try:
            while group.indices and await self._send(group):
                pass
            if self._suspects:
                self._judge_route(group)
        except TargetError as error:
            return error
        finally:
            self._again += self._suspects
        return None

    # --- one request --------------------------------------------------------------------------------------------------

    async def _send(self, group: Encoded, most: int = MAX_BATCH_RECORDS) -> bool:
        """Send as much of the head as one request holds; return whether to go on with what is left."""
        count = group.fitting(self._shared.settings.max_content_length, most)
        if not count:
            size = len(group.heads[0]) + len(group.values[0])
            self._refuse(group, "too_large", f"its envelope is above max_content_length: {size} bytes")
            return True
        self._requests += 1
        try:
            reply = await self._client.send(group.body(count), group.query)
        except OutcomeUnknown:
            self._note_unsure(group.indices[:count])
            raise
        except TargetError:
            raise
        except BaseException:  # cancelled in the middle
            self._note_unsure(group.indices[:count])
            raise
        self._wire_bytes += reply.wire_bytes
        self._endpoint = reply.endpoint
        if outcome_unknown(reply.answer, count):
            self._note_unsure(group.indices[:count])
        return await self._judge(group, reply, count)

    async def _judge(self, group: Encoded, reply: Reply, count: int) -> bool:
        answer = reply.answer
        if answer.meaning is Meaning.STORED:
            self._slow_down |= answer.slow_down
            if reply.ack is None:
                self._store(group, count)
            else:
                self._prove_index(group)
                self._promised.append((reply.ack, group.drop(count)))
            return True
        event = answer.event if answer.event is not None and 0 <= answer.event < count else None
        if answer.meaning is Meaning.BAD_EVENT:
            if event is None:
                return await self._halve(group, answer, count)
            return await self._isolate(group, reply, count, event)
        if answer.meaning is Meaning.BAD_INDEX:
            # An index that was good for the head of the request is good: then it is this event alone.
            return await self._isolate(group, reply, count, event) if event else self._suspect(group)
        if answer.meaning is Meaning.BUSY and event:
            self._busy_at(group, reply, event)
        return self._too_large(group, answer, count)

    async def _isolate(self, group: Encoded, reply: Reply, count: int, event: int) -> bool:
        """Refuse the event that was named; those before it are stored. One a delivery: between two of them the engine can
        see that it is not the events which are bad.
        """
        reason = f"{reply.answer.text}, event {event} of {count}"
        if not self._head_counts(reply):
            self._note_unsure(group.indices[:event])
            self._refuse(group, reply.answer.name, reason, event)
            if event:
                await self._send(group, event)
            return False
        self._store(group, event)
        self._refuse(group, reply.answer.name, reason)
        return False

    def _busy_at(self, group: Encoded, reply: Reply, event: int) -> NoReturn:
        """It took the events before the one that it names, and wants a pause."""
        self._slow_down = True
        if self._head_counts(reply):
            self._store(group, event)
        else:
            self._note_unsure(group.indices[:event])
        raise error_of(reply.answer)

    def _head_counts(self, reply: Reply) -> bool:
        """Tell whether events before a refused one count as stored: with acknowledgement nobody acknowledges them."""
        return not reply.acked or self._shared.settings.ack_refused_head == "accept"

    def _too_large(self, group: Encoded, answer: Answer, count: int) -> bool:
        if answer.meaning is not Meaning.TOO_LARGE:
            raise error_of(answer)
        if count > 1:
            raise BatchTooLarge(answer.text, code=answer.name)
        self._refuse(group, answer.name, f"larger than the target takes: {len(group.values[0])} bytes")
        return True

    async def _halve(self, group: Encoded, answer: Answer, count: int) -> bool:
        """One event is bad but not named: send halves until it is alone. What was stored of the refused request is stored
        again by them.
        """
        if count == 1:
            self._refuse(group, answer.name, f"{answer.text}, alone in its request")
            return False
        self._note_unsure(group.indices[:count])
        await self._send(group, count // 2)
        return False

    # --- settling -----------------------------------------------------------------------------------------------------

    async def _await_acks(self) -> TargetError | None:
        """Wait for what Splunk took but has not acknowledged; return the first failure."""
        failure: TargetError | None = None
        while self._promised:
            ack, indices = self._promised[0]
            try:
                await ack.wait()
            except OutcomeUnknown as error:
                self._note_unsure(indices)
                self._again += indices
                failure = failure or error
            else:
                self._acknowledged += len(indices)
                self._count_stored(indices)
            del self._promised[0]
        return failure

    def _note_unsure(self, indices: Sequence[int]) -> None:
        self._unsure.note(self._lane, [self._offsets[index] for index in indices])

    def _store(self, group: Encoded, count: int) -> None:
        """Note the first ``count`` as stored."""
        if count:
            self._count_stored(group.drop(count))
            self._prove_index(group)

    def _count_stored(self, indices: list[int]) -> None:
        self._stored += len(indices)
        self._duplicates += self._unsure.settled(self._lane, [self._offsets[index] for index in indices])

    def _prove_index(self, group: Encoded) -> None:
        """An event was taken, so the index is good, and suspects were bad by themselves."""
        self._shared.proven.add(group.index)
        self._rejected += [Rejection(index, "hec_7", ALONE_REFUSED) for index in self._suspects]
        self._suspects = []

    def _refuse(self, group: Encoded, code: str, reason: str, place: int = 0) -> None:
        self._rejected += [Rejection(index, code, reason) for index in group.drop(1, place)]

    def _suspect(self, group: Encoded) -> bool:
        """Set an event aside whose index was refused. It counts as bad only once another one is stored: all have the
        same index, so otherwise the route is wrong, and no event may be lost for that.
        """
        self._suspects += group.drop(1)
        return len(self._suspects) < INDEX_REFUSALS

    def _judge_route(self, group: Encoded) -> None:
        """Decide about suspects after which nothing was stored. One alone, while the index was good a moment ago, is bad
        by itself, but only once: the next one pauses the target. Raises IndexRefused.
        """
        if group.index in self._shared.proven and len(self._suspects) == 1 and not group.indices:
            self._shared.proven.discard(group.index)
            self._rejected.append(Rejection(self._suspects.pop(), "hec_7", ALONE_REFUSED))
            return
        index = "the token's default index" if group.index is None else f"index {group.index!r}"
        raise IndexRefused(f"HEC code 7: {index} is refused", hint=HINTS[7], code="hec_7")
