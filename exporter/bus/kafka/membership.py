"""Which shards this worker runs: a consumer group over the (empty) shards topic.

librdkafka hands a shard on as soon as its revoke callback returns, and a commit under way must end first. So the group is
polled by a thread of its own: its callback waits there until the worker has closed the shard, while the worker's loop keeps
running and learns of it from :meth:`KafkaMembership.poll`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterable

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from exporter.bus.base import Assignment
from exporter.bus.kafka import config
from exporter.bus.kafka.faults import error_of, translate
from exporter.bus.kafka.lifetime import close_consumer, subscribed
from exporter.bus.kafka.topics import Names
from exporter.errors import ConfigurationError, ExporterError
from exporter.ops.log import describe
from exporter.settings.model import KafkaBus

log = structlog.get_logger()

#: How long a worker may take to finish a commit and close a revoked shard. The fence keeps us safe beyond it.
RELEASE_SECONDS = 30.0
#: When the worker's loop does not ask for so long it hangs: stop polling for it, so that its shards go to others.
SILENCE_SECONDS = 30.0
CLOSE_SECONDS = 20.0
REJOIN_SECONDS = 2.0


class KafkaMembership:
    """See ``exporter.bus.base.Membership``. Each poll reports one change."""

    def __init__(self, settings: KafkaBus) -> None:
        self._settings = settings
        self._heard = config.LastError()
        self._consumer = self._join()
        self._changed = threading.Condition()
        self._changes: deque[Assignment] = deque()
        self._owned: set[int] = set()
        self._leaving: set[int] = set()
        self._failure: ConfigurationError | None = None
        self._finished = False
        self._closing = False
        self._asked = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="kafka-membership", daemon=True)
        self._thread.start()

    def _join(self) -> Consumer:
        names = Names(self._settings.topic_prefix)
        try:
            return subscribed(
                config.membership(self._settings, names.workers_group, self._heard),
                [names.shards],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
        except KafkaException as exception:
            raise translate(error_of(exception), "joining the workers") from None

    # --- the worker's side --------------------------------------------------------------------------------------------

    def poll(self, timeout_seconds: float) -> Assignment:
        """See the port. Raises ConfigurationError when login or rights are refused; an unreachable broker only keeps us waiting."""
        with self._changed:
            self._asked = time.monotonic()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._changes or self._failure, timeout_seconds)
            if self._changes:
                return self._changes.popleft()
            if self._failure is not None:
                raise self._failure
            return Assignment()

    def owns(self, shard: int) -> bool:
        with self._changed:
            return shard in self._owned

    def released(self, shard: int) -> None:
        with self._changed:
            self._leaving.discard(shard)
            self._changed.notify_all()

    def close(self) -> None:
        """Leave the group; the writers must be closed before. Where librdkafka holds the thread longer than we wait, it leaves and
        closes the client when it comes back.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            log.warning("membership_leaves_late", waited_seconds=CLOSE_SECONDS)

    # --- the thread's side --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._ready_to_poll():
                if self._finished:
                    self._join_again()
                else:
                    self._poll_group()
        finally:
            self._leave()

    def _poll_group(self) -> None:
        try:
            message = self._consumer.poll(0.2)
            error = None if message is None else message.error()
        except KafkaException as exception:
            error = error_of(exception)
        if error is not None:
            self._look_at(error)
        elif not self._owned and self._heard.error is not None:
            self._look_at(self._heard.error)  # a refused login never comes as a message

    def _ready_to_poll(self) -> bool:
        """Wait while the worker is silent. False: it closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or time.monotonic() - self._asked < SILENCE_SECONDS)
            return not self._closing

    def _look_at(self, error: KafkaError) -> None:
        failure = translate(error, "membership of the workers", self._heard.error)
        if isinstance(failure, ConfigurationError):
            self._fail(failure)
        self._finished = self._finished or error.fatal()

    def _fail(self, failure: ConfigurationError) -> None:
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def _join_again(self) -> None:
        """This member is finished for good (fatal error): what it had is lost; begin as a new one."""
        with self._changed:
            if self._owned:
                self._changes.append(Assignment(lost=frozenset(self._owned)))
                self._owned.clear()
            self._changed.notify_all()
            if self._changed.wait_for(lambda: self._closing, REJOIN_SECONDS):
                return
        self._leave()
        try:
            self._consumer = self._join()
        except ConfigurationError as error:
            self._fail(error)
        except ExporterError as error:  # the next turn tries again
            log.warning("membership_unavailable", **describe(error))
        else:
            self._finished = False

    def _leave(self) -> None:
        with contextlib.suppress(KafkaException, RuntimeError):
            close_consumer(self._consumer)

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        with self._changed:
            gained = _shards(partitions)
            if gained:
                self._owned |= gained
                self._changes.append(Assignment(gained=gained))
                self._changed.notify_all()

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        with self._changed:
            revoked = _shards(partitions) & self._owned
            self._owned -= revoked
            if not revoked or self._closing:
                return
            self._leaving |= revoked
            self._changes.append(Assignment(revoked=revoked))
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closing or not self._leaving & revoked, RELEASE_SECONDS)
            self._leaving -= revoked

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        with self._changed:
            lost = _shards(partitions) & self._owned
            self._owned -= lost
            if lost and not self._closing:
                self._changes.append(Assignment(lost=lost))
                self._changed.notify_all()


def _shards(partitions: Iterable[TopicPartition]) -> frozenset[int]:
    return frozenset(partition.partition for partition in partitions)
