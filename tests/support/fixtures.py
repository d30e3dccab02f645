"""Fixtures of real services, usable from any test (``tests/conftest.py`` loads this plugin).

``kafka``: bootstrap address of a real broker, one per test run, started when first asked for; ``KAFKA_BOOTSTRAP`` names a running
one instead. ``bus_settings``: settings of a fresh bus, once on SQLite and once on Kafka. ``buses``: builds buses on them and closes
them, as several processes would.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from exporter.bus import create_bus
from exporter.bus.base import Bus
from exporter.settings.model import KafkaBus, SqliteBus
from tests.support import kafka as kafka_support
from tests.support.loki_cell import loki_binary

BusSettings = SqliteBus | KafkaBus
MakeBus = Callable[..., Bus]

# How fast an example runs says more about the machine's load than about our code.
settings.register_profile("loaded machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded machine")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long tests first, each group in the random order it has, so that a parallel run ends evenly."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_report_header() -> list[str]:
    """Say at once what runs on the real thing and what on stand-ins."""
    loki = loki_binary()
    return [f"real Loki: {loki or 'none (set LOKI_BIN or put loki on PATH); the stand-in only'}"]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch the broker's jars before the first test's clock runs."""
    wanted = any("kafka" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly and "KAFKA_BOOTSTRAP" not in os.environ:
        try:
            kafka_support.prepare_jars()
        except kafka_support.KafkaMissingError:
            return  # the fixture says so, for the tests that need it


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Without a broker such tests are skipped, but fail where CI is set: there it must be had."""
    if address := os.environ.get("KAFKA_BOOTSTRAP"):
        yield address
        return
    try:
        server = kafka_support.start_any(tmp_path_factory.mktemp("kafka") / "broker")
    except kafka_support.KafkaMissingError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    yield server.bootstrap_servers
    server.stop()


def kafka_settings(bootstrap_servers: str, **changes: object) -> KafkaBus:
    """A fresh installation on a single broker. Six seconds is the least session time-out that a broker takes by default."""
    values: dict[str, object] = {
        "kind": "kafka",
        "bootstrap_servers": bootstrap_servers,
        "topic_prefix": f"t{uuid.uuid4().hex[:10]}",
        "shard_count": 4,
        "partitions": 3,
        "replication_factor": 1,
        "min_insync_replicas": 1,
        "session_timeout_seconds": 6.0,
        "compression": "lz4",
    }
    return KafkaBus.model_validate(values | changes)


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus_settings(request: pytest.FixtureRequest, tmp_path: Path) -> BusSettings:
    if request.param == "sqlite":
        return SqliteBus(path=tmp_path / "bus.db", shard_count=4, partitions=3)
    return kafka_settings(request.getfixturevalue("kafka"))


@pytest.fixture
def buses(bus_settings: BusSettings) -> Iterator[MakeBus]:
    """Return a maker of buses, each as a process of its own would have it; ``changes`` replace settings."""
    made: list[Bus] = []

    def make(**changes: object) -> Bus:
        bus = create_bus(bus_settings.model_copy(update=changes))
        made.append(bus)
        return bus

    yield make
    for bus in made:
        bus.close()
