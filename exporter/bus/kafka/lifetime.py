"""Consumers stay referenced until they are closed.

librdkafka's destructor of a consumer that was never closed can wait for ever for its own threads, and as garbage collection
calls it, the whole interpreter stands still with it (seen with 2.16). A client leaked after a failed close costs memory; a
frozen worker would cost the service.
"""

from __future__ import annotations

from typing import Any

from confluent_kafka import Consumer

_open: dict[int, Consumer] = {}


def new_consumer(configuration: dict[str, Any]) -> Consumer:
    """Build one. Raises KafkaException."""
    consumer = Consumer(configuration)
    _open[id(consumer)] = consumer
    return consumer


def close_consumer(consumer: Consumer) -> None:
    """Leave the group and let go. Raises what ``Consumer.close`` raises; the client then stays referenced."""
    consumer.close()
    _open.pop(id(consumer), None)
