"""Topic names and the settings that topics must have: created when missing, verified when there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from exporter.bus.base import MAX_EVENT_BYTES
from exporter.bus.kafka.admin import Admin
from exporter.bus.kafka.config import MAX_RECORD_BYTES
from exporter.errors import BusUnavailable, ConfigurationError, Finding
from exporter.settings.model import KafkaBus

#: Kafka's own limit of a topic name (kafka ``Topic.MAX_NAME_LENGTH``).
MAX_NAME_LENGTH = 249
#: A record on the wire is its value plus key, headers and batch head.
RECORD_OVERHEAD_BYTES = 1024 * 1024
#: Whoever bounds the ledger's topic keeps at least this much: time enough for ``ledger export`` from a monthly job that failed twice.
LEDGER_LEAST_SECONDS = 90 * 86_400
#: How long new topics may take to appear in the metadata.
CREATION_SECONDS = 30.0
_LEGAL = re.compile(r"[A-Za-z0-9-]")
_ESCAPED = re.compile(r"__|_([0-9a-f]{2})")


def escape_tenant(tenant: str) -> str:
    """Return the tenant as part of a topic name, reversibly. Loki allows ``!*'()``, Kafka does not; and Kafka refuses two topics
    that differ only in ``.`` and ``_`` (kafka ``Topic.hasCollision``), so the dot is escaped as well: ``a_b`` → ``a__b``,
    ``a.b`` → ``a_2eb``.
    """
    return "".join(c if _LEGAL.match(c) else "__" if c == "_" else f"_{ord(c):02x}" for c in tenant)


def unescape_tenant(text: str) -> str:
    """The reverse of :func:`escape_tenant`."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)) if match[1] else "_", text)


@dataclass(frozen=True, slots=True)
class Names:
    """Every topic, group and transactional id of one installation."""

    prefix: str

    def events(self, tenant: str) -> str:
        return f"{self.prefix}.events.{escape_tenant(tenant)}"

    def tenant_of(self, topic: str) -> str | None:
        """Return the tenant of an events topic, None for any other topic."""
        head = f"{self.prefix}.events."
        return unescape_tenant(topic.removeprefix(head)) if topic.startswith(head) else None

    @property
    def checkpoints(self) -> str:
        return f"{self.prefix}.checkpoints"

    @property
    def ledger(self) -> str:
        return f"{self.prefix}.ledger"

    @property
    def shards(self) -> str:
        return f"{self.prefix}.shards"

    def dead_letters(self, target: str) -> str:
        return f"{self.prefix}.dlq.{target}"

    def target_of(self, topic: str) -> str | None:
        """Return the target of a dead letter topic, None for any other topic."""
        head = f"{self.prefix}.dlq."
        return topic.removeprefix(head) if topic.startswith(head) else None

    def pseudonyms(self, tenant: str) -> str:
        return f"{self.prefix}.pseudonyms.{escape_tenant(tenant)}"

    @property
    def workers_group(self) -> str:
        return f"{self.prefix}.workers"

    def delivery_group(self, target: str) -> str:
        return f"{self.prefix}.delivery.{target}"

    @property
    def scan_group(self) -> str:
        return f"{self.prefix}.scan"

    def transactional_id(self, shard: int) -> str:
        return f"{self.prefix}-shard-{shard}"


Check = Callable[[str], bool]


def _at_least(number: int) -> Check:
    return lambda value: int(value) >= number


def _kept(seconds: int) -> Check:
    """Retention of at least so long; -1 means for ever."""
    return lambda value: int(value) < 0 or int(value) >= seconds * 1000


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """What a topic is made of. ``exact_partitions``: its number has a meaning (a shard each); otherwise it is only for creation."""

    name: str
    partitions: int
    exact_partitions: bool
    settings: Mapping[str, str]
    checks: Mapping[str, Check] = field(default_factory=dict)

    def findings(self, partitions: int, replicas: int, found: Mapping[str, str], settings: KafkaBus) -> list[Finding]:
        """Compare with what exists."""
        path = f"bus (topic {self.name})"
        result = []
        if self.exact_partitions and partitions != self.partitions:
            reason = f"it has {partitions} partitions, one per shard needs {self.partitions}"
            result.append(
                Finding(path, reason, f"Set bus.shard_count to {partitions}, or use another bus.topic_prefix.")
            )
        if replicas < settings.replication_factor:
            reason = f"it has {replicas} replicas, bus.replication_factor says {settings.replication_factor}"
            result.append(
                Finding(path, reason, "Reassign it with kafka-reassign-partitions, or lower bus.replication_factor.")
            )
        for key, wanted in self.settings.items():
            check = self.checks.get(key, wanted.__eq__)
            if key in found and not check(found[key]):
                alter = (
                    f"kafka-configs --alter --entity-type topics --entity-name {self.name} --add-config {key}={wanted}"
                )
                result.append(Finding(path, f"{key} is {found[key]}, needed is {wanted}", f"Run: {alter}"))
        return result


def _plan(settings: KafkaBus, name: str, partitions: int, *, exact: bool, policy: str, **extra: str) -> TopicPlan:
    made = {"cleanup.policy": policy, "min.insync.replicas": str(settings.min_insync_replicas)}
    made |= {key.replace("_", "."): value for key, value in extra.items()}
    checks: dict[str, Check] = {"min.insync.replicas": _at_least(settings.min_insync_replicas)}
    if "max.message.bytes" in made:
        checks["max.message.bytes"] = _at_least(int(made["max.message.bytes"]))
    # Tuning of compaction and of an event topic's retention is the operator's; only what correctness needs is checked.
    free = ("segment.ms", "segment.bytes", "min.cleanable.dirty.ratio", "delete.retention.ms")
    checks |= dict.fromkeys(free, lambda _value: True)
    if policy == "delete":
        checks["retention.ms"] = _kept(3600)
    return TopicPlan(name, partitions, exact, made, checks)


