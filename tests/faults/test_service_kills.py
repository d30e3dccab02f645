"""G2 and G3 on the running service: readers die by kill -9 at random instants, a broker dies, a reader sleeps beyond its lease;
on the bus every accepted line stands exactly once, and checkpoints and ledger agree with it.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.bus_contents import BusContents, assert_exactly_once
from tests.support.feed import Feed, Traffic
from tests.support.kafka import KafkaMissingError, KafkaServer
from tests.support.programs import Processes, Program, processes, stand_in_loki, wait_until
from tests.support.service import SQLITE_BUS, Installation, kafka_bus

pytestmark = [pytest.mark.fault, pytest.mark.slow]

TENANTS = [f"tenant-{n}" for n in range(6)]
#: Fast cycles, so that much is under way at every instant. Late lines stay within the near horizon.
LOKI = {"poll_interval_seconds": 0.2, "hot_delay_seconds": 0.3, "near_horizon_seconds": 120}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as made:
        yield made


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaServer]:
    server = KafkaServer(tmp_path / "kafka")
    try:
        server.start()
    except KafkaMissingError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    yield server
    server.stop()


def install(running: Processes, bus: dict) -> tuple[Installation, Feed]:
    loki = stand_in_loki(running)
    tenants = {tenant: {"redaction": []} for tenant in TENANTS}  # it compiles for a second at every start
    installation = Installation(running, loki.url, bus, tenants, loki=LOKI)
    return installation, running.feed(loki.url)


class Killer:
    """Kills readers of two supervisors, or a supervisor with all it started, and starts again what nobody else does."""

    def __init__(self, installation: Installation, seed: int) -> None:
        self._installation, self._random = installation, random.Random(seed)
        self._programs: dict[str, Program] = {}
        self.kills = 0
        for name in ("reader-a", "reader-b"):
            self._start(name)

    def _start(self, name: str) -> None:
        self._programs[name] = self._installation.start(name, "--role", "reader", reader_processes=2)

    def _victims(self) -> list[tuple[str, int]]:
        """Readers that have committed, so that kills hit work and not a start."""
        owners = self._installation.owners()
        every = [(name, pid) for name, program in self._programs.items() for pid in program.children()]
        return [(name, pid) for name, pid in every if pid in owners]

    def kill_one(self, pause_seconds: float) -> None:
        name, pid = self._random.choice(wait_until(self._victims, "a reader at work"))
        time.sleep(self._random.uniform(0, 2 * pause_seconds))
        program = self._programs[name]
        self.kills += 1
        if self._random.random() < 0.4:
            program.kill()
            self._start(name)
        else:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_all(self) -> None:
        for program in self._programs.values():
            program.kill()


def late_of(contents: BusContents) -> int:
    return sum(live.late for live in contents.lives().values())


def drain_and_check(installation: Installation, feed: Feed) -> BusContents:
    code, printed = installation.drain("--role", "reader", reader_processes=2, seconds=180)
    assert code == 0, printed
    contents = installation.contents()
    assert_exactly_once(contents, feed)
    return contents


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [1, 2])
def test_kill_9_of_readers_on_sqlite(running: Processes, seed: int, record_property) -> None:
    installation, feed = install(running, SQLITE_BUS)
    with Traffic(feed, TENANTS, seed=seed):
        killer = Killer(installation, seed)
        while killer.kills < 14:
            killer.kill_one(0.8)
    killer.kill_all()
    contents = drain_and_check(installation, feed)
    print(f"kills {killer.kills}, lines {feed.count}, late {late_of(contents)}")
    record_property("kills", killer.kills)


@pytest.mark.timeout(400)
def test_kill_9_while_passes_find_lines_hours_late(running: Processes, record_property) -> None:
    """Old hours are looked at every other second, lines come late to them all the time, and readers die meanwhile."""
    installation, feed = install(running, SQLITE_BUS)
    bounds = {"warm_after_seconds": 0, "cold_after_seconds": 0, "seal_after_seconds": 600_000, "drift_every_seconds": 2}
    installation.loki |= {"passes": bounds, "near_horizon_seconds": 10}
    hour_ns = 3_600_000_000_000
    start_ns = (time.time_ns() // hour_ns - 1) * hour_ns - hour_ns // 2
    tenants = TENANTS[:3]

    def push(number: int, stream: str) -> None:
        for tenant in tenants:
            entries = [(start_ns + number * 7_000_000_000 + n, f"{stream} {number} {n}", None) for n in range(5)]
            feed.push(tenant, {"job": "old", "stream": stream}, entries)

    for number in range(100):
        push(number, "on-time")
    killer = Killer(installation, 5)
    for number in range(60):
        push(number, f"late-{number % 7}")
        if number % 10 == 9:
            killer.kill_one(0.5)
        time.sleep(0.2)
    killer.kill_all()
    contents = drain_and_check(installation, feed)
    found = late_of(contents)
    print(f"kills {killer.kills}, lines {feed.count}, late {found}")
    assert found > 0
    record_property("kills", killer.kills)


@pytest.mark.kafka
@pytest.mark.timeout(400)
def test_kill_9_of_readers_and_broker_on_kafka(running: Processes, broker: KafkaServer, record_property) -> None:
    bus = kafka_bus(broker.bootstrap_servers, "kills", session_timeout_seconds=6, transaction_timeout_seconds=10)
    installation, feed = install(running, bus)
    with Traffic(feed, TENANTS, seed=3):
        killer = Killer(installation, 3)
        while killer.kills < 24:
            killer.kill_one(1.2)
            if killer.kills == 12:
                broker.kill()
                broker.start()
    killer.kill_all()
    contents = drain_and_check(installation, feed)
    print(f"kills {killer.kills} and one broker, lines {feed.count}, late {late_of(contents)}")
    record_property("kills", killer.kills)


def in_hands_of(installation: Installation, program: Program) -> bool:
    """All tenants were last committed by readers of this program."""
    owners = installation.owners()
    return bool(owners) and owners <= set(program.children())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_a_reader_that_slept_beyond_its_lease_commits_nothing(
    running: Processes, kind: str, request: pytest.FixtureRequest
) -> None:
    """G3: stopped in the middle of its work, replaced, and awake again, it still believes that its shards are its own."""
    bus = SQLITE_BUS
    if kind == "kafka":
        servers = request.getfixturevalue("kafka")
        bus = kafka_bus(servers, f"zombie-{time.time_ns()}", session_timeout_seconds=6, transaction_timeout_seconds=10)
    installation, feed = install(running, bus)
    with Traffic(feed, TENANTS, seed=4, pushes_per_second=30):
        sleeper = installation.start("sleeper", "--role", "reader", reader_processes=1)
        wait_until(lambda: in_hands_of(installation, sleeper), "the first reads")
        # Both run before one is stopped: it must not sleep so long that its supervisor takes it for stuck.
        other = installation.start("other", "--role", "reader", reader_processes=1)
        (zombie,), (heir,) = sleeper.children(), wait_until(other.children, "the other is there")
        wait_until(lambda: installation.owners() >= {zombie, heir}, "both read")
        os.kill(zombie, signal.SIGSTOP)
        wait_until(lambda: in_hands_of(installation, other), "the other reads all")
        count = feed.count
        os.kill(zombie, signal.SIGCONT)
        wait_until(lambda: installation.owners() & {zombie}, "the sleeper has its share again")
        assert sleeper.children() == [zombie]
        wait_until(lambda: feed.count > count + 100, "lines meanwhile")
        assert other.terminate() == 0
        assert sleeper.terminate() == 0
    contents = drain_and_check(installation, feed)
    refused = [event["event"] for event in sleeper.log() if event["event"] in {"shard_fenced", "shard_reopens"}]
    print(f"commits of the sleeper refused: {len(refused)}; lines {feed.count}, late {late_of(contents)}")
