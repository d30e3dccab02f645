"""Per hour and minute, how many events were exported and their order-free fingerprint: what later passes compare.

Hours become part of a day's record when the whole day is sealed (:mod:`exporter.domain.sealed`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from exporter.domain.checkpoints import HourSummary, day_key, hour_key, hour_start_of
from exporter.domain.entries import StreamEntries
from exporter.domain.ids import add_fingerprints, fingerprint
from exporter.domain.sealed import NS_PER_DAY, DaySummary, SealedHour
from exporter.domain.windows import NS_PER_HOUR, NS_PER_MINUTE, Window

#: Sealed days are kept this long; older ones cannot be asked for by anyone's retention that we know of.
_KEPT_DAYS = 400


@dataclass(frozen=True, slots=True)
class Cell:
    """The least part of history that is compared: a minute, of compacted days an hour. ``gone``: exported events that Loki was
    already found not to show any more, for a reason; ``expected``: what it should count.
    """

    window: Window
    count: int
    fingerprint: int
    gone: int
    expected: int


class Hours:
    """The hour and day records of one tenant; each is decoded when it is first touched."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._raw: dict[str, bytes] = {}
        self._hours: dict[int, HourSummary] = {}
        self._days: dict[int, DaySummary] = {}
        self._dirty: set[str] = set()

    def restore(self, records: Mapping[str, bytes]) -> None:
        """Take over the tenant's ``hour/`` and ``day/`` records."""
        prefixes = (hour_key(self._tenant, 0)[:-1], day_key(self._tenant, 0)[:-1])
        self._raw = {key: raw for key, raw in records.items() if key.startswith(prefixes)}

    def add(self, streams: Iterable[StreamEntries]) -> int:
        """Add newly exported entries (in time order per stream) and return their fingerprint. Raises CheckpointError."""
        total = 0
        for stream in streams:
            times, position = stream.times_ns, 0
            while position < len(times):
                minute_ns = times[position] // NS_PER_MINUTE * NS_PER_MINUTE
                behind = bisect_left(times, minute_ns + NS_PER_MINUTE, position)
                print_ = fingerprint(stream.event_ids[position:behind])
                on_edge = bisect_right(times, minute_ns, position, behind) - position
                self._add_minute(minute_ns, behind - position, print_, on_edge)
                total = add_fingerprints(total, print_)
                position = behind
        return total

    def _add_minute(self, minute_ns: int, count: int, print_: int, on_edge: int) -> None:
        start_ns = hour_start_of(minute_ns)
        edge = on_edge if minute_ns == start_ns else 0
        if (day := self._day_of(start_ns)) is not None:
            day.add(_hour_in_day(start_ns), count, print_, edge)
            self._dirty.add(day_key(self._tenant, day.start_ns))
            return
        hour = self._hour(start_ns)
        hour.add_minute((minute_ns - start_ns) // NS_PER_MINUTE, count, print_)
        hour.edge += edge
        self._dirty.add(hour_key(self._tenant, start_ns))

    # --- comparing ----------------------------------------------------------------------------------------------------

    def expected_cell(self, start_ns: int) -> int:
        """Return what Loki should count in ``(start, start+1h]``, the right-closed hour of a range query."""
        here, following = self._sealed(start_ns), self._sealed(start_ns + NS_PER_HOUR)
        return here.seen - here.edge + following.edge

    def deletes(self, start_ns: int) -> int:
        """Return how many delete requests for the hour were looked into."""
        return 0 if self._day_of(start_ns) is not None else self._peek(start_ns).deletes

    def cells(self, window: Window) -> list[Cell]:
        """Return the cells of one hour, clipped to the window, which lies in it and has borders on whole minutes unless
        history begins or ends there.
        """
        start_ns = hour_start_of(window.start_ns)
        if self._day_of(start_ns) is not None:
            hour = self._sealed(start_ns)
            return [Cell(window, hour.count, hour.fingerprint, hour.gone, hour.seen)]
        record = self._peek(start_ns)
        cells = []
        for minute in range(60):
            low = max(start_ns + minute * NS_PER_MINUTE, window.start_ns)
            high = min(start_ns + (minute + 1) * NS_PER_MINUTE, window.end_ns)
            if low < high:
                count, print_ = record.minutes.get(minute, (0, 0))
                expected = record.seen.get(minute, count)
                cells.append(Cell(Window(low, high), count, print_, record.gone.get(minute, 0), expected))
        return cells

    def accept(self, window: Window, loki_count: int, gone: int) -> None:
        """Note what Loki counts in a cell that was just read whole, and how many of its exported events are gone."""
        start_ns = hour_start_of(window.start_ns)
        if (day := self._day_of(start_ns)) is not None:
            number = _hour_in_day(start_ns)
            day.hours[number] = replace(self._sealed(start_ns), seen=loki_count, gone=gone)
            self._dirty.add(day_key(self._tenant, day.start_ns))
            return
        minute = (window.start_ns - start_ns) // NS_PER_MINUTE
        hour = self._peek(start_ns)
        count = hour.minutes.get(minute, (0, 0))[0]
        if hour.seen.get(minute, count) == loki_count and hour.gone.get(minute, 0) == gone:
            return
        hour = self._hour(start_ns)
        _set_or_drop(hour.seen, minute, loki_count, loki_count != count)
        _set_or_drop(hour.gone, minute, gone, gone > 0)
        self._dirty.add(hour_key(self._tenant, start_ns))

    def looked_into(self, start_ns: int, deletes: int) -> None:
        """Note that an hour's delete requests were looked into."""
        if self._day_of(start_ns) is None and self._peek(start_ns).deletes != deletes:
            self._hour(start_ns).deletes = deletes
            self._dirty.add(hour_key(self._tenant, start_ns))

    def count_of_minute(self, minute_ns: int) -> int:
        """Return how many events of a minute were exported; -1 where minutes were given up."""
        start_ns = hour_start_of(minute_ns)
        if self._day_of(start_ns) is not None:
            return -1
        return self._peek(start_ns).minutes.get((minute_ns - start_ns) // NS_PER_MINUTE, (0, 0))[0]

    # --- records ------------------------------------------------------------------------------------------------------

    def records(self) -> dict[str, bytes | None]:
        """Return the records that changed since the last call."""
        changed: dict[str, bytes | None] = {}
        for key in self._dirty:
            number = int(key.rpartition("/")[2])
            holder = self._days if key.startswith("day/") else self._hours
            record = holder.get(number)
            changed[key] = None if record is None else record.encode()
        self._dirty.clear()
        for key, raw in changed.items():
            if raw is None:
                self._raw.pop(key, None)
            else:
                self._raw[key] = raw
        return changed

    def forget(self, before_ns: int) -> None:
        """Free what was decoded of hours that end before ``before_ns``; their records are decoded anew when needed."""
        for start_ns in [h for h in self._hours if h + NS_PER_HOUR < before_ns]:
            if hour_key(self._tenant, start_ns) not in self._dirty:
                del self._hours[start_ns]

    def compact(self, sealed_ns: int) -> None:
        """Turn the hours of days that end before ``sealed_ns`` into one record a day, and let go of days too old."""
        starts = [int(k.rpartition("/")[2]) for k in self._raw if k.startswith("hour/")]
        for start_ns in sorted({*starts, *self._hours}):
            day_ns = start_ns // NS_PER_DAY * NS_PER_DAY
            if day_ns + NS_PER_DAY > sealed_ns:
                continue
            record = self._peek(start_ns)
            key = day_key(self._tenant, day_ns)
            day = self._day_of(start_ns) or self._days.setdefault(day_ns, DaySummary(day_ns))
            if record.minutes:
                day.take(record)
            self._dirty |= {key, hour_key(self._tenant, start_ns)}
            self._hours.pop(start_ns, None)
            self._raw.pop(hour_key(self._tenant, start_ns), None)
        oldest_ns = sealed_ns - _KEPT_DAYS * NS_PER_DAY
        for key in [k for k in self._raw if k.startswith("day/") and int(k.rpartition("/")[2]) < oldest_ns]:
            self._dirty.add(key)
            self._days.pop(int(key.rpartition("/")[2]), None)
            self._raw.pop(key, None)

    def _hour(self, start_ns: int) -> HourSummary:
        """Return the hour's record to be changed; an hour without one gets one."""
        return self._hours.setdefault(start_ns, self._peek(start_ns))

    def _peek(self, start_ns: int) -> HourSummary:
        hour = self._hours.get(start_ns)
        if hour is None:
            raw = self._raw.get(hour_key(self._tenant, start_ns))
            hour = HourSummary(start_ns) if raw is None else HourSummary.decode(raw)
            if raw is not None:
                self._hours[start_ns] = hour
        return hour

    def _day_of(self, start_ns: int) -> DaySummary | None:
        """Return the day's record when this hour was made part of it."""
        day_ns = start_ns // NS_PER_DAY * NS_PER_DAY
        day = self._days.get(day_ns)
        if day is None and (raw := self._raw.get(day_key(self._tenant, day_ns))) is not None:
            day = self._days[day_ns] = DaySummary.decode(raw)
        return day

    def _sealed(self, start_ns: int) -> SealedHour:
        """Return the hour as a whole, however it is kept."""
        if (day := self._day_of(start_ns)) is not None:
            return day.hours.get(_hour_in_day(start_ns), SealedHour())
        hour = self._peek(start_ns)
        return SealedHour(hour.edge, hour.count, hour.fingerprint, hour.expected, sum(hour.gone.values()))


def _hour_in_day(start_ns: int) -> int:
    return start_ns % NS_PER_DAY // NS_PER_HOUR


def _set_or_drop(numbers: dict[int, int], minute: int, value: int, keep: bool) -> None:
    if keep:
        numbers[minute] = value
    else:
        numbers.pop(minute, None)
