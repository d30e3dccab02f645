"""Salts on a compacted Kafka topic of the tenant's own, for several machines.

Protocol. A record's key is the place followed by 8 random bytes of the writer, so compaction never lets one writer's candidate
replace another's, and it keeps offsets. The salt of a place is the live candidate with the lowest offset. A writer appends its
candidate (``acks=all``), reads the log until it sees it, and only then decides: every candidate before its own has been read, any
that comes later has a higher offset, so all writers decide alike, and so does who reads the topic a year later. A crash in
between leaves a candidate, which does no harm. Deleting writes a tombstone for every candidate of a place; a candidate that a
racing writer appends after that is a new salt, as if the person came again.

The log is followed into a temporary SQLite file, which the operating system removes with the process: memory stays bounded, and a
look-up costs no round trip. Its values are sealed as they are on the topic.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from exporter.bus.kafka import config
from exporter.bus.kafka.admin import Admin
from exporter.bus.kafka.appender import Appended, Appender
from exporter.bus.kafka.faults import error_of, translate
from exporter.bus.kafka.lifetime import close_consumer, new_consumer
from exporter.bus.kafka.topics import Names, ensure, plan_pseudonyms
from exporter.errors import BusUnavailable, ConfigurationError, PseudonymsUnavailable
from exporter.pseudonyms.store import Place
from exporter.settings.model import KafkaBus

_WRITER_BYTES = 8
#: Longest wait for the log to show what was appended, or its end.
SILENCE_SECONDS = 30.0
TAKE_RECORDS = 1000
#: Places asked for in one statement (see ``exporter.pseudonyms.sqlite``).
_CHUNK = 900


class KafkaSaltStore:
    """See ``exporter.pseudonyms.store.SaltStore``."""

    def __init__(self, settings: KafkaBus, tenant: str) -> None:
        self._settings, self._tenant = settings, tenant
        self._names = Names(settings.topic_prefix)
        self._topic = self._names.pseudonyms(tenant)
        self._appender = Appender(settings)
        self._heard = config.LastError()
        self._consumer: Consumer | None = None
        self._generation = 0
        self._position = 0  # everything below was read
        self._awaited: set[bytes] = set()
        self._view = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._view.execute("CREATE TABLE candidates (key BLOB PRIMARY KEY, place BLOB, offset INTEGER, sealed BLOB)")
        self._view.execute("CREATE INDEX by_place ON candidates (place, offset)")

    def get(self, places: Iterable[Place]) -> dict[Place, bytes]:
        """See the port. What is missing in the view may have been added elsewhere a moment ago: :meth:`add` tells."""
        self._follow()
        return self._first(list(places))

    def add(self, records: Mapping[Place, bytes]) -> dict[Place, bytes]:
        """See the port and the module."""
        self._follow()
        found = self._first(list(records))
        mine = {place + os.urandom(_WRITER_BYTES): sealed for place, sealed in records.items() if place not in found}
        self._append(mine)
        self._read_until(set(mine))
        stored = self._first(list(records))
        if len(stored) != len(records):  # deleted by somebody between our record and the end of what we read
            raise PseudonymsUnavailable("pseudonyms were deleted while they were made", hint="it is tried again")
        return stored

    def places(self, prefix: bytes) -> list[Place]:
        """See the port. Reads up to the present end of the log first."""
        self._follow_to_end()
        query = "SELECT DISTINCT place FROM candidates WHERE substr(place, 1, ?) = ? ORDER BY place"
        return [row[0] for row in self._view.execute(query, (len(prefix), prefix))]

    def delete(self, places: Iterable[Place]) -> int:
        """See the port."""
        self._follow_to_end()
        there = [place for place in dict.fromkeys(places) if self._first([place])]
        keys = [row[0] for p in there for row in self._view.execute("SELECT key FROM candidates WHERE place = ?", (p,))]
        self._append(dict.fromkeys(keys))
        self._follow_to_end()
        return len(there)

    def generation(self) -> int:
        """See the port. Rises when a tombstone was read, here within the time that Kafka takes to bring it."""
        self._follow()
        return self._generation

    def close(self) -> None:
        """Let go of the clients; the next call makes them again."""
        self._appender.close()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            try:
                close_consumer(consumer)
            except KafkaException:
                return  # it stays referenced (see exporter.bus.kafka.lifetime)

    # --- the log ------------------------------------------------------------------------------------------------------

    def _append(self, records: Mapping[bytes, bytes | None]) -> None:
        try:
            self._appender.append([Appended(self._topic, key, value) for key, value in records.items()])
        except (BusUnavailable, ConfigurationError) as error:
            raise _unavailable(error) from None

    def _opened(self) -> Consumer:
        """Return the consumer, making it and the topic first. A new one is brought to the end of the log."""
        if self._consumer is not None:
            return self._consumer
        try:
            ensure(Admin(self._settings), self._settings, [plan_pseudonyms(self._settings, self._names, self._tenant)])
        except (BusUnavailable, ConfigurationError) as error:
            raise _unavailable(error) from None
        consumer = new_consumer(config.scanner(self._settings, self._names.scan_group, "read_uncommitted", self._heard))
        consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
        self._view.execute("DELETE FROM candidates")
        self._position = 0
        self._generation += 1  # tombstones may have been missed while there was no consumer
        self._consumer = consumer
        self._follow_to_end()
        return consumer

    def _follow(self) -> None:
        """Take in what has come, without waiting."""
        consumer = self._opened()
        while self._take(consumer, 0.0):
            pass

    def _follow_to_end(self) -> None:
        """Read up to where the log ends now."""
        consumer = self._opened()
        try:
            _, end = consumer.get_watermark_offsets(TopicPartition(self._topic, 0), timeout=SILENCE_SECONDS)
        except KafkaException as exception:
            raise self._failed(exception) from None
        self._read(lambda: self._position >= end)

    def _read_until(self, keys: set[bytes]) -> None:
        """Read until every one of these records was seen, or its tombstone."""
        if keys:
            self._awaited = set(keys)
            self._read(lambda: not self._awaited)

    def _read(self, done: Callable[[], bool]) -> None:
        consumer = self._opened()
        deadline = time.monotonic() + SILENCE_SECONDS
        while not done():
            if self._take(consumer, 0.1):
                deadline = time.monotonic() + SILENCE_SECONDS
            elif time.monotonic() > deadline:
                self.close()
                raise PseudonymsUnavailable("Kafka: the log of pseudonyms does not go on", hint="is the broker up?")

    def _take(self, consumer: Consumer, wait_seconds: float) -> int:
        try:
            messages = consumer.consume(1, wait_seconds)
            if messages:
                messages += consumer.consume(TAKE_RECORDS, 0)
        except KafkaException as exception:
            raise self._failed(exception) from None
        taken = 0
        self._view.execute("BEGIN")
        for message in messages:
            error = message.error()
            if error is None:
                self._store(message)
                self._position = (message.offset() or 0) + 1
                taken += 1
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's public constant
                # It names the end even where compaction has taken the last records.
                self._position = max(self._position, message.offset() or 0)
            elif not error.retriable():
                self._view.execute("COMMIT")
                raise self._failed(KafkaException(error))
        self._view.execute("COMMIT")
        return taken

    def _store(self, message: Message) -> None:
        key, value = message.key() or b"", message.value()
        self._awaited.discard(key)
        if value is None:
            if self._view.execute("DELETE FROM candidates WHERE key = ?", (key,)).rowcount:
                self._generation += 1
        else:
            row = (key, key[:-_WRITER_BYTES], message.offset(), value)
            # A record repeated by the client has the same key; the first offset counts.
            self._view.execute("INSERT OR IGNORE INTO candidates VALUES (?, ?, ?, ?)", row)

    def _failed(self, exception: KafkaException) -> PseudonymsUnavailable:
        translated = translate(error_of(exception), "following the pseudonyms", self._heard.error)
        self.close()
        return _unavailable(translated)

    def _first(self, places: list[Place]) -> dict[Place, bytes]:
        found: dict[Place, bytes] = {}
        for at in range(0, len(places), _CHUNK):
            chunk = places[at : at + _CHUNK]
            marks = ",".join("?" * len(chunk))
            # SQLite: beside min() the other columns are of the row that has it (sqlite.org/lang_select.html#bareagg).
            query = f"SELECT place, sealed, min(offset) FROM candidates WHERE place IN ({marks}) GROUP BY place"  # noqa: S608 (question marks only)
            found.update((place, sealed) for place, sealed, _ in self._view.execute(query, chunk))
        return found


def _unavailable(error: Exception) -> PseudonymsUnavailable:
    message = getattr(error, "message", type(error).__name__)
    return PseudonymsUnavailable(message, hint=getattr(error, "hint", "") or "pseudonyms wait for Kafka")
