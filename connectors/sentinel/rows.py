"""Canonical events → rows of the table, each parsed once and mapped by a compiled table.

What a column cannot hold is never sent to be nulled or cut by Azure: a value of a wrong type moves to ``unmapped`` and is
counted, a field over 64 KiB is cut here and its column named in ``truncated``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from isal import igzip

from connectors.base import Record
from connectors.sentinel.columns import (
    TIME,
    TIME_GENERATED,
    TIME_NS,
    TRUNCATED,
    UNMAPPED,
    Column,
)
from connectors.sentinel.plans import Plans
from exporter.domain.events import HEAD_ID, time_ns_of

#: Azure Monitor cuts the value of a field above 64 KB; counted here as UTF-8, the larger of what it may mean.
MAX_FIELD_BYTES = 65_536
#: An event this small has no field that large, however its parts are put together (merging ``unmapped`` is checked apart).
_SMALL_EVENT_BYTES = 60_000
#: Seconds whose text is kept; events of a batch lie close together.
_MAX_SECONDS_KEPT = 4096
_INT, _LONG = 2**31, 2**63
#: What a datetime column surely takes: no more digits than it keeps.
_DATETIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,7})?(Z|[+-]\d\d:\d\d)?")
_OPEN, _CLOSE, _COMMA = b"[],"
_CLASS_OF = {"string": str, "boolean": bool, "dynamic": dict, "real": float}


Range = tuple[int, int]


@dataclass(slots=True, repr=False)
class Rows:
    """Rows by number, in one buffer with a comma around each; ``ends`` are the places behind their commas.

    Thousands of rows as objects of their own would make the allocator give memory back and fetch it again for every batch, at
    twice the cost of all else; and a buffer that grows with them would be copied eight times over. So it has ``room``, the
    expected bytes of all rows, from the start.
    """

    room: int
    text: bytearray = field(init=False)
    ends: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    #: Places of the rows in their batch.
    indices: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.text = bytearray(self.room + 2)
        self.text[0] = _COMMA

    @property
    def used(self) -> int:
        """Bytes of the buffer that hold rows."""
        return self.ends[-1] if self.ends else 1

    def add(self, encoded: list[bytes]) -> None:
        """Append rows."""
        at = end = self.used
        for row in encoded:
            end += len(row) + 1
            self.ends.append(end)
        if end > len(self.text):
            self.text += bytes(end)  # twice as much and more, so that it stays the exception
        encoded.append(b"")  # the comma behind the last one
        self.text[at:end] = b",".join(encoded)

    def start(self, row: int) -> int:
        """Return where a row begins."""
        return self.ends[row - 1] if row else 1

    def size(self, rows: Range) -> int:
        """Return the bytes of these rows as a JSON array."""
        return self.ends[rows[1] - 1] - self.start(rows[0]) + 1

    def packed(self, rows: Range, level: int) -> bytes:
        """Return these rows as a JSON array, gzipped. Nothing is copied: for the moment of packing, the commas around them are
        brackets.
        """
        first, end = self.start(rows[0]) - 1, self.ends[rows[1] - 1]
        self.text[first], self.text[end - 1] = _OPEN, _CLOSE
        try:
            with memoryview(self.text) as text, text[first:end] as part:
                return igzip.compress(part, compresslevel=level)
        finally:
            self.text[first] = self.text[end - 1] = _COMMA


@dataclass(slots=True)
class Changes:
    """How many values could not be stored as they are."""

    moved: int = 0
    truncated: int = 0


class _Place(NamedTuple):
    column: str
    #: Values of exactly this class fit without further checks; None when there is always something to check.
    fits: type | None
    #: Whether another value fits; None for string columns, which take the JSON text of anything.
    check: Callable[[Any], bool] | None


def _is_within(bound: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and -bound <= value < bound


def _is_datetime(value: Any) -> bool:
    if type(value) is not str or _DATETIME.fullmatch(value) is None:
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


_CHECK_OF: Mapping[str, Callable[[Any], bool] | None] = {
    "string": None,
    "int": _is_within(_INT),
    "long": _is_within(_LONG),
    "real": lambda value: type(value) is int or type(value) is float,
    "boolean": lambda value: type(value) is bool,
    "datetime": _is_datetime,
    "dynamic": lambda _: True,
}


@dataclass(slots=True, repr=False)
class Mapper:
    """Maps the events of one target. Not thread-safe."""

    columns: Mapping[str, Column]
    changes: Changes = field(default_factory=Changes)
    _places: dict[str, _Place] = field(init=False)
    _plans: Plans = field(init=False)
    #: Columns of our own objects that are of type string.
    _texts: tuple[str, ...] = field(init=False)
    _seconds: dict[int, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        apart = {TIME, TIME_NS, UNMAPPED, TRUNCATED}
        self._places = {
            key: _Place(column.name, _CLASS_OF.get(column.type), _CHECK_OF[column.type])
            for key, column in self.columns.items()
            if key not in apart
        }
        self._plans = Plans(self.columns, _merge)
        own = [self.columns[key] for key in (UNMAPPED, TRUNCATED)]
        self._texts = tuple(column.name for column in own if column.type == "string")

    def encode(self, records: Sequence[Record], start: int, rows: Rows) -> list[int]:
        """Add the rows of records to ``rows``; ``start`` is the place of the first one in its batch. Return the places of those
        that are no canonical events.

        This is most of the cost of a delivery, hence the one long loop and its local names.
        """
        refused = []
        encoded: list[bytes] = []
        times, indices = rows.times, rows.indices
        plans, texts, loads, dumps = self._plans, self._texts, orjson.loads, orjson.dumps
        second, prefix = -1, self._prefix(-1)
        for index, record in enumerate(records, start):
            value = record.value
            try:
                event = loads(value)
                time_ns = event["time"]
                now = time_ns // 1_000_000_000
                if now != second:
                    prefix, second = self._prefix(now), now
            except (ValueError, KeyError, TypeError, OverflowError, OSError):
                refused.append(index)
                continue
            if time_ns.__class__ is not int or not value.startswith(HEAD_ID):
                refused.append(index)
                continue
            # ISO 8601 in UTC; 100 ns is the finest that a datetime column keeps.
            stamp = f"{prefix}{time_ns % 1_000_000_000 // 100:07d}Z"
            try:
                if len(value) > _SMALL_EVENT_BYTES:
                    row = self._by_table(event, stamp, time_ns)
                    self._cut(row)
                else:
                    row = plans[tuple(event)](event, stamp, time_ns) or self._by_table(event, stamp, time_ns)
                if texts:
                    self._to_text(row)
                encoded.append(dumps(row))
            except orjson.JSONEncodeError:  # nested deeper than orjson writes (254); reading stops at 1,024 only
                refused.append(index)
                continue
            times.append(time_ns)
            indices.append(index)
        if encoded:
            rows.add(encoded)
        return refused

    def add_mapped(self, records: Sequence[Record], start: int, rows: Rows) -> list[int]:
        """Add records that are rows already (schema asim); as :meth:`encode`."""
        encoded, refused = [], []
        for index, record in enumerate(records, start):
            try:
                rows.times.append(time_ns_of(record.head))
            except ValueError:
                refused.append(index)
                continue
            value = record.value
            encoded.append(value if len(value) <= _SMALL_EVENT_BYTES else self._cut_mapped(value))
            rows.indices.append(index)
        if encoded:
            rows.add(encoded)
        return refused

    def _cut_mapped(self, value: bytes) -> bytes:
        row = orjson.loads(value)
        cut = {name: short for name, item in row.items() if (short := _shortened(item)) is not None}
        self.changes.truncated += len(cut)
        return orjson.dumps(row | cut)

    def _prefix(self, second: int) -> str:
        prefix = self._seconds.get(second)
        if prefix is None:
            if len(self._seconds) >= _MAX_SECONDS_KEPT:
                self._seconds.clear()
            prefix = self._seconds[second] = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return prefix

    def _by_table(self, event: dict[str, Any], text: str, time_ns: int) -> dict[str, Any]:
        """Map an event key by key: what is of any shape, and what a plan declined."""
        columns = self.columns
        row: dict[str, Any] = {TIME_GENERATED: text}
        rest: dict[str, Any] = {}
        for key, given in ((TIME, text), (TIME_NS, time_ns)):
            if key in columns:
                row[columns[key].name] = given
        more = None
        for key, item in event.items():
            place = self._places.get(key)
            if place is not None:
                if item is not None and not self._set(row, place, item):
                    rest[key] = item
            elif key == UNMAPPED and item.__class__ is dict:
                more = item
            elif key != TIME:
                rest[key] = item
        grown = _merge(rest, more) if more else False
        if rest or more is not None:
            row[columns[UNMAPPED].name] = rest
        if grown:
            self._cut(row)
        return row

    def _set(self, row: dict[str, Any], place: _Place, item: Any) -> bool:
        """Set a column; return False when it cannot hold the value."""
        if item.__class__ is place.fits:
            row[place.column] = item
        elif place.check is None:
            row[place.column] = orjson.dumps(item).decode()
        elif place.check(item):
            row[place.column] = item
        else:
            self.changes.moved += 1
            return False
        return True

    def _to_text(self, row: dict[str, Any]) -> None:
        """In a table without dynamic columns, objects of our own become JSON text."""
        for name in self._texts:
            if name in row:
                row[name] = orjson.dumps(row[name]).decode()

    def _cut(self, row: dict[str, Any]) -> None:
        cut = [name for name, item in row.items() if (short := _shortened(item)) is not None and _set(row, name, short)]
        if cut:
            self.changes.truncated += len(cut)
            row[self.columns[TRUNCATED].name] = cut


def _set(row: dict[str, Any], name: str, item: Any) -> bool:
    row[name] = item
    return True


def _merge(rest: dict[str, Any], more: dict[str, Any]) -> bool:
    """Add the members of ``unmapped`` to the canonical keys that have no column; one of the same name gets a prefix. Return
    whether that happened, because then the result may be larger than the event was.
    """
    if rest.keys().isdisjoint(more):
        rest.update(more)
        return False
    for key, item in more.items():
        name = key
        while name in rest or (name is not key and name in more):
            name = f"unmapped.{name}"
        rest[name] = item
    return True


def _shortened(item: Any) -> Any:
    """Return what is left of a field that is too large, or None when it is not."""
    if type(item) is str:
        return _cut_text(item, MAX_FIELD_BYTES)
    if type(item) not in {dict, list}:
        return None
    size = len(orjson.dumps(item))
    if size <= MAX_FIELD_BYTES:
        return None
    return _cut_members(item) if type(item) is dict else _cut_json(item, MAX_FIELD_BYTES)


def _cut_text(text: str, most: int) -> str | None:
    if len(text) * 4 <= most or len(raw := text.encode()) <= most:
        return None
    return raw[: max(0, most)].decode("utf-8", "ignore")


def _cut_json(item: Any, most: int) -> str:
    """Return the beginning of a value's JSON as text whose own JSON has at most so many bytes."""
    text = item if type(item) is str else orjson.dumps(item).decode()
    while len(orjson.dumps(text)) > most:
        text = _cut_text(text, most - 2) or text[: len(text) * 2 // 3]
    return text


def _cut_members(item: dict[str, Any]) -> dict[str, Any]:
    """Return an object with the members that fit, in order; the one at the edge is cut to text, those that do not even
    leave room for that are left out.
    """
    kept: dict[str, Any] = {}
    left = MAX_FIELD_BYTES - 2
    for key, value in item.items():
        head = len(orjson.dumps(key)) + 2
        size = head + len(orjson.dumps(value))
        if size > left:
            if left - head < _WORTH_BYTES:
                continue
            value = _cut_json(value, left - head)  # noqa: PLW2901 - the cut value takes its place
            size = head + len(orjson.dumps(value))
        kept[key] = value
        left -= size
    return kept


#: A shorter piece of a value tells nobody anything.
_WORTH_BYTES = 64
