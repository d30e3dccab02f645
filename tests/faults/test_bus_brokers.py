"""Brokers that die: one of three (replication 3, two in-sync replicas needed), two of three, one whose disk is full."""

from __future__ import annotations

import resource
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.bus import create_bus
from exporter.bus.kafka.topics import Names
from exporter.errors import BusUnavailable, CommitAborted, ExporterError, Fenced
from exporter.settings.model import KafkaBus
from tests.support.buses import numbered, verify
from tests.support.fixtures import kafka_settings
from tests.support.kafka import KafkaServer
from tests.support.kafka_cluster import KafkaCluster
from tests.support.programs import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(240)]


class Committing:
    """Owns shard 0 and commits numbered events as a worker does: the same writer again where nothing was written, else anew."""

    def __init__(self, settings: KafkaBus) -> None:
        self._bus = create_bus(settings)
        self._end = threading.Event()
        self.next = 0  # after the last commit that was acknowledged
        self.refused: Counter[str] = Counter()
        self.texts: set[str] = set()
        self.foreign: str | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self._own()
            except (BusUnavailable, CommitAborted, Fenced) as error:
                self._note(error)
            except Exception as error:  # noqa: BLE001 - told by the test's own thread
                self.foreign = type(error).__name__
                return

    def _own(self) -> None:
        writer = self._bus.open_shard(0, "committing")
        try:
            number = int(writer.checkpoints().get("live/acme", b"0"))
            while not self._end.is_set():
                try:
                    writer.commit(numbered(range(number, number + 20), padding=200))
                except CommitAborted as error:
                    self._note(error)
                    time.sleep(0.2)
                    continue
                number += 20
                self.next = number
        finally:
            writer.close()

    def _note(self, error: ExporterError) -> None:
        self.refused[type(error).__name__] += 1
        self.texts.add(f"{error.message} [{error.hint}]")

    def wait_for_progress(self) -> None:
        start = self.next
        wait_until(lambda: self.foreign or self.next > start + 200, "commits go on", seconds=60)
        assert self.foreign is None

    def end(self) -> None:
        self._end.set()
        self._thread.join(60)
        self._bus.close()


@pytest.fixture
def cluster(tmp_path: Path, kafka: str) -> Iterator[KafkaCluster]:
    """``kafka`` is asked for so that the jars are there, or the test is skipped."""
    made = KafkaCluster(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.kill()


def test_a_killed_broker_costs_nothing_and_two_make_commits_pause(cluster: KafkaCluster) -> None:
    settings = kafka_settings(
        cluster.bootstrap_servers,
        replication_factor=3,
        min_insync_replicas=2,
        shard_count=2,
        partitions=2,
        transaction_timeout_seconds=10,
    )
    bus = create_bus(settings)
    bus.prepare(["acme"], ["soc"])
    bus.close()
    checkpoints = Names(settings.topic_prefix).checkpoints
    committing = Committing(settings)
    try:
        committing.wait_for_progress()
        first = cluster.leader(checkpoints)
        started = time.monotonic()
        cluster.nodes[first].kill()
        committing.wait_for_progress()
        gap, before = time.monotonic() - started, committing.refused.copy()

        second = cluster.leader(checkpoints)
        cluster.nodes[second].kill()
        time.sleep(1)  # what was acknowledged at that instant
        stands = committing.next
        # Transaction time-out, grace and the end of the client.
        wait_until(lambda: committing.foreign or committing.refused - before, "a commit is given up", seconds=60)
        assert (committing.next, committing.foreign) == (stands, None)
        told = committing.refused - before
        cluster.start(first, second)
        committing.wait_for_progress()
    finally:
        committing.end()
    total = verify(settings)
    assert total >= committing.next
    print(f"events {total}; back at work {gap:.1f} s after a kill, refusals {dict(before)}; two down: {dict(told)}")
    print("\n".join(sorted(committing.texts)))


def test_a_broker_whose_disk_takes_no_more_costs_nothing(tmp_path: Path, kafka: str) -> None:
    """No file of its may grow any more: the broker takes its log directory out of service and ends, as on a full disk. It starts again
    once there is room.
    """
    server = KafkaServer(tmp_path / "broker", heap_mbytes=256).start()
    settings = kafka_settings(server.bootstrap_servers, shard_count=2, partitions=2, transaction_timeout_seconds=10)
    bus = create_bus(settings)
    bus.prepare(["acme"], ["soc"])
    bus.close()
    committing = Committing(settings)
    try:
        committing.wait_for_progress()
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, 4096))
        wait_until(lambda: committing.foreign or committing.refused, "a commit is refused", seconds=90)
        assert committing.foreign is None
        stands = committing.next
        server.kill()
        server.start()
        committing.wait_for_progress()
        assert committing.next > stands
        committing.end()
        assert verify(settings) >= committing.next
    finally:
        committing.end()
        server.stop()
