"""The bus read from outside, without the exporter's own readers, and compared with what Loki took.

Nothing here prints an event: comparisons are numbers of missing, foreign and repeated ids.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from exporter.bus.kafka.topics import Names
from exporter.bus.sqlite.blocks import unpack
from exporter.custody.ledger import verify_chain
from exporter.domain.checkpoints import CHAIN_KEY, LiveCheckpoint
from exporter.domain.events import event_id_of
from exporter.domain.ids import add_fingerprints, fingerprint
from tests.support.feed import Feed
from tests.support.programs import PATIENCE_SECONDS


@dataclass(repr=False)
class BusContents:
    """Committed events per tenant, ledger records per shard, checkpoint records per shard."""

    events: dict[str, list[bytes]]
    ledger: dict[int, list[bytes]]
    checkpoints: dict[int, dict[str, bytes]]

    def ids(self, tenant: str) -> list[str]:
        return [event_id_of(value) for value in self.events.get(tenant, [])]

    def late_ids(self, tenant: str) -> list[str]:
        """Ids of events that are marked as late."""
        return [event["event.id"] for event in map(json.loads, self.events.get(tenant, [])) if event["late"]]

    def lives(self) -> dict[str, LiveCheckpoint]:
        """Live checkpoints by tenant."""
        raw = [v for records in self.checkpoints.values() for k, v in records.items() if k.startswith("live/")]
        return {live.tenant: live for live in map(LiveCheckpoint.decode, raw)}


def sqlite_contents(path: Path) -> BusContents:
    """Read the file as it is, without the exporter's reader (which would subscribe a target)."""
    events: dict[str, list[bytes]] = {}
    ledger: dict[int, list[bytes]] = {}
    checkpoints: dict[int, dict[str, bytes]] = {}
    if not path.exists():
        return BusContents(events, ledger, checkpoints)
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as db:
        if not db.execute("PRAGMA user_version").fetchone()[0]:  # being made
            return BusContents(events, ledger, checkpoints)
        db.execute("BEGIN")
        rows = "SELECT tenant, first_offset, data FROM blocks JOIN lanes ON lanes.id = lane ORDER BY blocks.id"
        for tenant, first, data in db.execute(rows):
            events.setdefault(tenant, []).extend(record.value for record in unpack(data, first, first, 0))
        for shard, record in db.execute("SELECT shard, record FROM ledger WHERE shard IS NOT NULL ORDER BY id"):
            ledger.setdefault(shard, []).append(record)
        for shard, key, value in db.execute("SELECT shard, key, value FROM checkpoints"):
            checkpoints.setdefault(shard, {})[key] = value
    return BusContents(events, ledger, checkpoints)


def kafka_messages(bootstrap_servers: str, topics: Sequence[str]) -> Iterator[tuple[str, int, bytes, bytes | None]]:
    """Yield topic, partition, key and value of every committed record up to the end of each partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "outside-check",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        known = AdminClient({"bootstrap.servers": bootstrap_servers}).list_topics(timeout=20).topics
        places = {(t, p) for t in topics if t in known for p in known[t].partitions}
        consumer.assign([TopicPartition(t, p, OFFSET_BEGINNING) for t, p in sorted(places)])
        deadline = time.monotonic() + PATIENCE_SECONDS
        while places:
            assert time.monotonic() < deadline, f"{len(places)} partitions cannot be read to their end"
            for message in consumer.consume(1000, 0.2):
                place = (message.topic() or "", message.partition() or 0)
                if (error := message.error()) is None:
                    yield (*place, message.key() or b"", message.value())
                elif error.code() == KafkaError._PARTITION_EOF:
                    places.discard(place)
    finally:
        consumer.close()


def kafka_topics(bootstrap_servers: str, prefix: str) -> list[str]:
    """All topics of one installation."""
    known = AdminClient({"bootstrap.servers": bootstrap_servers}).list_topics(timeout=20).topics
    return sorted(name for name in known if name.startswith(f"{prefix}."))


def kafka_contents(bootstrap_servers: str, prefix: str, tenants: Sequence[str]) -> BusContents:
    """Read the topics with a plain ``read_committed`` consumer."""
    names = Names(prefix)
    contents = BusContents({}, {}, {})
    topics = [names.checkpoints, names.ledger, *(names.events(tenant) for tenant in tenants)]
    for topic, partition, key, value in kafka_messages(bootstrap_servers, topics):
        if topic == names.checkpoints:
            records = contents.checkpoints.setdefault(partition, {})
            if value is None:
                records.pop(key.decode(), None)
            else:
                records[key.decode()] = value
        elif value is None:
            continue
        elif topic == names.ledger:
            if key == b"commit":
                contents.ledger.setdefault(partition, []).append(value)
        else:
            contents.events.setdefault(names.tenant_of(topic) or "", []).append(value)
    return contents


@dataclass(frozen=True)
class Difference:
    """How two collections of event ids differ, in numbers."""

    missing: int = 0
    foreign: int = 0
    repeated: int = 0


def difference(expected: Iterable[str], found: Iterable[str]) -> Difference:
    """Compare as sets, and count what was found more than once."""
    wanted, have = set(expected), Counter(found)
    return Difference(len(wanted - have.keys()), len(have.keys() - wanted), have.total() - len(have))


def assert_exactly_once(contents: BusContents, feed: Feed) -> None:
    """On the bus stands every accepted line exactly once, and checkpoints and ledger agree with it."""
    found = {tenant: difference(feed.ids(tenant), contents.ids(tenant)) for tenant in feed.tenants}
    assert found == {tenant: Difference() for tenant in feed.tenants}
    assert_accounted(contents)


def assert_accounted(contents: BusContents) -> None:
    """Ledger chains verify and end where the checkpoints say; their counts and fingerprints are those of the events."""
    counts: Counter[str] = Counter()
    prints: dict[str, int] = {}
    for shard, records in contents.ledger.items():
        number, digest = verify_chain(records)
        assert contents.checkpoints[shard][CHAIN_KEY] == f"{number} {digest}".encode()
        for record in map(json.loads, records):
            for entry in record["entries"]:
                counts[entry["tenant"]] += entry["events_out"]
                before = prints.get(entry["tenant"], 0)
                prints[entry["tenant"]] = add_fingerprints(before, int(entry["fingerprint"], 16))
    lives = contents.lives()
    for tenant, values in contents.events.items():
        assert lives[tenant].held == 0
        assert (counts[tenant], lives[tenant].events) == (len(values), len(values))
        assert prints[tenant] == fingerprint(bytes.fromhex(event_id) for event_id in contents.ids(tenant))
