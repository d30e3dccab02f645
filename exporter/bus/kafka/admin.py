"""Admin requests with time-outs, their errors translated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicPartition

# The package's types leave these names out of its public ones, although its documentation has them here.
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource, NewTopic, OffsetSpec, ResourceType  # type: ignore[attr-defined]

from exporter.bus.kafka import config
from exporter.bus.kafka.faults import error_of, translate
from exporter.errors import BusUnavailable
from exporter.settings.model import KafkaBus

#: A request is given this long; the broker may be electing a leader.
REQUEST_SECONDS = 10.0
#: One turn of waiting for metadata.
TURN_SECONDS = 2.0

#: Answers while a new topic's leader or a coordinator is not settled yet; librdkafka leaves these to the caller.
_SETTLING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,  # after a broker's restart
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError._NOENT,  # noqa: SLF001 - librdkafka: no leader of the partitions is known
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)

K = TypeVar("K")
T = TypeVar("T")
Place = tuple[str, int]  # topic, partition


class NewTopicPlan(Protocol):
    """What a topic is created from."""

    @property
    def name(self) -> str: ...
    @property
    def partitions(self) -> int: ...
    @property
    def settings(self) -> Mapping[str, str]: ...


class Admin:
    """One admin client of a bus. Raises BusUnavailable or ConfigurationError."""

    def __init__(self, settings: KafkaBus) -> None:
        self._heard = config.LastError()
        self._client = AdminClient(config.client(settings, self._heard))

    def _ask(self, request: Callable[[], Mapping[K, Future[T]]], doing: str) -> dict[K, T]:
        """Return the answers of one request, asking again while the cluster settles."""
        deadline = time.monotonic() + REQUEST_SECONDS
        while True:
            try:
                return {key: future.result(REQUEST_SECONDS + 5) for key, future in request().items()}
            except KafkaException as exception:
                error = error_of(exception)
                if error.code() not in _SETTLING or time.monotonic() > deadline:
                    raise translate(error, doing, self._heard.error) from None
                time.sleep(0.1)
                self.topics()  # brings the new leaders to the client

    def _metadata(self, doing: str) -> ClusterMetadata:
        """Ask in short turns: a refused login is heard at once, but librdkafka goes on trying for the whole time-out."""
        deadline = time.monotonic() + REQUEST_SECONDS
        while True:
            try:
                return self._client.list_topics(timeout=TURN_SECONDS)
            except KafkaException as exception:
                self._client.poll(0)  # the error callback runs here, and only it is told why
                failure = translate(error_of(exception), doing, self._heard.error)
                if not isinstance(failure, BusUnavailable) or time.monotonic() > deadline:
                    raise failure from None

    def topics(self) -> dict[str, tuple[int, int]]:
        """Return partitions and replicas of every topic."""
        return {
            name: (len(topic.partitions), min((len(p.replicas) for p in topic.partitions.values()), default=0))
            for name, topic in self._metadata("listing topics").topics.items()
            if topic.error is None
        }

    def broker_count(self) -> int:
        """Return how many brokers are up."""
        return len(self._metadata("asking for the brokers").brokers)

    def create(self, topics: Sequence[NewTopicPlan], replicas: int) -> None:
        """Create topics; one that another process created meanwhile is fine."""
        made = [NewTopic(t.name, t.partitions, replicas, config=dict(t.settings)) for t in topics]
        futures = self._client.create_topics(made, request_timeout=REQUEST_SECONDS) if made else {}
        for name, future in futures.items():
            try:
                future.result(REQUEST_SECONDS + 5)
            except KafkaException as exception:
                error = error_of(exception)
                if error.code() != error.TOPIC_ALREADY_EXISTS:
                    raise translate(error, f"creating topic {name}", self._heard.error) from None

    def configs(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the settings of topics."""
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
        if not resources:
            return {}
        found = self._ask(
            lambda: self._client.describe_configs(resources, request_timeout=REQUEST_SECONDS), "reading topic settings"
        )
        return {r.name: {key: entry.value or "" for key, entry in values.items()} for r, values in found.items()}

    def starts(self, places: Iterable[Place]) -> dict[Place, int]:
        """Return the first offset that retention left in each partition."""
        return self._offsets(places, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)  # type: ignore[no-untyped-call]

    def since(self, places: Iterable[Place], time_ms: int) -> dict[Place, int]:
        """Return the first offset of each partition that was appended at or after a time; partitions without one are missing."""
        spec = OffsetSpec.for_timestamp(time_ms)
        found = self._offsets(places, spec, IsolationLevel.READ_UNCOMMITTED)
        return {place: offset for place, offset in found.items() if offset >= 0}

    def stable_ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """Return the last stable offsets: where a read_committed reader's view ends."""
        return self._offsets(places, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)  # type: ignore[no-untyped-call]

    def true_ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """Return the ends with open transactions counted in. A read_committed consumer cannot know them: its own end is the last
        stable offset.
        """
        return self._offsets(places, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)  # type: ignore[no-untyped-call]

    def _offsets(self, places: Iterable[Place], spec: OffsetSpec, isolation: IsolationLevel) -> dict[Place, int]:
        request = {TopicPartition(topic, partition): spec for topic, partition in places}
        if not request:
            return {}
        found: dict[TopicPartition, Any] = self._ask(
            lambda: self._client.list_offsets(request, isolation_level=isolation, request_timeout=REQUEST_SECONDS),
            "asking for offsets",
        )
        return {(place.topic, place.partition): answer.offset for place, answer in found.items()}

    def committed(self, group: str, places: Sequence[Place]) -> dict[Place, int]:
        """Return the committed positions of a group; partitions without one are missing."""
        if not places:
            return {}
        request = ConsumerGroupTopicPartitions(group, [TopicPartition(*place) for place in places])
        answers = self._ask(
            lambda: self._client.list_consumer_group_offsets([request], request_timeout=REQUEST_SECONDS),
            f"asking for the positions of {group}",
        )
        (found,) = answers.values()
        return {(tp.topic, tp.partition): tp.offset for tp in found.topic_partitions if tp.offset >= 0}
