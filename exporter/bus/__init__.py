"""The durable log between the two planes. ``base`` is the port; ``kafka`` and ``sqlite`` implement it under one contract
suite (``tests/contract/test_bus.py``).
"""

from exporter.bus.base import Bus
from exporter.bus.kafka.bus import KafkaEventBus
from exporter.bus.sqlite.bus import SqliteEventBus
from exporter.settings.model import KafkaBus, SqliteBus


def create_bus(settings: SqliteBus | KafkaBus) -> Bus:
    """Return the configured bus. Cheap; touches the world only in its methods. Called by ``exporter.app`` in every process."""
    return KafkaEventBus(settings) if isinstance(settings, KafkaBus) else SqliteEventBus(settings)
