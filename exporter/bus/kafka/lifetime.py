"""Consumers stay referenced until they are closed, and every way out of them leads through here.

librdkafka's destructor of a consumer that was never closed can wait for ever for its own threads, and as garbage collection
calls it, the whole interpreter stands still with it (seen with 2.16). A client leaked after a failed close costs memory; a
frozen worker would cost the service.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

OnPartitions = Callable[[Consumer, list[TopicPartition]], None]

_open: dict[int, tuple[Consumer, str]] = {}


def new_consumer(configuration: dict[str, Any]) -> Consumer:
    """Build one. Raises KafkaException."""
    consumer = Consumer(configuration)
    _open[id(consumer)] = (consumer, str(configuration["group.id"]))
    return consumer


def subscribed(
    configuration: dict[str, Any],
    topics: Sequence[str],
    *,
    on_assign: OnPartitions,
    on_revoke: OnPartitions,
    on_lost: OnPartitions,
) -> Consumer:
    """Build one that reads ``topics`` as a member of its group; none that fails stays behind. Raises KafkaException."""
    consumer = new_consumer(configuration)
    try:
        if topics:  # nothing to read is no error here; an empty subscription would be one
            consumer.subscribe(list(topics), on_assign=on_assign, on_revoke=on_revoke, on_lost=on_lost)
    except BaseException:
        close_consumer(consumer)
        raise
    return consumer


def close_consumer(consumer: Consumer) -> None:
    """Leave the group and let go. Raises what ``Consumer.close`` raises; the client then stays referenced."""
    consumer.close()
    _open.pop(id(consumer), None)


def close_after(user: threading.Thread, consumer: Consumer) -> None:
    """Close a client as soon as the thread that is still inside of it comes back, without waiting for that here."""

    def work() -> None:
        user.join()
        with contextlib.suppress(KafkaException, RuntimeError):
            close_consumer(consumer)

    # A daemon, as ``user`` may be held for a session time-out; at exit its frame keeps the client from being destroyed.
    threading.Thread(target=work, name="kafka-close", daemon=True).start()


def open_groups() -> list[str]:
    """Groups of the consumers that are not closed: what a leak is found by."""
    return sorted(group for _, group in list(_open.values()))
