"""G3 at its narrowest: a worker stopped between reading and commit, replaced, and awake again before it hears of that."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bus_contents import assert_exactly_once
from tests.support.feed import Traffic
from tests.support.programs import Processes, processes, stand_in_loki, wait_until
from tests.support.service import Installation, kafka_bus

TENANTS = [f"tenant-{n}" for n in range(3)]
LOKI = {"poll_interval_seconds": 0.2, "hot_delay_seconds": 0.3, "near_horizon_seconds": 120}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as made:
        yield made


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.kafka
def test_a_commit_that_a_zombie_had_ready_is_refused(running: Processes, kafka: str) -> None:
    bus = kafka_bus(kafka, f"zombie-{time.time_ns()}", session_timeout_seconds=6, transaction_timeout_seconds=10)
    loki = stand_in_loki(running)
    tenants = {tenant: {"redaction": []} for tenant in TENANTS}
    installation, feed = Installation(running, loki.url, bus, tenants, loki=LOKI), running.feed(loki.url)
    directory, config = running.directory, installation.write().rename(running.directory / "zombie.yaml")
    with Traffic(feed, TENANTS, seed=5):
        zombie = running.start("zombie", [sys.executable, "-m", "tests.support.zombie", str(config), str(directory)])
        wait_until(lambda: installation.owners() == {zombie.pid}, "the first commits")
        (directory / "sleep").touch()
        wait_until(lambda: stopped(zombie.pid), "it stopped itself before a commit")
        heir = installation.start("heir", "--role", "reader", reader_processes=1)
        wait_until(lambda: installation.owners() and installation.owners() <= set(heir.children()), "the heir has all")
        assert stopped(zombie.pid)
        os.kill(zombie.pid, signal.SIGCONT)
        outcomes = directory / "outcomes"
        wait_until(lambda: outcomes.exists() and outcomes.read_text().endswith("\n"), "the bus has answered")
        assert outcomes.read_text().split() == ["Fenced"]
        count = feed.count
        wait_until(lambda: feed.count > count + 200, "both work on")
    assert zombie.terminate() == 0
    assert heir.terminate() == 0
    assert json.loads((directory / "counted").read_text())["fenced"] >= 1
    code, printed = installation.drain("--role", "reader", reader_processes=1)
    assert code == 0, printed
    assert_exactly_once(installation.contents(), feed)
    print(f"lines {feed.count}, commits of the zombie refused: {len(zombie.logged('shard_fenced'))}")
