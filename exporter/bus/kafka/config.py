"""The only module that builds librdkafka dictionaries. Each constant says why it is not librdkafka's default."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import structlog
from confluent_kafka import KafkaError

from exporter.ops.log import RateLimited
from exporter.settings.model import KafkaBus

#: Checkpoint records hold the event ids of one second (16 bytes each), so two million entries of one tenant may share it.
MAX_RECORD_BYTES = 32 * 1024 * 1024
#: librdkafka's default queue of 1 GiB would alone exceed the memory bound of a process.
QUEUE_KBYTES = 64 * 1024
#: Prefetch of a reader; the default of 64 MiB counts per consumer and adds to what the engine holds.
PREFETCH_KBYTES = 16 * 1024
#: One fetch per partition; a larger record still comes whole.
FETCH_BYTES = 2 * 1024 * 1024
#: A worker whose loop hangs this long loses its shards, although librdkafka's own thread still sends heartbeats.
MAX_POLL_SECONDS = 60.0
#: How long a client's last error explains what fails after it.
RECENT_SECONDS = 30.0
LINGER_MS = 50  # commits do not wait for it; without it batches never fill
#: With the default of 1 MB a page's events for one partition make two batches, and librdkafka's broker thread polls without
#: pause until the first is answered: 3 µs CPU an event, measured. Below what every event topic takes (8 MiB).
BATCH_BYTES = 4 * 1024 * 1024

log = structlog.get_logger()


class LibrdkafkaLog:
    """librdkafka's log lines as ours: one of a kind in ten seconds, or each reconnect of each client would be a line. They name
    brokers, topics and states, never records.
    """

    def __init__(self) -> None:
        self._limit = RateLimited()

    def log(self, level: int, _template: str, facility: str, client: str, text: str) -> None:
        """Called by the client's polling thread (confluent-kafka's ``logger`` option)."""
        if level >= logging.WARNING and (suppressed := self._limit.ready(facility)) is not None:
            log.warning("kafka_client", facility=facility, client=client, text=text, suppressed=suppressed)


ErrorCallback = Callable[[KafkaError], None]


_LOG = LibrdkafkaLog()


class LastError:
    """Remembers why a client cannot work. librdkafka hides a refused login behind endless reconnects and reports it to this callback only.
    What is older than :data:`RECENT_SECONDS` counts no more: a client that still cannot work hears it again and again.
    """

    def __init__(self) -> None:
        self._error: KafkaError | None = None
        self._at = 0.0

    @property
    def error(self) -> KafkaError | None:
        return self._error if time.monotonic() - self._at < RECENT_SECONDS else None

    def __call__(self, error: KafkaError) -> None:
        # "all brokers down" follows the real reason and would hide it
        if self.error is None or error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - librdkafka's public constant
            self._error, self._at = error, time.monotonic()


def client(settings: KafkaBus, on_error: ErrorCallback | None = None) -> dict[str, Any]:
    """Connection and security; also the whole configuration of an admin client."""
    made: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "loki-siem-exporter",
        "security.protocol": settings.security_protocol,
        # A broker that comes back is tried again within seconds instead of ten.
        "reconnect.backoff.max.ms": 2000,
        "topic.metadata.propagation.max.ms": 10000,
        "logger": _LOG,
    }
    if settings.security_protocol.startswith("SASL"):
        made |= {"sasl.mechanism": settings.sasl_mechanism, "sasl.username": settings.sasl_username}
        if settings.sasl_password_file is not None:
            made["sasl.password"] = settings.sasl_password_file.reveal()
    tls = settings.tls
    files = {
        "ssl.ca.location": tls.ca_file,
        "ssl.certificate.location": tls.cert_file,
        "ssl.key.location": tls.key_file,
    }
    made |= {key: str(path) for key, path in files.items() if path is not None}
    if on_error is not None:
        made["error_cb"] = on_error
    return made


def _producer(settings: KafkaBus, on_error: ErrorCallback | None) -> dict[str, Any]:
    return client(settings, on_error) | {
        "enable.idempotence": True,
        "linger.ms": LINGER_MS,
        "compression.type": settings.compression,
        # zstd's default level costs a quarter more CPU for 3 % fewer bytes; lz4 takes no heed of it here
        "compression.level": 1,
        # The Java clients' partitioner, so that other producers or tools find the same lane for a key.
        "partitioner": "murmur2_random",
        "batch.size": BATCH_BYTES,
        "message.max.bytes": MAX_RECORD_BYTES + 64 * 1024,
        "queue.buffering.max.kbytes": QUEUE_KBYTES,
        "queue.buffering.max.messages": 1_000_000,  # the bound is bytes; 100,000 would split small events
        "delivery.report.only.error": True,
    }


def transactional_producer(settings: KafkaBus, transactional_id: str, on_error: ErrorCallback) -> dict[str, Any]:
    """The writer of one shard. ``message.timeout.ms`` follows the transaction timeout: librdkafka derives it."""
    return _producer(settings, on_error) | {
        "transactional.id": transactional_id,
        "transaction.timeout.ms": int(settings.transaction_timeout_seconds * 1000),
    }


def plain_producer(settings: KafkaBus, on_error: ErrorCallback) -> dict[str, Any]:
    """Receipts and dead letters: small and waited for, so a short linger."""
    return _producer(settings, on_error) | {"linger.ms": 5, "message.timeout.ms": 30_000}


def _group(settings: KafkaBus, group: str, on_error: ErrorCallback | None) -> dict[str, Any]:
    made = client(settings, on_error) | {
        "group.id": group,
        "group.protocol": settings.group_protocol,
        "enable.auto.commit": False,
        "max.poll.interval.ms": int(max(MAX_POLL_SECONDS, settings.session_timeout_seconds) * 1000),
    }
    if settings.group_protocol == "classic":  # with KIP-848 these two are the broker's business and refused here
        made |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": int(settings.session_timeout_seconds * 1000),
            # A member learns of a hand-over with a heartbeat's answer; the default of 3 s would delay each by so much.
            "heartbeat.interval.ms": 1000,
        }
    return made


def membership(settings: KafkaBus, group: str, on_error: ErrorCallback) -> dict[str, Any]:
    """A member of the workers' group. The topic stays empty, so nothing is ever fetched."""
    return _group(settings, group, on_error) | {"auto.offset.reset": "latest", "queued.max.messages.kbytes": 1024}


def reader(settings: KafkaBus, group: str, on_error: ErrorCallback) -> dict[str, Any]:
    """A reader of events. ``error`` as reset: an unknown start or lost offsets must come to us, never be skipped over."""
    return _group(settings, group, on_error) | {
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        "enable.partition.eof": True,  # tells the position beyond transaction markers
        "queued.max.messages.kbytes": PREFETCH_KBYTES,
        "fetch.message.max.bytes": FETCH_BYTES,
        # The default pauses fetching for a second once the queue is full, which halves the rate.
        "fetch.queue.backoff.ms": 5,
    }


def scanner(settings: KafkaBus, group: str, isolation: str, on_error: ErrorCallback) -> dict[str, Any]:
    """Reads whole partitions by assignment; never joins the group nor commits (the id is asked for by the client)."""
    return client(settings, on_error) | {
        "group.id": group,
        "enable.auto.commit": False,
        "isolation.level": isolation,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 50,  # the end is known: nothing to wait for
        "queued.max.messages.kbytes": PREFETCH_KBYTES,
        "fetch.message.max.bytes": FETCH_BYTES,
    }
