"""Canonical events → HEC envelopes, without parsing the events.

``{"time":…,"host":…,"source":…,"sourcetype":…,"index":…,"event":{…}}``, one a line. Only these keys: Splunk answers 200 to an
unknown key and drops the rest of the request. Everything but time and event is the same for the whole target, so a request
has one index, and a forbidden index fails at the first event with nothing stored.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from operator import add

import orjson

from connectors.base import Record, Rejection, heads_of
from connectors.schemas.plain import text_of
from connectors.splunk_hec.settings import SplunkHecSettings
from exporter.domain.events import HEAD_ID, event_id_of, time_digits_of

#: A canonical event holds at least its head and one key; ``{}`` would be blank to some releases of Splunk (code 13).
_MIN_EVENT_BYTES = 60


#: What follows the event and ends the envelope.
_TAIL = b"}\n"


@dataclass(slots=True, repr=False)
class Encoded:
    """Events that can be sent, as columns: ``indices`` within the batch, what precedes each event in its envelope, and the
    events themselves, which are not copied before the request is joined.
    """

    indices: list[int]
    heads: list[bytes]
    values: list[bytes]

    def drop(self, count: int) -> None:
        """Take the first ones off."""
        del self.indices[:count], self.heads[:count], self.values[:count]

    def fitting(self, max_bytes: int, most: int) -> int:
        """Return how many of the first ``most`` make a request of at most so many bytes; 0 when the first is larger."""
        sizes = map(add, map(len, islice(self.heads, most)), map(len, self.values))
        return bisect_right(list(accumulate(map(len(_TAIL).__add__, sizes))), max_bytes)

    def body(self, count: int) -> bytes:
        """Return the first ``count`` envelopes as one request."""
        parts = [_TAIL] * (3 * count)
        parts[0::3] = self.heads[:count]
        parts[1::3] = self.values[:count]
        return b"".join(parts)


class Envelopes:
    """Encoder of one target."""

    def __init__(self, settings: SplunkHecSettings) -> None:
        keys = {
            "host": settings.host,
            "source": settings.source,
            "sourcetype": settings.sourcetype,
            "index": settings.index,
        }
        constant = orjson.dumps({key: value for key, value in keys.items() if value is not None})
        self._is_text = settings.schema in {"message", "raw"}
        self._middle = b"," + constant[1:-1] + b',"event":'
        # A text has no room for its id, so that stands beside it as an indexed field.
        self._text_middle = b"," + constant[1:-1] + b',"fields":{"event_id":"%b"},"event":'

    def head(self, value: bytes) -> bytes:
        """Return what precedes an event in its envelope. Raises ValueError when it is no canonical event.

        Time has microseconds, exactly six digits, and never goes through a float: Splunk keeps no more, and tells seconds
        from milliseconds by magnitude, so the decimal point must be there.
        """
        if not value.startswith(HEAD_ID) or not value.endswith(b"}") or len(value) < _MIN_EVENT_BYTES:
            raise ValueError("not a canonical event")
        digits = time_digits_of(value)
        if len(digits) > 9 and digits.isdigit():
            return b'{"time":' + digits[:-9] + b"." + digits[-9:-3] + self._middle
        micros = int(digits) // 1000
        sign = b"-" if micros < 0 else b""
        return b'{"time":%b%d.%06d%b' % (sign, *divmod(abs(micros), 1_000_000), self._middle)

    def encode(self, records: Sequence[Record]) -> tuple[Encoded, list[Rejection]]:
        """Encode what can be sent; what Splunk would misread is rejected here already."""
        if self._is_text:
            return self._encode_texts(records)
        values = [record.value for record in records]
        try:  # nearly always all are good, and a comprehension is the fastest way through them
            return Encoded(list(range(len(values))), list(map(self.head, heads_of(records))), values), []
        except ValueError:
            pass
        encoded, rejected = Encoded([], [], []), []
        for index, record in enumerate(records):
            try:
                encoded.heads.append(self.head(record.head))
            except ValueError:
                rejected.append(Rejection(index, "not_canonical", "not a canonical event; it was not sent"))
            else:
                encoded.indices.append(index)
                encoded.values.append(record.value)
        return encoded, rejected

    def _encode_texts(self, records: Sequence[Record]) -> tuple[Encoded, list[Rejection]]:
        """Encode events of the schemas ``message`` and ``raw``: the event is a JSON string."""
        encoded, rejected = Encoded([], [], []), []
        for index, record in enumerate(records):
            text = text_of(record.value)
            if not text[1:-1].strip():
                rejected.append(Rejection(index, "blank", "the event has no text, and Splunk refuses blank events"))
                continue
            try:
                head = self.head(record.head)
                middle = self._text_middle % event_id_of(record.head).encode()
            except ValueError:
                rejected.append(Rejection(index, "not_canonical", "not a canonical event; it was not sent"))
                continue
            encoded.indices.append(index)
            encoded.heads.append(head.removesuffix(self._middle) + middle)
            encoded.values.append(text)
        return encoded, rejected
