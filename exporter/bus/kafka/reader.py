"""Committed events of a set of tenants for one target."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from exporter.bus.base import BusRecord, Lane, LaneRecords, OnRevoke
from exporter.bus.kafka import config
from exporter.bus.kafka.admin import Admin, Place
from exporter.bus.kafka.faults import NOT_OURS, error_of, translate
from exporter.bus.kafka.lifetime import close_after, close_consumer, subscribed
from exporter.bus.kafka.topics import Names
from exporter.errors import BusUnavailable, ConfigurationError, ExporterError
from exporter.ops import metrics
from exporter.settings.model import KafkaBus

# librdkafka's own codes carry a leading underscore in its public interface.
# ruff: noqa: SLF001

log = structlog.get_logger()

#: Most records of one call to the client; larger takes bring nothing more.
TAKE_RECORDS = 5000
#: Guess of a record's size before the first one came.
FIRST_GUESS_BYTES = 4096
#: How fast the guess follows smaller records. It follows the largest at once, so that fat ones never come by the thousand.
GUESS_DECAY = 0.8
REQUEST_SECONDS = 10.0
#: How long a commit of positions is waited for.
COMMIT_SECONDS = 10.0


class KafkaReader:
    """See ``exporter.bus.base.EventReader``."""

    def __init__(
        self, settings: KafkaBus, admin: Admin, target: str, tenants: Sequence[str], on_revoke: OnRevoke
    ) -> None:
        names = Names(settings.topic_prefix)
        self._settings, self._group = settings, names.delivery_group(target)
        self._admin, self._target, self._on_revoke = admin, target, on_revoke
        self._tenants = {names.events(tenant): tenant for tenant in tenants}
        self._topics = {tenant: topic for topic, tenant in self._tenants.items()}
        self._heard = config.LastError()
        self._assigned: set[Lane] = set()
        self._paused: set[Lane] = set()
        self._found: dict[Lane, LaneRecords] = {}  # of the poll under way
        self._next: dict[Lane, int] = {}  # after the last record handed out
        self._ends: dict[Lane, tuple[int, int]] = {}  # (after the last record, beyond the markers that follow it)
        self._committed: dict[Lane, int] = {}
        self._restarts: set[Lane] = set()
        self._failure: ExporterError | None = None
        self._guess_bytes: float = FIRST_GUESS_BYTES
        self._finished = self._closing = False
        self._storing: threading.Thread | None = None
        self._consumer = self._join()

    def _join(self) -> Consumer:
        try:
            return subscribed(
                config.reader(self._settings, self._group, self._heard),
                list(self._tenants),
                on_assign=self._assign,
                on_revoke=self._revoke,
                on_lost=self._lose,
            )
        except KafkaException as exception:
            raise translate(error_of(exception), f"reading for {self._target}") from None

    def _join_again(self) -> None:
        """The client is finished for good (fatal error): what it had is lost; begin as a new member."""
        lanes = frozenset(self._assigned)
        self.close()
        self._forget(lanes)
        if lanes:
            self._on_revoke(lanes)
        self._consumer = self._join()
        self._storing = None  # what an earlier client still stores is no business of this one
        self._finished = self._closing = False

    # --- reading ------------------------------------------------------------------------------------------------------

    def poll(self, max_bytes: int, timeout_seconds: float) -> list[LaneRecords]:
        """See the port. Raises BusUnavailable, ConfigurationError; records already taken are handed out before."""
        found: dict[Lane, LaneRecords] = {}
        self._found = found
        self._raise_failure()
        if self._finished:
            self._join_again()
        size, deadline = 0, time.monotonic() + timeout_seconds
        try:
            self._restart_lanes()
            while size < max_bytes:
                # Wait only for the first record; then take what is there.
                wait = 0.0 if size else max(deadline - time.monotonic(), 0.0)
                number = 1 if wait else max(1, min(TAKE_RECORDS, int((max_bytes - size) / self._guess_bytes)))
                messages = self._consumer.consume(number, wait)
                if not messages and (size or time.monotonic() >= deadline):
                    break
                size += self._sort(messages)
        except KafkaException as exception:
            self._fail(error_of(exception))
        except ExporterError as error:
            self._failure = error
        if not found:
            self._raise_failure()
        return list(found.values())

    def _fail(self, error: KafkaError) -> None:
        self._failure = translate(error, f"reading for {self._target}", self._heard.error)
        self._finished = self._finished or error.fatal()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is None and not self._assigned and self._heard.error is not None:
            heard = translate(self._heard.error, f"reading for {self._target}")
            failure = heard if isinstance(heard, ConfigurationError) else None
        if failure is not None:
            raise failure

    def _sort(self, messages: Sequence[Message]) -> int:
        """Put records to their lanes; return their bytes."""
        size = largest = 0
        topic, partition, append = None, -1, None
        for message in messages:
            if message.error() is not None:
                self._look_at(message)
                topic = None
                continue
            if message.topic() != topic or message.partition() != partition or append is None:
                topic, partition = message.topic(), message.partition() or 0
                records = self._records_of(topic or "", partition)
                if records is None:
                    topic = None
                    continue
                append = records.append
            value = message.value() or b""
            length = len(value)
            size += length
            largest = max(largest, length)
            append(BusRecord(message.offset() or 0, message.key() or b"", value, message.timestamp()[1]))
        self._note_positions()
        if largest:
            self._guess_bytes = max(largest, self._guess_bytes * GUESS_DECAY)
        return size

    def _records_of(self, topic: str, partition: int) -> list[BusRecord] | None:
        lane = Lane(self._tenants[topic], partition)
        if lane not in self._assigned:
            return None  # left over from before a hand-over: the new owner reads it
        if lane not in self._found:
            self._found[lane] = LaneRecords(lane, [], 0)
        return self._found[lane].records

    def _note_positions(self) -> None:
        for lane, found in self._found.items():
            if found.records:
                found.next_offset = max(found.next_offset, found.records[-1].offset + 1)
                self._next[lane] = found.next_offset

    def _look_at(self, message: Message) -> None:
        error, topic = message.error(), message.topic()
        assert error is not None
        if topic in self._tenants and (lane := Lane(self._tenants[topic], message.partition() or 0)) in self._assigned:
            if error.code() == KafkaError._PARTITION_EOF:
                self._reach_end(lane, message.offset() or 0)
                return
            if error.code() == KafkaError._AUTO_OFFSET_RESET:
                self._restarts.add(lane)
                self._restart_lanes()
                return
        if error.fatal() or isinstance(translate(error, ""), ConfigurationError):
            self._fail(error)

    def _reach_end(self, lane: Lane, end: int) -> None:
        """Transaction markers follow the last record; the position moves beyond them, or a lag of some would stay for ever."""
        self._note_positions()
        after = self._next.get(lane, end)
        self._ends[lane] = (after, end)
        if lane in self._found:
            self._found[lane].next_offset = self._next[lane] = end
        elif after < end and self._committed.get(lane) == after:
            with contextlib.suppress(KafkaException):
                self._consumer.commit(offsets=[self._place(lane, end)], asynchronous=True)
                self._committed[lane] = end

    # --- starting points ----------------------------------------------------------------------------------------------

    def _restart_lanes(self) -> None:
        """Lanes without a usable position: start them at the earliest record, and say so when records are lost."""
        for lane in list(self._restarts & self._assigned):
            start = self._earliest(lane)
            place = self._place(lane, start)
            self._consumer.incremental_unassign([self._place(lane)])
            self._consumer.incremental_assign([place])
            if lane in self._paused:
                self._consumer.pause([self._place(lane)])
            self._next[lane] = start
            self._restarts.discard(lane)
            self.commit({lane: start})

    def _earliest(self, lane: Lane) -> int:
        """Return the lane's earliest offset. The caller commits it, so that a first start is told from lost records later."""
        topic_partition = self._place(lane)
        place = (topic_partition.topic, topic_partition.partition)
        start = self._admin.starts([place])[place]
        wanted = self._next.get(lane)
        if wanted is None:
            (found,) = self._consumer.committed([topic_partition], REQUEST_SECONDS)
            wanted = found.offset
        if wanted >= 0 and wanted != start:
            lost = max(0, start - wanted)
            metrics.BUS_LOST.labels(self._target, lane.tenant).inc(lost)
            hint = (
                "the topic's retention removed records before this target took them"
                if lost
                else "the topic was cut or made anew"
            )
            where = {"target": self._target, "tenant": lane.tenant, "partition": lane.partition}
            log.error("bus_records_lost", **where, wanted_offset=wanted, earliest_offset=start, hint=hint)
        return start

    # --- positions ----------------------------------------------------------------------------------------------------

    def commit(self, positions: Mapping[Lane, int]) -> None:
        """See the port. Raises BusUnavailable, ConfigurationError."""
        self._commit(positions, self._store)

    def _commit(self, positions: Mapping[Lane, int], store: Callable[[list[TopicPartition]], list[KafkaError]]) -> None:
        lifted = {lane: self._lift(lane, position) for lane, position in positions.items() if lane in self._assigned}
        if not lifted:
            return
        errors = store([self._place(*item) for item in lifted.items()])
        for error in errors:
            if error.code() not in NOT_OURS:
                raise translate(error, f"committing positions of {self._target}", self._heard.error)
            log.warning("positions_dropped", target=self._target, reason=error.name())
        if not errors:
            self._committed |= lifted

    def _store(self, places: list[TopicPartition]) -> list[KafkaError]:
        """Commit and return the errors. Without a coordinator librdkafka's call blocks for a whole session time-out, and nothing can
        interrupt it; so it runs beside us, and we stop waiting. The caller repeats the positions.
        """
        errors: list[KafkaError] = []
        consumer = self._consumer

        def work() -> None:
            errors.extend(_store_here(consumer, places))

        if self._storing is None or not self._storing.is_alive():
            self._storing = threading.Thread(target=work, name="kafka-commit", daemon=True)
            self._storing.start()
            self._storing.join(COMMIT_SECONDS)
            if not self._storing.is_alive():
                return errors
        raise BusUnavailable("Kafka: committing positions takes too long", hint="the broker cannot be reached")

    def _lift(self, lane: Lane, position: int) -> int:
        after, end = self._ends.get(lane, (-1, -1))
        return end if position == after else position

    def lag(self) -> dict[Lane, int]:
        """See the port. Asks the broker, because a paused lane does not learn of new records by itself."""
        lanes = list(self._assigned)
        unknown = [self._place(lane) for lane in lanes if lane not in self._committed]
        try:
            for found in self._consumer.committed(unknown, REQUEST_SECONDS) if unknown else ():
                if found.offset >= 0:
                    self._committed[Lane(self._tenants[found.topic], found.partition)] = found.offset
        except KafkaException as exception:
            raise translate(error_of(exception), "asking for positions", self._heard.error) from None
        ends = self._admin.stable_ends(self._key(lane) for lane in lanes)
        starts = self._admin.starts(self._key(lane) for lane in lanes if lane not in self._committed)
        return {
            lane: max(0, ends[self._key(lane)] - self._committed.get(lane, starts.get(self._key(lane), 0)))
            for lane in lanes
        }

    # --- assignment ---------------------------------------------------------------------------------------------------

    def assigned(self) -> frozenset[Lane]:
        return frozenset(self._assigned)

    def pause(self, lanes: frozenset[Lane]) -> None:
        fresh = (lanes & self._assigned) - self._paused
        self._paused |= fresh
        self._consumer.pause([self._place(lane) for lane in fresh])

    def resume(self, lanes: frozenset[Lane]) -> None:
        paused = lanes & self._paused
        self._paused -= paused
        self._consumer.resume([self._place(lane) for lane in paused & self._assigned])

    def _lanes(self, partitions: Iterable[TopicPartition]) -> frozenset[Lane]:
        return frozenset(Lane(self._tenants[p.topic], p.partition) for p in partitions if p.topic in self._tenants)

    def _assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gained = self._lanes(partitions)
        self._forget(gained)
        self._assigned |= gained

    def _revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        lanes = self._lanes(partitions) & self._assigned
        if lanes and not self._closing:
            for lane in lanes:
                self._found.pop(lane, None)
            positions = self._on_revoke(lanes)
            try:
                # In this very thread: the client lets no other one in while it is inside of a call-back (confluent-kafka 2.16,
                # ``Handle_serialize_enter``). Its coordinator has just spoken to us, so the call does not block for long.
                self._commit(
                    {lane: position for lane, position in positions.items() if lane in lanes},
                    lambda places: _store_here(self._consumer, places),
                )
            except ExporterError as error:  # the next owner delivers these records again
                log.warning("positions_dropped", target=self._target, reason=type(error).__name__)
        self._forget(lanes)
        self._assigned -= lanes

    def _lose(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        lanes = self._lanes(partitions) & self._assigned
        self._forget(lanes)
        self._assigned -= lanes
        if lanes and not self._closing:
            self._on_revoke(lanes)

    def _forget(self, lanes: Iterable[Lane]) -> None:
        """An assignment starts afresh from the committed position; nothing is carried over."""
        for lane in lanes:
            for kept in (self._found, self._next, self._ends, self._committed):
                kept.pop(lane, None)
            self._paused.discard(lane)
            self._restarts.discard(lane)

    def _key(self, lane: Lane) -> Place:
        return (self._topics[lane.tenant], lane.partition)

    def _place(self, lane: Lane, offset: int | None = None) -> TopicPartition:
        topic = self._topics[lane.tenant]
        return (
            TopicPartition(topic, lane.partition) if offset is None else TopicPartition(topic, lane.partition, offset)
        )

    def close(self) -> None:
        """Leave the group at once; while the broker does not answer a commit, as soon as librdkafka gives that up."""
        self._closing = True
        self._assigned.clear()
        if self._storing is not None and self._storing.is_alive():
            close_after(self._storing, self._consumer)
            return
        with contextlib.suppress(KafkaException, RuntimeError):
            close_consumer(self._consumer)


def _store_here(consumer: Consumer, places: list[TopicPartition]) -> list[KafkaError]:
    """Commit in the caller's thread and return the errors."""
    try:
        results = consumer.commit(offsets=places, asynchronous=False)
    except KafkaException as exception:
        return [error_of(exception)]
    return [result.error for result in results or () if result.error is not None]
