"""The port's Kafka side put together."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

from exporter.bus.base import NO_HEADS, BusRecord, Lane, LaneRecords, LedgerRecord, OnRevoke, TargetPosition
from exporter.bus.kafka import checkpoints, ledger, topics
from exporter.bus.kafka.admin import Admin
from exporter.bus.kafka.appender import Appender
from exporter.bus.kafka.deadletters import KafkaDeadLetters
from exporter.bus.kafka.membership import KafkaMembership
from exporter.bus.kafka.reader import KafkaReader
from exporter.bus.kafka.scan import scan
from exporter.bus.kafka.writer import KafkaShardWriter, open_writer
from exporter.errors import ConfigurationError, ExporterError, Finding
from exporter.settings.model import KafkaBus


class KafkaEventBus:
    """See ``exporter.bus.base.Bus``."""

    def __init__(self, settings: KafkaBus) -> None:
        self._settings = settings
        self._names = topics.Names(settings.topic_prefix)
        self._appender = Appender(settings)
        self._lock = threading.Lock()
        self._made: Admin | None = None

    @property
    def _admin(self) -> Admin:
        with self._lock:
            if self._made is None:
                self._made = Admin(self._settings)
            return self._made

    @property
    def shard_count(self) -> int:
        return self._settings.shard_count

    def prepare(self, tenants: Sequence[str], targets: Sequence[str]) -> None:
        """See the port."""
        if findings := topics.name_findings(self._settings, self._names, tenants):
            raise ConfigurationError(findings)
        topics.ensure(self._admin, self._settings, self._plans(tenants, targets))

    def _plans(self, tenants: Sequence[str], targets: Sequence[str]) -> list[topics.TopicPlan]:
        events = [topics.plan_events(self._settings, self._names, tenant) for tenant in tenants]
        letters = [topics.plan_dead_letters(self._settings, self._names, target) for target in targets]
        return [*topics.plan_internal(self._settings, self._names), *events, *letters]

    def check(self) -> list[Finding]:
        """Look at the brokers and at those of our topics that exist."""
        try:
            existing = self._admin.topics()
            tenants = [t for name in existing if (t := self._names.tenant_of(name)) is not None]
            targets = [t for name in existing if (t := self._names.target_of(name)) is not None]
            found = topics.verify(self._admin, self._settings, self._plans(tenants, targets))
            missing = [plan.name for plan in self._plans((), ()) if plan.name not in existing]
            if missing and not self._settings.create_topics:
                cure = "Create it, or set bus.create_topics: true."
                found += [Finding(f"bus (topic {name})", "it does not exist", cure) for name in missing]
            brokers = self._admin.broker_count()
            if missing and brokers < self._settings.replication_factor:
                found.append(topics.replication_finding(self._settings, brokers))
        except ConfigurationError as error:
            return list(error.findings)
        except ExporterError as error:
            return [Finding("bus.bootstrap_servers", error.message, error.hint or "Is the broker up?")]
        return found

    def membership(self, worker: str) -> KafkaMembership:  # noqa: ARG002 - Kafka names its members itself
        """See the port."""
        return KafkaMembership(self._settings)

    def open_shard(self, shard: int, worker: str) -> KafkaShardWriter:  # noqa: ARG002 - the transactional id is the shard's
        """See the port."""
        return open_writer(self._settings, shard)

    def reader(self, target: str, tenants: Sequence[str], worker: str, on_revoke: OnRevoke) -> KafkaReader:  # noqa: ARG002
        """See the port."""
        return KafkaReader(self._settings, self._admin, target, tenants, on_revoke)

    def dead_letters(self) -> KafkaDeadLetters:
        """See the port."""
        return KafkaDeadLetters(self._settings, self._admin, self._appender)

    def append_receipts(self, records: Sequence[bytes], heads: Mapping[str, bytes | None] = NO_HEADS) -> None:
        """See the port."""
        ledger.append(self._appender, self._names, records, heads)

    def ledger(self, part: int | None = None, *, last: int | None = None, since_ms: int = 0) -> Iterator[LedgerRecord]:
        """See the port."""
        if part is not None and last is not None:
            return iter(ledger.tail(self._admin, self._settings, part, last))
        return ledger.read(self._admin, self._settings, part, since_ms)

    def all_checkpoints(self, part: int | None = None) -> dict[str, bytes]:
        """See the port."""
        if part is None:
            return checkpoints.load_all(self._admin, self._settings)
        return checkpoints.load_part(self._admin, self._settings, max(part, ledger.RECEIPTS_PARTITION))

    def events(self, tenant: str, positions: Mapping[Lane, int]) -> Iterator[LaneRecords]:
        """See the port. A tenant without a topic yet has no events."""
        topic = self._names.events(tenant)
        partitions, _ = self._admin.topics().get(topic, (0, 0))
        ends = self._admin.stable_ends([(topic, partition) for partition in range(partitions)])
        starts = {(topic, lane.partition): position for lane, position in positions.items()}
        for message in scan(self._settings, ends, starts=starts):
            offset, value = message.offset() or 0, message.value()
            if value is not None:
                record = BusRecord(offset, message.key() or b"", value, message.timestamp()[1])
                yield LaneRecords(Lane(tenant, message.partition() or 0), [record], offset + 1)

    def positions(self, targets: Sequence[str], tenants: Sequence[str]) -> list[TargetPosition]:
        """See the port. Tenants without a topic yet are left out."""
        existing = self._admin.topics()
        lanes = {
            (topic, partition): Lane(tenant, partition)
            for tenant in tenants
            if (topic := self._names.events(tenant)) in existing
            for partition in range(existing[topic][0])
        }
        ends, starts = self._admin.stable_ends(lanes), self._admin.starts(lanes)
        result = []
        for target in targets:
            committed = self._admin.committed(self._names.delivery_group(target), list(lanes))
            for place, lane in lanes.items():
                result.append(TargetPosition(target, lane, committed.get(place, starts[place]), ends[place]))
        return result

    def close(self) -> None:
        """Let go of the producer of receipts and dead letters."""
        self._appender.close()
