"""The canonical event on the bus: one flat JSON object with a fixed head.

Each value starts with exactly ``{"event.id":"<32 hex>","time":<nanoseconds>,``. Whoever needs only the id or the time
(delivery, ledger, de-duplication) reads them by position instead of parsing the object, which would cost more than all
else on the way to a target. The functions of this module are the only places that know the layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

HEAD_ID = b'{"event.id":"'
HEAD_TIME = b'","time":'
_ID_START = len(HEAD_ID)
_ID_END = _ID_START + 32
_TIME_START = _ID_END + len(HEAD_TIME)


def encode_head(event_id_hex: str, time_ns: int) -> bytes:
    """Return the fixed head of an event including the comma that its other keys follow."""
    return f'{{"event.id":"{event_id_hex}","time":{time_ns},'.encode()


def event_id_of(value: bytes) -> str:
    """Return the event id (32 hex digits) of an encoded event. Raises ValueError when the head is not one of ours."""
    if value[:_ID_START] != HEAD_ID or value[_ID_END:_TIME_START] != HEAD_TIME:
        raise ValueError('not a canonical event: its head is not {"event.id":…,"time":…}')
    return value[_ID_START:_ID_END].decode("ascii")


def time_digits_of(value: bytes) -> bytes:
    """Return the event time of an encoded event as it stands there, a decimal number of nanoseconds: for encoders that only
    move the point and would waste most of their time on making an integer. Raises ValueError as :func:`time_ns_of`.
    """
    if value[_ID_END:_TIME_START] != HEAD_TIME:
        raise ValueError('not a canonical event: its head is not {"event.id":…,"time":…}')
    return value[_TIME_START : value.index(b",", _TIME_START)]


def time_ns_of(value: bytes) -> int:
    """Return the event time in nanoseconds of an encoded event. Raises ValueError when the head is not one of ours."""
    return int(time_digits_of(value))


#: Bytes of an event id that :func:`short_ids` keeps.
SHORT_ID_BYTES = 4
_SHORT_START = _ID_END - 2 * SHORT_ID_BYTES


def short_ids(values: Sequence[bytes]) -> bytes:
    """Return the last bytes of the events' ids, joined in order: enough to find an event and its place among millions. The
    values must be events of ours; ValueError where one surely is not.
    """
    start, end = _SHORT_START, _ID_END
    joined = bytes.fromhex(b"".join([value[start:end] for value in values]).decode("ascii"))
    if len(joined) != SHORT_ID_BYTES * len(values):
        raise ValueError("not a canonical event: it is too short for its head")
    return joined


@dataclass(slots=True, repr=False)
class EncodedBatch:
    """Redacted, encoded events of one tenant in commit order, as the pipeline hands them to the bus.

    ``keys[i]`` is the stream id (order within a stream is kept by the bus), ``values[i]`` the canonical event.
    ``held_ids`` name events that were held back because they could not be redacted safely (fail closed); they are in
    Loki still. ``filtered`` counts the events that did not leave by the
    tenant's will, by the name of the filter that took them out, or ``policy``. ``counts`` are
    accounting figures by outcome: ``in`` = ``out`` + ``held`` + ``filtered``; ``parse_declined``, ``redacted`` (events with
    at least one hit).
    """

    tenant: str
    policy_id: str
    keys: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    held_ids: list[bytes] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    redactions: dict[str, int] = field(default_factory=dict)
    filtered: dict[str, int] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Bytes of all values; what memory bounds count."""
        return sum(map(len, self.values))

    def __repr__(self) -> str:
        return f"EncodedBatch(tenant={self.tenant!r}, {len(self.values)} events, {len(self.held_ids)} held)"
