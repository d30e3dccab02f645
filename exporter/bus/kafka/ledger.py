"""The ledger's topic: a partition per shard, written in its transactions, and the receipts with a key of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import Message

from exporter.bus.base import RECEIPTS, LedgerRecord
from exporter.bus.kafka.admin import Admin, Place
from exporter.bus.kafka.appender import Appended, Appender
from exporter.bus.kafka.scan import scan
from exporter.bus.kafka.topics import Names
from exporter.settings.model import KafkaBus

#: Receipts, and the heads of their chains among the checkpoints, stand in the partitions of this number. (Receipts of earlier
#: releases stand where their key put them.)
RECEIPTS_PARTITION = 0
COMMIT_KEY, RECEIPT_KEY = b"commit", b"receipt"


def append(appender: Appender, names: Names, records: Sequence[bytes], heads: Mapping[str, bytes | None]) -> None:
    """Append receipts, and when they are durable the ends of their chains: whoever sees an end must find its record."""
    place = RECEIPTS_PARTITION
    appender.append([Appended(names.ledger, RECEIPT_KEY, record, partition=place) for record in records])
    appender.append([Appended(names.checkpoints, key.encode(), end, partition=place) for key, end in heads.items()])


def read(admin: Admin, settings: KafkaBus, part: int | None, since_ms: int) -> Iterator[LedgerRecord]:
    """Yield committed records: of all partitions, where receipts are wanted, in turn as they come.

    Up to the true ends: receipts stand behind open transactions of shard 0 and are seen when those have ended. A record that a
    checkpoint read before speaks of must not be missing.
    """
    topic = Names(settings.topic_prefix).ledger
    wanted = range(settings.shard_count) if part is None or part == RECEIPTS else [part]
    ends = admin.true_ends([(topic, partition) for partition in wanted])
    starts = admin.since(ends, since_ms) if since_ms else {}
    for message in scan(settings, ends, starts=starts):
        record = _record(message)
        if part in {None, record.part}:
            yield record


def tail(admin: Admin, settings: KafkaBus, part: int, last: int) -> list[LedgerRecord]:
    """Return the last records of a part, looking further back until enough are found: shard 0 shares its partition with the
    receipts, and every transaction's marker has an offset.
    """
    place = (Names(settings.topic_prefix).ledger, max(part, RECEIPTS_PARTITION))
    end, begin = admin.true_ends([place])[place], admin.starts([place])[place]
    span = 2 * last
    while True:
        starts: dict[Place, int] = {place: max(begin, end - span)}
        found = [r for r in map(_record, scan(settings, {place: end}, starts=starts)) if r.part == part]
        if len(found) >= last or starts[place] == begin:
            return found[-last:]
        span *= 8


def _record(message: Message) -> LedgerRecord:
    part = RECEIPTS if message.key() == RECEIPT_KEY else message.partition() or 0
    return LedgerRecord(part, message.value() or b"")
