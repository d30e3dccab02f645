"""A broker that goes away in the middle leaves no consumer open for good."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.bus import create_bus
from exporter.bus.kafka.lifetime import open_groups
from exporter.bus.kafka.topics import Names
from exporter.errors import BusUnavailable
from tests.support.buses import Member, Reading, numbered, settle
from tests.support.fixtures import kafka_settings
from tests.support.kafka import KafkaServer
from tests.support.programs import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(150)]


def test_reader_and_member_of_a_dead_broker_are_closed_in_the_end(tmp_path: Path, kafka: str) -> None:
    """The commit of positions hangs in librdkafka when the reader is closed. (``kafka`` is asked for so that the jars are there.)"""
    server = KafkaServer(tmp_path / "broker", heap_mbytes=256).start()
    settings = kafka_settings(server.bootstrap_servers)
    names, bus = Names(settings.topic_prefix), create_bus(settings)
    try:
        bus.prepare(["acme"], ["soc"])
        member = Member(bus.membership("a"))
        settle([member], lambda: len(member.owned) == settings.shard_count)
        writer = bus.open_shard(0, "w")
        writer.commit(numbered(range(100)))
        writer.close()
        reading = Reading(bus.reader, "soc", ["acme"])
        reading.read(100)
        server.kill()
        with pytest.raises(BusUnavailable):  # librdkafka hangs in it, or knows already that its coordinator is gone
            reading.commit()
        reading.reader.close()
        member.membership.close()
        wait_until(lambda: names.delivery_group("soc") not in open_groups(), "the reader is closed", seconds=60)
        wait_until(lambda: names.workers_group not in open_groups(), "the member is closed", seconds=60)
    finally:
        bus.close()
        server.stop()
