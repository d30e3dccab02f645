"""Kill -9 at random instants: what is on the bus holds every number exactly once, and agrees with the checkpoint (G2, G3)."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import pytest

from exporter.bus import create_bus
from exporter.bus.base import Bus
from exporter.errors import BusUnavailable
from tests.support import bus_child
from tests.support.buses import Reading, verify
from tests.support.fixtures import BusSettings, kafka_settings
from tests.support.kafka import KafkaServer

#: Two rounds on each bus make more than fifty kills.
KILLS = 27
pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(180)]


def _wait_for_progress(bus: Bus, beyond: int) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(BusUnavailable):  # a broker that comes back has no leaders for some moments
            if (now := int(bus.all_checkpoints().get("live/acme", b"0"))) > beyond:
                return now
        time.sleep(0.02)
    raise AssertionError("the child commits nothing")


def _read_through_trouble(reading: Reading, count: int) -> None:
    """As the delivery engine does: an unavailable bus is polled again."""
    deadline = time.monotonic() + 60
    while reading.count < count:
        assert time.monotonic() < deadline, f"{reading.count} of {count} records came"
        with contextlib.suppress(BusUnavailable):
            reading.poll()


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_lose_and_double_nothing(bus_settings: BusSettings, seed: int) -> None:
    """The child is killed from 0 to 300 ms after its first commit, so in the middle of anything; every third is not killed
    but overtaken first: a zombie goes on while its successor works.
    """
    chance = random.Random(seed)
    bus = create_bus(bus_settings)
    bus.prepare(["acme"], ["soc"])
    committed, kills = 0, 0
    while kills < KILLS:
        children = [bus_child.start(bus_child.commit_for_ever, bus_settings, chance.random())]
        committed = _wait_for_progress(bus, committed)
        if kills % 3 == 2:
            children.append(bus_child.start(bus_child.commit_for_ever, bus_settings, chance.random()))
        time.sleep(chance.random() * 0.3)
        for child in children:
            bus_child.kill(child)
            kills += 1
    bus.close()
    assert verify(bus_settings) >= committed


@pytest.mark.kafka
def test_a_broker_that_is_killed_and_comes_back_loses_and_doubles_nothing(tmp_path: Path, kafka: str) -> None:
    """Its own broker, so that other tests keep theirs. (``kafka`` is asked for so that the jars are there, or the test is skipped.)"""
    server = KafkaServer(tmp_path / "broker").start()
    settings = kafka_settings(server.bootstrap_servers, transaction_timeout_seconds=20)
    bus = create_bus(settings)
    bus.prepare(["acme"], ["soc"])
    child = bus_child.start(bus_child.commit_for_ever, settings, 7)
    reading = Reading(bus.reader, "soc", ["acme"])
    try:
        committed = _wait_for_progress(bus, 0)
        for _ in range(2):
            time.sleep(0.3)
            server.kill()
            time.sleep(0.5)
            server.start()
            committed = _wait_for_progress(bus, committed)
        _read_through_trouble(reading, committed)
        bus_child.kill(child)
        total = verify(settings)
        numbers = reading.read(total)
        assert (len(numbers), len(set(numbers))) == (total, total)
    finally:
        reading.reader.close()
        bus.close()
        server.stop()
