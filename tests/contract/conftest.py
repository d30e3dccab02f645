"""After each contract test on Kafka no consumer is open: none that a test forgot, and none that the bus left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.bus.kafka.lifetime import open_groups
from tests.support.programs import wait_until


@pytest.fixture(autouse=True)
def no_open_consumers(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if request.node.get_closest_marker("kafka") is not None:
        # a client whose broker is gone is closed by the thread that it holds, a session time-out later
        wait_until(lambda: not open_groups(), "every consumer is closed", seconds=45)
