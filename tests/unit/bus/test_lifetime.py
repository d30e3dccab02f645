"""No consumer stays behind that nobody can close any more."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import KafkaException

from exporter.bus.kafka.lifetime import close_after, close_consumer, new_consumer, open_groups, subscribed
from tests.support.kafka import free_port
from tests.support.programs import wait_until


def configuration(group: str) -> dict[str, object]:
    return {"bootstrap.servers": f"127.0.0.1:{free_port()}", "group.id": group, "log_level": 0}


def test_a_failed_subscription_leaves_nothing_open() -> None:
    nothing = lambda *_: None  # noqa: E731
    with pytest.raises(KafkaException):
        subscribed(configuration("refused"), [""], on_assign=nothing, on_revoke=nothing, on_lost=nothing)
    assert "refused" not in open_groups()


def test_what_is_open_is_told_until_it_is_closed() -> None:
    consumer = new_consumer(configuration("told"))
    assert "told" in open_groups()
    close_consumer(consumer)
    close_consumer(consumer)  # twice is harmless
    assert "told" not in open_groups()


def test_a_consumer_in_use_is_closed_when_its_user_comes_back() -> None:
    consumer, leave = new_consumer(configuration("in-use")), threading.Event()
    user = threading.Thread(target=leave.wait)
    user.start()
    close_after(user, consumer)
    assert "in-use" in open_groups()
    leave.set()
    wait_until(lambda: "in-use" not in open_groups(), "it is closed", seconds=20)
