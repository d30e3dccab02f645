"""What only the Kafka bus promises: transactions of others, retention, topics' settings, an unreachable broker."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from exporter.bus.kafka.bus import KafkaEventBus
from exporter.bus.kafka.topics import Names
from exporter.errors import BusUnavailable, ConfigurationError
from exporter.settings.model import KafkaBus
from tests.support.buses import Member, Reading, numbered, settle
from tests.support.events import event
from tests.support.fixtures import kafka_settings
from tests.support.kafka import free_port

pytestmark = pytest.mark.kafka


@pytest.fixture
def make(kafka: str) -> Iterator[Callable[[KafkaBus], KafkaEventBus]]:
    made: list[KafkaEventBus] = []

    def build(settings: KafkaBus) -> KafkaEventBus:
        made.append(KafkaEventBus(settings))
        return made[-1]

    yield build
    for bus in made:
        bus.close()


def test_open_and_aborted_transactions_are_not_read(kafka: str, make: Callable[[KafkaBus], KafkaEventBus]) -> None:
    settings = kafka_settings(kafka, partitions=1)
    bus, names = make(settings), Names(settings.topic_prefix)
    bus.prepare(["acme"], ["soc"])
    stranger = Producer({"bootstrap.servers": kafka, "transactional.id": f"{settings.topic_prefix}-x"})
    stranger.init_transactions(30)
    reading = Reading(bus.reader, "soc", ["acme"])
    writer = bus.open_shard(0, "w")
    writer.commit(numbered(range(10)))
    assert reading.read(10) == list(range(10))
    stranger.begin_transaction()
    for number in range(100, 120):
        stranger.produce(names.events("acme"), event(number), b"k")
    stranger.flush(10)
    for _ in range(3):
        assert reading.poll() == 0
    stranger.abort_transaction(10)
    writer.commit(numbered(range(10, 20)))
    assert reading.read(20) == list(range(20))
    reading.commit()
    reading.until(lambda: not any(reading.reader.lag().values()))  # all these markers count for nothing
    reading.reader.close()
    writer.close()


def test_records_lost_to_retention_are_reported_and_reading_goes_on(
    kafka: str, make: Callable[[KafkaBus], KafkaEventBus], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = kafka_settings(kafka, partitions=1)
    bus, names = make(settings), Names(settings.topic_prefix)
    bus.prepare(["acme"], ["soc"])
    writer = bus.open_shard(0, "w")
    writer.commit(numbered(range(100)))
    first = Reading(bus.reader, "soc", ["acme"])
    first.until(lambda: bool(first.reader.assigned()) and first.count > 0)
    first.reader.close()  # it delivered nothing
    admin = AdminClient({"bootstrap.servers": kafka})
    place = TopicPartition(names.events("acme"), 0, 40)
    for future in admin.delete_records([place]).values():
        future.result(20)
    capsys.readouterr()
    again = Reading(bus.reader, "soc", ["acme"])
    assert again.read(60) == list(range(40, 100))
    assert re.search(r"bus_records_lost.*earliest_offset=40", capsys.readouterr().out)
    again.reader.close()
    writer.close()


def test_topics_with_wrong_settings_are_found_with_their_cure(
    kafka: str, make: Callable[[KafkaBus], KafkaEventBus]
) -> None:
    settings = kafka_settings(kafka)
    names = Names(settings.topic_prefix)
    admin = AdminClient({"bootstrap.servers": kafka})
    wrong = NewTopic(names.checkpoints, settings.shard_count, 1, config={"cleanup.policy": "delete"})
    for future in admin.create_topics([wrong]).values():
        future.result(20)
    with pytest.raises(ConfigurationError) as caught:
        make(settings).prepare(["acme"], ["soc"])
    text = str(caught.value)
    assert "cleanup.policy is delete, needed is compact" in text
    assert f"--entity-name {names.checkpoints} --add-config cleanup.policy=compact" in text
    assert len(make(settings).check()) >= 2  # the size of records, too


def test_missing_topics_are_a_finding_where_they_must_not_be_created(
    kafka: str, make: Callable[[KafkaBus], KafkaEventBus]
) -> None:
    bus = make(kafka_settings(kafka, create_topics=False))
    with pytest.raises(ConfigurationError) as caught:
        bus.prepare(["acme"], ["soc"])
    assert len(caught.value.findings) == 5
    assert len(bus.check()) == 3


def test_more_replicas_than_brokers_is_a_finding(kafka: str, make: Callable[[KafkaBus], KafkaEventBus]) -> None:
    bus = make(kafka_settings(kafka, replication_factor=3, min_insync_replicas=2))
    with pytest.raises(ConfigurationError) as caught:
        bus.prepare(["acme"], ["soc"])
    assert [finding.path for finding in caught.value.findings] == ["bus.replication_factor"]
    assert [finding.path for finding in bus.check()] == ["bus.replication_factor"]


@pytest.mark.slow
def test_an_unreachable_broker_is_unavailable(make: Callable[[KafkaBus], KafkaEventBus]) -> None:
    bus = make(kafka_settings(f"127.0.0.1:{free_port()}"))
    with pytest.raises(BusUnavailable):
        bus.prepare(["acme"], ["soc"])
    assert [finding.path for finding in bus.check()] == ["bus.bootstrap_servers"]


def test_the_consumer_protocol_shares_shards_and_lanes_as_well(
    kafka: str, make: Callable[[KafkaBus], KafkaEventBus]
) -> None:
    """KIP-848, which the broker of the tests speaks."""
    settings = kafka_settings(kafka, group_protocol="consumer")
    bus = make(settings)
    bus.prepare(["acme"], ["soc"])
    first, second = Member(bus.membership("a")), Member(make(settings).membership("b"))
    settle([first, second], lambda: len(first.owned) == len(second.owned) == 2)
    first.membership.close()
    settle([second], lambda: len(second.owned) == 4)
    second.membership.close()
    writer = bus.open_shard(0, "w")
    writer.commit(numbered(range(100)))
    writer.close()
    reading = Reading(bus.reader, "soc", ["acme"])
    assert reading.read(100) == list(range(100))
    reading.commit()
    reading.reader.close()
    again = Reading(bus.reader, "soc", ["acme"])
    again.until(lambda: len(again.reader.assigned()) == 3)
    assert again.poll(timeout_seconds=0.5) == 0
    again.reader.close()
