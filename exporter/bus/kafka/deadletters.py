"""Dead letters on one compacted topic per target.

The key is the event's place on the bus, so an event that is refused again (after a crash before its offset was committed, or by a
re-drive) stays one open letter. A tombstone resolves it; its header says how. The value is the event itself, everything
else is in headers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from confluent_kafka import Message

from exporter.bus.base import DeadLetter
from exporter.bus.kafka.admin import Admin
from exporter.bus.kafka.appender import Appended, Appender
from exporter.bus.kafka.scan import scan
from exporter.bus.kafka.topics import Names
from exporter.settings.model import KafkaBus

_TEXTS = ("tenant", "event_id", "reason", "code")
_NUMBERS = ("partition", "offset", "failed_ns")


class KafkaDeadLetters:
    """See ``exporter.bus.base.DeadLetters``. A letter's number is its offset."""

    def __init__(self, settings: KafkaBus, admin: Admin, appender: Appender) -> None:
        self._settings, self._admin, self._appender = settings, admin, appender
        self._names = Names(settings.topic_prefix)

    def append(self, letters: Sequence[DeadLetter]) -> None:
        """Raises BusUnavailable, ConfigurationError."""
        self._appender.append([self._encode(letter) for letter in letters])

    def _encode(self, letter: DeadLetter) -> Appended:
        headers: dict[str, str | bytes | None] = {n: str(getattr(letter, n)).encode() for n in _TEXTS + _NUMBERS}
        key = f"{letter.tenant}/{letter.partition}/{letter.offset}".encode()
        return Appended(self._names.dead_letters(letter.target), key, letter.value, headers | {"key": letter.key})

    def list(self, target: str) -> Iterator[DeadLetter]:
        """Two passes: first which are open (keys only), then these; so memory does not grow with the letters' bytes."""
        open_offsets, ends = self._open(target)
        wanted = set(open_offsets.values())
        for message in scan(self._settings, ends) if wanted else ():
            if message.offset() in wanted:
                yield _decode(target, message)

    def _open(self, target: str) -> tuple[dict[bytes, int], dict[tuple[str, int], int]]:
        """Return key → offset of the open letters, and the end up to which that holds."""
        topic = self._names.dead_letters(target)
        if topic not in self._admin.topics():
            return {}, {}
        ends = self._admin.stable_ends([(topic, 0)])
        letters: dict[bytes, int] = {}
        for message in scan(self._settings, ends):
            key = message.key() or b""
            if message.value() is None:
                letters.pop(key, None)
            else:
                letters[key] = message.offset() or 0
        return letters, ends

    def resolve(self, target: str, numbers: Sequence[int], outcome: str) -> None:
        """Raises BusUnavailable, ConfigurationError."""
        wanted, topic = set(numbers), self._names.dead_letters(target)
        keys = [key for key, number in self._open(target)[0].items() if number in wanted]
        self._appender.append([Appended(topic, key, None, {"outcome": outcome.encode()}) for key in keys])

    def counts(self) -> dict[str, int]:
        """Raises BusUnavailable, ConfigurationError."""
        targets = [target for topic in self._admin.topics() if (target := self._names.target_of(topic)) is not None]
        return {target: len(self._open(target)[0]) for target in sorted(targets)}


def _decode(target: str, message: Message) -> DeadLetter:
    headers = {name: value if isinstance(value, bytes) else b"" for name, value in _pairs(message)}
    return DeadLetter(
        target=target,
        key=headers.get("key", b""),
        value=message.value() or b"",
        number=message.offset() or 0,
        **{name: headers.get(name, b"").decode() for name in _TEXTS},  # type: ignore[arg-type]
        **{name: int(headers.get(name, b"0")) for name in _NUMBERS},  # type: ignore[arg-type]
    )


def _pairs(message: Message) -> Iterator[tuple[str, object]]:
    headers = message.headers() or []
    yield from headers.items() if isinstance(headers, dict) else headers
