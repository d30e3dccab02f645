"""The fenced writer of one shard: events, checkpoint records and ledger record in one Kafka transaction."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import NoReturn

from confluent_kafka import KafkaException, Producer

from exporter.bus.base import Commit, check_event_sizes
from exporter.bus.kafka import checkpoints, config
from exporter.bus.kafka.admin import Admin
from exporter.bus.kafka.faults import OUT_OF_REACH, Verdict, error_of, translate, verdict
from exporter.bus.kafka.topics import Names
from exporter.domain.events import EncodedBatch
from exporter.errors import BusUnavailable, CommitAborted, ExporterError, Fenced
from exporter.settings.model import KafkaBus

#: ``init_transactions`` waits for the predecessor's transaction to end and for the coordinator.
OPEN_SECONDS = 30.0
#: One turn of it: a refused login is heard at once, but librdkafka goes on trying for as long as it is let.
OPEN_TURN_SECONDS = 3.0
#: Time to tell the broker about an abort; when it fails the next ``init_transactions`` or the broker's time-out does it.
ABORT_SECONDS = 5.0
#: Beyond the transaction time-out: by then every message has failed for good or the commit was answered.
COMMIT_GRACE_SECONDS = 5.0


class KafkaShardWriter:
    """See ``exporter.bus.base.ShardWriter``. Built by :func:`open_writer`, which fences."""

    def __init__(self, settings: KafkaBus, shard: int, producer: Producer, heard: config.LastError) -> None:
        self._settings, self._shard, self._producer, self._heard = settings, shard, producer, heard
        self._names = Names(settings.topic_prefix)
        self._topics: dict[str, str] = {}
        self._finished = self._closed = False

    @property
    def shard(self) -> int:
        return self._shard

    def checkpoints(self) -> dict[str, bytes]:
        """Raises BusUnavailable, ConfigurationError."""
        return checkpoints.load_shard(Admin(self._settings), self._settings, self._shard)

    def commit(self, commit: Commit) -> None:
        """See the port. A commit whose outcome stays unknown raises Fenced: only the checkpoint, read anew, can tell."""
        if self._finished:
            raise Fenced("Kafka: this shard's producer is finished", hint="open the shard again")
        check_event_sizes(commit)
        try:
            self._producer.begin_transaction()
        except KafkaException as exception:
            self._give_up(translate(error_of(exception), "beginning a transaction", self._heard.error))
        try:
            self._send(commit)
        except (KafkaException, BusUnavailable) as exception:
            self._abort_after(exception)
        self._end_transaction()
        _serve_callbacks(self._producer)

    def _send(self, commit: Commit) -> None:
        for batch in commit.batches:
            self._send_events(batch)
        produce, names = self._put, self._names
        for key, value in commit.checkpoints.items():
            produce(names.checkpoints, value, key.encode())
        if commit.ledger is not None:
            produce(names.ledger, commit.ledger, b"commit")

    def _send_events(self, batch: EncodedBatch) -> None:
        """The hot loop: no call-back, no header, no call but ``produce``."""
        topic = self._topics.get(batch.tenant) or self._topics.setdefault(
            batch.tenant, self._names.events(batch.tenant)
        )
        produce = self._producer.produce
        for key, value in zip(batch.keys, batch.values, strict=True):
            try:
                produce(topic, value, key)
            except BufferError:
                self._when_room(lambda k=key, v=value: produce(topic, v, k))  # type: ignore[misc]

    def _put(self, topic: str, value: bytes | None, key: bytes) -> None:
        produce = self._producer.produce
        try:
            produce(topic, value, key, self._shard)
        except BufferError:
            self._when_room(lambda: produce(topic, value, key, self._shard))

    def _when_room(self, produce: Callable[[], None]) -> None:
        """The queue is full (it is bounded by bytes): let it drain, for as long as the transaction lives."""
        deadline = time.monotonic() + self._settings.transaction_timeout_seconds
        while time.monotonic() < deadline:
            self._producer.poll(0.05)
            with contextlib.suppress(BufferError):
                produce()
                return
        raise BusUnavailable("Kafka: the producer's queue stays full", hint="the broker takes no records")

    def _end_transaction(self) -> None:
        deadline = time.monotonic() + self._settings.transaction_timeout_seconds + COMMIT_GRACE_SECONDS
        while True:
            try:
                self._producer.commit_transaction(max(deadline - time.monotonic(), 0.1))
            except KafkaException as exception:
                error = error_of(exception)
                if verdict(error) is Verdict.RETRY:
                    if time.monotonic() < deadline:
                        continue
                    self._give_up(
                        Fenced("Kafka: the outcome of a commit is unknown", hint="reopen: the checkpoint tells")
                    )
                self._abort_after(exception)
            return

    def _abort_after(self, cause: KafkaException | BusUnavailable) -> NoReturn:
        """Roll back and raise what the caller has to know."""
        failure = self._describe(cause)
        if isinstance(cause, KafkaException) and error_of(cause).fatal():
            self._give_up(failure)
        try:
            self._producer.abort_transaction(ABORT_SECONDS)
        except KafkaException as exception:
            error = error_of(exception)
            # That we are fenced may show only here, when librdkafka found it out in the background. Anything else follows from the
            # first failure: after a refused topic the broker knows of no transaction to abort (INVALID_TXN_STATE, seen with 4.1).
            shown = translate(error, "aborting a transaction")
            self._give_up(shown if isinstance(shown, Fenced) else failure)
        raise failure

    def _describe(self, cause: KafkaException | BusUnavailable) -> ExporterError:
        if isinstance(cause, BusUnavailable):
            return cause
        error = error_of(cause)
        failure = translate(error, "committing", self._heard.error)
        if error.fatal() and isinstance(failure, BusUnavailable):
            return Fenced(
                failure.message, hint="the producer is finished: reopen, the checkpoint tells what was committed"
            )
        heard = self._heard.error  # failed deliveries come as "inconsistent"; why they failed is heard here
        lost_broker = error.code() in OUT_OF_REACH or (heard is not None and heard.code() in OUT_OF_REACH)
        if isinstance(failure, BusUnavailable) and not lost_broker and error.txn_requires_abort():
            return CommitAborted(failure.message, hint="nothing was written; rewind to the last checkpoint")
        return failure

    def _give_up(self, failure: ExporterError) -> NoReturn:
        self._finished = True
        raise failure

    def close(self) -> None:
        """Nothing is open between two commits, so letting go of the client is all; what a failed one left is purged."""
        self._finished = True
        if not self._closed:
            self._closed = True
            purge(self._producer)
            del self._producer  # see purge


def purge(producer: Producer) -> None:
    """Give up all messages, so that the client ends with its last reference. Never raises. It is not closed: ``Producer.close``
    aborts an open transaction first and waits for the broker without an end (confluent-kafka 2.16, ``Producer_close``).
    """
    with contextlib.suppress(KafkaException, RuntimeError):
        producer.purge()


def _serve_callbacks(producer: Producer) -> None:
    """Let librdkafka's log and error callbacks run. A fatal error makes ``poll`` raise as well; whatever is called next tells it."""
    with contextlib.suppress(KafkaException):
        producer.poll(0)


def open_writer(settings: KafkaBus, shard: int) -> KafkaShardWriter:
    """Fence every earlier writer of the shard. Raises Fenced, BusUnavailable, ConfigurationError."""
    heard = config.LastError()
    name = Names(settings.topic_prefix).transactional_id(shard)
    try:
        producer = Producer(config.transactional_producer(settings, name, heard))
    except KafkaException as exception:
        raise translate(error_of(exception), "building the producer") from None
    deadline = time.monotonic() + OPEN_SECONDS
    while True:
        try:
            producer.init_transactions(OPEN_TURN_SECONDS)
        except KafkaException as exception:
            error = error_of(exception)
            _serve_callbacks(producer)  # the reason may be heard there
            failure = translate(error, f"taking over shard {shard}", heard.error)
            if verdict(error) is Verdict.RETRY and isinstance(failure, BusUnavailable) and time.monotonic() < deadline:
                continue
            producer.purge()  # not closed: that would try to abort a transaction it never had; dropping it ends it
            raise failure from None
        return KafkaShardWriter(settings, shard, producer, heard)
