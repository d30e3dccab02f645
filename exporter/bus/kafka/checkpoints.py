"""Checkpoint records on their compacted topic, one partition per shard."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import Message

from exporter.bus.kafka.admin import Admin
from exporter.bus.kafka.scan import scan
from exporter.bus.kafka.topics import Names
from exporter.settings.model import KafkaBus


def load_shard(admin: Admin, settings: KafkaBus, shard: int) -> dict[str, bytes]:
    """Return the live records of a shard. Called after the fence: then no transaction of the shard is open, and the end asked for
    with READ_UNCOMMITTED holds everything that the predecessor committed. A read_committed consumer's own end would stop
    before any transaction still open and so could miss records.
    """
    place = (Names(settings.topic_prefix).checkpoints, shard)
    return _fold(scan(settings, admin.true_ends([place])))


def load_part(admin: Admin, settings: KafkaBus, partition: int) -> dict[str, bytes]:
    """Return the committed records of one partition, without a fence."""
    return _fold(scan(settings, admin.stable_ends([(Names(settings.topic_prefix).checkpoints, partition)])))


def load_all(admin: Admin, settings: KafkaBus) -> dict[str, bytes]:
    """Return the committed records of all shards, for ``status``. Where shards use the same key, one of them is returned."""
    topic = Names(settings.topic_prefix).checkpoints
    places = [(topic, shard) for shard in range(settings.shard_count)]
    return _fold(scan(settings, admin.stable_ends(places)))


def _fold(messages: Iterable[Message]) -> dict[str, bytes]:
    records: dict[str, bytes] = {}
    for message in messages:
        key, value = (message.key() or b"").decode(), message.value()
        if value is None:
            records.pop(key, None)
        else:
            records[key] = value
    return records
