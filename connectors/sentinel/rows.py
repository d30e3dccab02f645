"""Canonical events → rows of the table, each parsed once and mapped by a compiled table.

What a column cannot hold is never sent to be nulled or cut by Azure: a value of a wrong type moves to ``unmapped`` and is
counted, a field over 64 KiB is cut here and its column named in ``truncated``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from connectors.sentinel.columns import (
    TIME,
    TIME_GENERATED,
    TIME_NS,
    TRUNCATED,
    UNMAPPED,
    Column,
)
from connectors.sentinel.plans import Plans
from exporter.domain.events import HEAD_ID

#: Azure Monitor cuts the value of a field above 64 KB; counted here as UTF-8, the larger of what it may mean.
MAX_FIELD_BYTES = 65_536
#: An event this small has no field that large, however its parts are put together (merging ``unmapped`` is checked apart).
_SMALL_EVENT_BYTES = 60_000
#: Seconds whose text is kept; events of a batch lie close together.
_MAX_SECONDS_KEPT = 4096
_INT, _LONG = 2**31, 2**63
_DATETIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CLASS_OF = {"string": str, "boolean": bool, "dynamic": dict, "real": float}


class NotCanonical(ValueError):
    """The value is no canonical event. Carries no text of it."""


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


def _is_text_like(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and pattern.fullmatch(value) is not None


_CHECK_OF: Mapping[str, Callable[[Any], bool] | None] = {
    "string": None,
    "int": _is_within(_INT),
    "long": _is_within(_LONG),
    "real": lambda value: type(value) is int or type(value) is float,
    "boolean": lambda value: type(value) is bool,
    "datetime": _is_text_like(_DATETIME),
    "guid": _is_text_like(_GUID),
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

    def encode(self, value: bytes) -> tuple[bytes, int]:
        """Return the row as JSON and the event's time in nanoseconds. Raises NotCanonical.

        Called by the connector for every event; this is most of the cost of a delivery.
        """
        if not value.startswith(HEAD_ID):
            raise NotCanonical
        try:
            event = orjson.loads(value)
            time_ns = event["time"]
            text = self._text_of(time_ns)
        except (ValueError, KeyError, TypeError, OverflowError, OSError):
            raise NotCanonical from None
        if len(value) > _SMALL_EVENT_BYTES:
            row = self._by_table(event, text, time_ns)
            self._cut(row)
        else:
            row = self._plans[tuple(event)](event, text, time_ns) or self._by_table(event, text, time_ns)
        return (self._dump_texts(row) if self._texts else orjson.dumps(row)), time_ns

    def _text_of(self, time_ns: int) -> str:
        """Return a time as ISO 8601 in UTC: 100 ns is the finest that a datetime column keeps."""
        seconds, nanos = divmod(time_ns, 1_000_000_000)
        prefix = self._seconds.get(seconds)
        if prefix is None:
            if len(self._seconds) >= _MAX_SECONDS_KEPT:
                self._seconds.clear()
            prefix = self._seconds[seconds] = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(seconds))
        return f"{prefix}{nanos // 100:07d}Z"

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
        if rest:
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

    def _dump_texts(self, row: dict[str, Any]) -> bytes:
        """Encode a row of a table without dynamic columns: objects of our own become JSON text."""
        for name in self._texts:
            if name in row:
                row[name] = orjson.dumps(row[name]).decode()
        return orjson.dumps(row)

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
