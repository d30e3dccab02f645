"""Canonical events → requests of HEC, without parsing the events unless their metadata comes from templates.

``{"time":…,"host":…,"source":…,"sourcetype":…,"index":…,"fields":{…},"event":{…}}``, one a line. Only these keys: Splunk answers
200 to an unknown key and drops the rest of the request. A request has one index, so that a forbidden one fails at the first
event with nothing stored, and harms no event of another.

For the raw endpoint a request is lines, and what stands in the envelope otherwise in its address.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from operator import add
from urllib.parse import urlencode

import orjson

from connectors.base import Record, Rejection, heads_of
from connectors.schemas.plain import text_of
from connectors.splunk_hec.metadata import Metadata, MetadataOf
from connectors.splunk_hec.settings import SplunkHecSettings
from exporter.domain.events import HEAD_ID, HEAD_TIME, event_id_of, time_digits_of

#: A canonical event holds at least its head and one key; ``{}`` would be blank to some releases of Splunk (code 13).
_MIN_EVENT_BYTES = 60
#: Where the time of an event of this century stands: 19 digits of nanoseconds.
_TIME = len(HEAD_ID) + 32 + len(HEAD_TIME)
_COMMA = ord(",")
#: What follows the event and ends the envelope.
_TAIL = b"}\n"


@dataclass(slots=True, repr=False)
class Encoded:
    """Events for one index that can be sent, as columns: ``indices`` within the batch, what precedes each event in its
    envelope, and the events themselves, which are not copied before the request is joined. ``query`` belongs to the address.
    """

    index: str | None = None
    query: str = ""
    tail: bytes = _TAIL
    indices: list[int] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)

    def drop(self, count: int, start: int = 0) -> list[int]:
        """Take so many off, the first ones by default; return their indices."""
        cut = slice(start, start + count)
        gone = self.indices[cut]
        del self.indices[cut], self.heads[cut], self.values[cut]
        return gone

    def fitting(self, max_bytes: int, most: int) -> int:
        """Return how many of the first ``most`` make a request of at most so many bytes; 0 when the first is larger."""
        tail = len(self.tail)
        if len(self.values) <= most:
            whole = sum(map(len, self.heads)) + sum(map(len, self.values)) + tail * len(self.values)
            if whole <= max_bytes:
                return len(self.values)
        sizes = map(add, map(len, islice(self.heads, most)), map(len, self.values))
        return bisect_right(list(accumulate(map(tail.__add__, sizes))), max_bytes)

    def body(self, count: int) -> bytes:
        """Return the first ``count`` events as one request."""
        parts = [self.tail] * (3 * count)
        parts[0::3] = self.heads[:count]
        parts[1::3] = self.values[:count]
        return b"".join(parts)


class Envelopes:
    """Encoder of one target."""

    def __init__(self, settings: SplunkHecSettings) -> None:
        self._metadata = MetadataOf(settings)
        self._is_text = settings.schema in {"message", "raw"}
        self._is_raw = settings.endpoint == "raw"

    def encode(self, tenant: str, records: Sequence[Record]) -> tuple[list[Encoded], list[Rejection]]:
        """Encode what can be sent, one group for each index; what Splunk would misread is rejected here already."""
        constant = self._metadata.of_tenant(tenant)
        if constant is not None and not self._is_text and not self._is_raw:
            middle = constant.middle()
            try:  # nearly always all are good, and a comprehension is the fastest way through them
                heads = _heads(heads_of(records), middle)
            except ValueError:
                pass
            else:
                values = [record.value for record in records]
                return [Encoded(constant.index, indices=list(range(len(values))), heads=heads, values=values)], []
        return self._encode_each(records, constant)

    def _encode_each(
        self, records: Sequence[Record], constant: Metadata | None
    ) -> tuple[list[Encoded], list[Rejection]]:
        groups: dict[tuple[str | None, str], Encoded] = {}
        rejected: list[Rejection] = []
        for index, record in enumerate(records):
            try:
                head = record.head
                time = _time(head)
                metadata = constant or self._metadata.of_event(head)
            except ValueError:
                rejected.append(Rejection(index, "not_canonical", "not a canonical event; it was not sent"))
                continue
            value = text_of(record.value) if self._is_text else record.value
            if self._is_text and _is_blank(value):
                rejected.append(Rejection(index, "blank", "the event has no text, and Splunk refuses blank events"))
                continue
            if self._is_raw:
                self._add_raw(groups, metadata, index, value)
            else:
                before = metadata.middle(event_id_of(head) if self._is_text else None)
                group = groups.setdefault((metadata.index, ""), Encoded(metadata.index))
                _add(group, index, time + before, value)
        return list(groups.values()), rejected

    def _add_raw(
        self, groups: dict[tuple[str | None, str], Encoded], metadata: Metadata, index: int, value: bytes
    ) -> None:
        if self._is_text:
            value = _one_line(value)
        query = urlencode(metadata.columns())
        group = groups.setdefault((metadata.index, query), Encoded(metadata.index, query, b"\n"))
        _add(group, index, b"", value)


def _add(group: Encoded, index: int, head: bytes, value: bytes) -> None:
    group.indices.append(index)
    group.heads.append(head)
    group.values.append(value)


def _is_blank(text: bytes) -> bool:
    """Tell whether a JSON string has nothing but white space, escaped or not."""
    inner = text[1:-1].strip()
    if inner and inner[:1] != b"\\" and inner.isascii():
        return False
    return not orjson.loads(text).strip()


def _one_line(text: bytes) -> bytes:
    """Return a JSON string as a line: what breaks it would make two events of one."""
    plain: str = orjson.loads(text)
    return plain.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").replace("\n", "\\n").encode()


def _heads(canonical: Sequence[bytes], middle: bytes) -> list[bytes]:
    """Return what precedes each event in its envelope. Raises ValueError when one of them is no canonical event.

    Time has microseconds, exactly six digits, and never goes through a float: Splunk keeps no more, and tells seconds
    from milliseconds by magnitude, so the decimal point must be there.
    """
    id_end, end = _TIME - len(HEAD_TIME), _TIME + 19
    seconds, micros = slice(_TIME, _TIME + 10), slice(_TIME + 10, _TIME + 16)
    plain = [
        b'{"time":' + value[seconds] + b"." + value[micros] + middle
        for value in canonical
        if len(value) >= _MIN_EVENT_BYTES + 19
        and value[end] == _COMMA
        and value[id_end:_TIME] == HEAD_TIME
        and value.startswith(HEAD_ID)
        and value.endswith(b"}")
    ]
    if len(plain) == len(canonical) and b"".join([value[_TIME:end] for value in canonical]).isdigit():
        return plain
    return [_time(value) + middle for value in canonical]


def _time(value: bytes) -> bytes:
    """Return the beginning of an envelope, with the time of any event. Raises ValueError when it is no canonical event."""
    if not value.startswith(HEAD_ID) or not value.endswith(b"}") or len(value) < _MIN_EVENT_BYTES:
        raise ValueError("not a canonical event")
    micros = int(time_digits_of(value)) // 1000
    sign = b"-" if micros < 0 else b""
    return b'{"time":%b%d.%06d' % (sign, *divmod(abs(micros), 1_000_000))
