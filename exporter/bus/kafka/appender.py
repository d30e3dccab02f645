"""Durable single records outside the shards' transactions: receipts and dead letters."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from exporter.bus.kafka import config
from exporter.bus.kafka.faults import error_of, translate
from exporter.bus.kafka.writer import purge
from exporter.errors import BusUnavailable
from exporter.settings.model import KafkaBus

#: Longer than ``message.timeout.ms``, so that every record has its answer.
FLUSH_SECONDS = 35.0


class Appended(NamedTuple):
    """A record to append; a value of None is a tombstone."""

    topic: str
    key: bytes
    value: bytes | None
    headers: dict[str, str | bytes | None] = {}  # noqa: RUF012 - never changed


class Appender:
    """One idempotent producer, made when first needed. Safe for several threads: each append waits for all records."""

    def __init__(self, settings: KafkaBus) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._heard = config.LastError()
        self._producer: Producer | None = None

    def append(self, records: Sequence[Appended]) -> None:
        """Return when all are acknowledged by the in-sync replicas. Raises BusUnavailable, ConfigurationError; then some of the
        records may be there, and appending all again is right.
        """
        if not records:
            return
        with self._lock:
            try:
                self._append(records)
            except KafkaException as exception:
                self._drop()
                raise translate(error_of(exception), "appending records", self._heard.error) from None

    def _append(self, records: Sequence[Appended]) -> None:
        producer = self._producer
        if producer is None:
            producer = self._producer = Producer(config.plain_producer(self._settings, self._heard))
        failed: list[KafkaError] = []

        def report(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failed.append(error)

        for record in records:
            while True:
                try:
                    headers = list(record.headers.items())
                    producer.produce(record.topic, record.value, record.key, on_delivery=report, headers=headers)
                    break
                except BufferError:
                    producer.poll(0.05)
        left = producer.flush(FLUSH_SECONDS)
        if failed:
            raise KafkaException(failed[0])
        if left:
            self._drop()
            raise BusUnavailable("Kafka: records were not acknowledged in time", hint="the broker cannot be reached")

    def _drop(self) -> None:
        """A producer that failed may be finished for good (fatal error); the next append builds another."""
        producer, self._producer = self._producer, None
        if producer is not None:
            purge(producer)

    def close(self) -> None:
        with self._lock:
            self._drop()