def plan_events(settings: KafkaBus, names: Names, tenant: str) -> TopicPlan:
    """One tenant's events."""
    return _plan(
        settings,
        names.events(tenant),
        settings.partitions,
        exact=False,
        policy="delete",
        retention_ms=str(settings.retention_seconds * 1000),
        max_message_bytes=str(MAX_EVENT_BYTES + RECORD_OVERHEAD_BYTES),
    )


def plan_dead_letters(settings: KafkaBus, names: Names, target: str) -> TopicPlan:
    """One target's dead letters: keyed by bus position, a tombstone resolves one. One partition, so that they keep their order."""
    return _plan(
        settings,
        names.dead_letters(target),
        1,
        exact=True,
        policy="compact",
        max_message_bytes=str(MAX_EVENT_BYTES + RECORD_OVERHEAD_BYTES),
    )


def plan_pseudonyms(settings: KafkaBus, names: Names, tenant: str) -> TopicPlan:
    """One tenant's salts. One partition: who came first is told by the offset. What was deleted must be gone within two days:
    closed segments are compacted by ``max.compaction.lag.ms`` at the latest, and tombstones stay long enough for every reader.
    """
    return _plan(
        settings,
        names.pseudonyms(tenant),
        1,
        exact=True,
        policy="compact",
        segment_ms="3600000",
        max_compaction_lag_ms="86400000",
        delete_retention_ms="86400000",
        min_cleanable_dirty_ratio="0.01",
    )


def plan_internal(settings: KafkaBus, names: Names) -> list[TopicPlan]:
    """Checkpoints, ledger and shards: a partition per shard each."""
    shards = settings.shard_count
    large = str(MAX_RECORD_BYTES + RECORD_OVERHEAD_BYTES)
    # A take-over reads the whole partition, and the cleaner never touches the active segment: keep segments small and clean
    # early. Tombstones may go after an hour: readers start at the beginning and are done in seconds.
    compaction = {
        "segment_ms": "600000",
        "segment_bytes": str(64 * 1024 * 1024),
        "min_cleanable_dirty_ratio": "0.1",
        "delete_retention_ms": "3600000",
        "max_message_bytes": large,
    }
    return [
        _plan(settings, names.checkpoints, shards, exact=True, policy="compact", **compaction),
        _plan_ledger(settings, names, large),
        _plan(settings, names.shards, shards, exact=True, policy="delete"),
    ]


def _plan_ledger(settings: KafkaBus, names: Names, max_message_bytes: str) -> TopicPlan:
    """Kept for ever; a broker's own bounds (``log.retention.*``) must not cut it."""
    plan = _plan(
        settings,
        names.ledger,
        settings.shard_count,
        exact=True,
        policy="delete",
        retention_ms="-1",
        retention_bytes="-1",
        max_message_bytes=max_message_bytes,
    )
    return replace(plan, checks={**plan.checks, "retention.ms": _kept(LEDGER_LEAST_SECONDS)})


def name_findings(settings: KafkaBus, names: Names, tenants: Sequence[str]) -> list[Finding]:
    """Tenants whose topic name would be longer than Kafka allows."""
    return [
        Finding(
            "bus.topic_prefix",
            f"the topic of tenant {tenant!r} would have more than {MAX_NAME_LENGTH} characters",
            f"Shorten the prefix {settings.topic_prefix!r}, or name the tenant shorter and give its org_id.",
        )
        for tenant in tenants
        if len(names.events(tenant)) > MAX_NAME_LENGTH
    ]


def replication_finding(settings: KafkaBus, brokers: int) -> Finding:
    """More replicas asked for than there are brokers."""
    reason = f"{settings.replication_factor} replicas need as many brokers, {brokers} answered"
    cure = f"Set it to at most {brokers}, and bus.min_insync_replicas to no more."
    return Finding("bus.replication_factor", reason, cure)


def verify(admin: Admin, settings: KafkaBus, plans: Sequence[TopicPlan]) -> list[Finding]:
    """Compare the topics that exist with their plans; missing ones are no finding here."""
    existing = admin.topics()
    present = [plan for plan in plans if plan.name in existing]
    found = admin.configs(plan.name for plan in present)
    return [f for plan in present for f in plan.findings(*existing[plan.name], found[plan.name], settings)]


def ensure(admin: Admin, settings: KafkaBus, plans: Sequence[TopicPlan]) -> None:
    """Create what is missing, verify what is there. Raises ConfigurationError with all findings, BusUnavailable."""
    existing = admin.topics()
    missing = [plan for plan in plans if plan.name not in existing]
    if missing and not settings.create_topics:
        cure = "Create it, or set bus.create_topics: true."
        raise ConfigurationError([Finding(f"bus (topic {p.name})", "it does not exist", cure) for p in missing])
    if missing and (brokers := admin.broker_count()) < settings.replication_factor:
        raise ConfigurationError([replication_finding(settings, brokers)])
    admin.create(missing, settings.replication_factor)
    _wait_until_known(admin, {plan.name for plan in missing})
    if findings := verify(admin, settings, plans):
        raise ConfigurationError(findings)


def _wait_until_known(admin: Admin, names: set[str]) -> None:
    deadline = time.monotonic() + CREATION_SECONDS
    while names - admin.topics().keys():
        if time.monotonic() > deadline:
            raise BusUnavailable("Kafka: new topics do not appear in the metadata", hint="see the controller's log")
        time.sleep(0.1)
