"""Read partitions to a known end: checkpoints at take-over, dead letters, status, replays."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from exporter.bus.kafka import config
from exporter.bus.kafka.admin import Place
from exporter.bus.kafka.faults import error_of, translate
from exporter.bus.kafka.lifetime import close_consumer, new_consumer
from exporter.bus.kafka.topics import Names
from exporter.errors import BusUnavailable
from exporter.settings.model import KafkaBus

#: Without any progress for so long the read is given up.
SILENCE_SECONDS = 30.0
#: Records taken at once; checkpoint records can have megabytes.
TAKE_RECORDS = 200


def scan(
    settings: KafkaBus,
    ends: Mapping[Place, int],
    *,
    starts: Mapping[Place, int] | None = None,
    committed_only: bool = True,
) -> Iterator[Message]:
    """Yield the records below ``ends`` (offset after the last) of each partition, in order within a partition, from the
    beginning or from ``starts``.

    The end is reached when Kafka reports the end of the partition at or beyond it: transaction markers occupy offsets, so
    the last record's own offset always falls short. Raises BusUnavailable, ConfigurationError.
    """
    starts = starts or {}
    open_places = {place for place, end in ends.items() if end > starts.get(place, 0)}
    if not open_places:
        return
    heard = config.LastError()
    isolation = "read_committed" if committed_only else "read_uncommitted"
    consumer = new_consumer(config.scanner(settings, Names(settings.topic_prefix).scan_group, isolation, heard))
    try:
        consumer.assign([TopicPartition(*place, starts.get(place, OFFSET_BEGINNING)) for place in sorted(open_places)])
        silent_since = time.monotonic()
        while open_places:
            # Wait for one, then take what is there: waiting for all would cost the whole time-out at the end.
            messages = consumer.consume(1, 0.2) + consumer.consume(TAKE_RECORDS, 0)
            if messages:
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since > SILENCE_SECONDS:
                raise BusUnavailable("Kafka: a partition cannot be read to its end", hint="is the broker up?")
            for message in messages:
                place = _place(message)
                if (error := message.error()) is not None:
                    _end_or_raise(error, message, ends, open_places, heard)
                elif (message.offset() or 0) < ends[place]:
                    yield message
    except KafkaException as exception:
        raise translate(error_of(exception), "reading a partition", heard.error) from None
    finally:
        close_consumer(consumer)


def _place(message: Message) -> Place:
    return (message.topic() or "", message.partition() or 0)


def _end_or_raise(
    error: KafkaError, message: Message, ends: Mapping[Place, int], open_places: set[Place], heard: config.LastError
) -> None:
    place = _place(message)
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's public constant
        if (message.offset() or 0) >= ends.get(place, 0):
            open_places.discard(place)
    elif not error.retriable():
        raise translate(error, "reading a partition", heard.error)
