"""Kill -9 of whole services, two at a time on one target: the ledger has no break, and the archive holds exactly what it says."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import orjson
import pytest
from pydantic import TypeAdapter

from exporter.bus import create_bus
from exporter.bus.base import RECEIPTS
from exporter.custody.chains import Chains
from exporter.domain.checkpoints import LiveCheckpoint
from exporter.errors import ExporterError
from exporter.settings.model import BusSettings
from tests.support.custody import ledger, proven
from tests.support.feed import Traffic
from tests.support.programs import Processes, Program, processes, stand_in_loki, wait_until
from tests.support.service import SQLITE_BUS, Installation, kafka_bus

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(400)]

TENANTS = ["acme", "beta"]
KILLS = 10


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as made:
        yield made


def install(running: Processes, bus: dict) -> Installation:
    loki = stand_in_loki(running)
    tenants = {tenant: {"redaction": [], "targets": ["archive"]} for tenant in TENANTS}
    targets = {"archive": {"kind": "file", "directory": "out", "batch_linger_seconds": 0.05}}
    pace = {"poll_interval_seconds": 0.2, "hot_delay_seconds": 0.3, "near_horizon_seconds": 60}
    return Installation(running, loki.url, bus, tenants, targets, loki=pace)


class Progress:
    """What services wrote since the last look: kills are to hit work, not a start."""

    def __init__(self, installation: Installation) -> None:
        self._installation, self._seen = installation, (0, {})

    def __call__(self) -> bool:
        bus = create_bus(
            TypeAdapter(BusSettings).validate_python(self._installation.bus | self._installation._anchored())
        )
        try:
            records = bus.all_checkpoints()
            now = (
                sum(LiveCheckpoint.decode(raw).sequence for key, raw in records.items() if key.startswith("live/")),
                {key: raw for key, raw in bus.all_checkpoints(RECEIPTS).items() if key.startswith("receipts/")},
            )
        except ExporterError:
            return False
        finally:
            bus.close()
        if now[0] == self._seen[0] or now[1] == self._seen[1]:
            return False
        self._seen = now
        return True


def start(installation: Installation, name: str) -> Program:
    return installation.start(name, reader_processes=1, delivery_processes=1)


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_killed_services_leave_a_whole_ledger(running: Processes, kind: str, request: pytest.FixtureRequest) -> None:
    bus = SQLITE_BUS
    if kind == "kafka":
        servers = request.getfixturevalue("kafka")
        bus = kafka_bus(servers, f"custody-{time.time_ns()}", session_timeout_seconds=6, transaction_timeout_seconds=10)
    installation, chance, kills = install(running, bus), random.Random(6), 0
    feed = running.feed(installation.loki_url)
    with Traffic(feed, TENANTS, seed=6, pushes_per_second=30):
        programs = {name: start(installation, name) for name in ("a", "b")}
        progress = Progress(installation)
        while kills < KILLS:
            wait_until(progress, "commits and receipts")
            name = chance.choice(list(programs))
            children = wait_until(lambda n=name: programs[n].children(), "its processes")
            time.sleep(chance.uniform(0.0, 1.5))
            kills += 1
            if chance.random() < 0.4:
                programs[name].kill()
                programs[name] = start(installation, name)
                continue
            with suppress(ProcessLookupError):
                os.kill(chance.choice(children), signal.SIGKILL)
    for program in programs.values():
        program.kill()
    code, printed = installation.drain(seconds=180)
    assert code == 0, printed
    figures = proven(installation)
    count = len({event_id for tenant in TENANTS for event_id in feed.ids(tenant)})
    assert figures["proven"] == figures["events"] == count
    print(f"{kind}: kills {kills}, events {count}, chains {figures['chains']}, records {figures['records']}")
    code, answer = ledger(installation, "show", "--target", "archive")
    assert (
        sum(total["events"] for total in answer["totals"].values()) >= count
    )  # delivered again after a kill: receipts say so
    assert figures["chains"] > 3


def test_a_ledger_that_somebody_changed_is_an_alarm_at_the_start_and_reading_goes_on(running: Processes) -> None:
    installation = install(running, SQLITE_BUS)
    feed = running.feed(installation.loki_url)
    feed.push("acme", {"job": "j"}, [(time.time_ns(), "one", None)])
    assert installation.drain(seconds=120)[0] == 0
    bus = installation.directory / SQLITE_BUS["path"]
    with closing(sqlite3.connect(bus)) as db:
        db.execute("DELETE FROM ledger WHERE id = (SELECT max(id) FROM ledger WHERE shard IS NOT NULL)")
        db.execute("DELETE FROM ledger WHERE id = (SELECT max(id) FROM ledger WHERE shard IS NULL)")
        db.commit()
    assert ledger(installation, "verify")[0] == 1

    program = start(installation, "after")
    installation.wait_logged(program, "ledger_broken")
    feed.push("acme", {"job": "j"}, [(time.time_ns(), "two", None)])
    installation.wait_stored(feed, installation.directory / "out")
    status = orjson.loads(installation.command("status", "--json", configuration="after").stdout)
    assert set(status["ledger_breaks"]) >= {"archive"}
    assert any(chain.startswith("shard ") for chain in status["ledger_breaks"])
    assert program.terminate() == 0
    chains = Chains(whole=True)
    with closing(sqlite3.connect(bus)) as db:
        for (record,) in db.execute("SELECT record FROM ledger ORDER BY id"):
            chains.add(record)
    assert {found.chain.split()[0] for found in chains.noted} == {"shard", "receipts"}
    assert chains.breaks
