"""Per hour and minute, how many events were exported and their order-free fingerprint: what later passes compare."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from exporter.domain.checkpoints import HourSummary, hour_key, hour_start_of
from exporter.domain.entries import StreamEntries
from exporter.domain.ids import add_fingerprints, fingerprint
from exporter.domain.windows import NS_PER_HOUR, NS_PER_MINUTE


class Hours:
    """The hour records of one tenant; an hour is decoded when it is first touched."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._raw: dict[str, bytes] = {}
        self._hours: dict[int, HourSummary] = {}
        self._dirty: set[int] = set()

    def restore(self, records: Mapping[str, bytes], from_ns: int) -> None:
        """Take over the tenant's ``hour/`` records from the hour of ``from_ns`` on; older ones are never touched again."""
        prefix = hour_key(self._tenant, 0)[:-1]
        oldest = hour_start_of(from_ns)
        self._raw = {
            key: raw for key, raw in records.items() if key.startswith(prefix) and int(key[len(prefix) :]) >= oldest
        }

    def add(self, streams: Iterable[StreamEntries]) -> int:
        """Add newly exported entries (in time order per stream) and return their fingerprint. Raises CheckpointError."""
        total = 0
        for stream in streams:
            times, position = stream.times_ns, 0
            while position < len(times):
                minute_ns = times[position] // NS_PER_MINUTE * NS_PER_MINUTE
                behind = bisect_left(times, minute_ns + NS_PER_MINUTE, position)
                print_ = fingerprint(stream.event_ids[position:behind])
                self._add_minute(minute_ns, behind - position, print_)
                total = add_fingerprints(total, print_)
                position = behind
        return total

    def _add_minute(self, minute_ns: int, count: int, print_: int) -> None:
        start_ns = hour_start_of(minute_ns)
        minutes = self._hour(start_ns).minutes
        minute = (minute_ns - start_ns) // NS_PER_MINUTE
        known_count, known_print = minutes.get(minute, (0, 0))
        minutes[minute] = (known_count + count, add_fingerprints(known_print, print_))
        self._dirty.add(start_ns)

    def _hour(self, start_ns: int) -> HourSummary:
        hour = self._hours.get(start_ns)
        if hour is None:
            raw = self._raw.pop(hour_key(self._tenant, start_ns), None)
            hour = self._hours[start_ns] = HourSummary(start_ns) if raw is None else HourSummary.decode(raw)
        return hour

    def records(self) -> dict[str, bytes | None]:
        """Return the records that changed since the last call."""
        changed: dict[str, bytes | None] = {hour_key(self._tenant, h): self._hours[h].encode() for h in self._dirty}
        self._dirty.clear()
        return changed

    def forget(self, before_ns: int) -> None:
        """Free the hours that end before ``before_ns``; their records stay where they are."""
        for start_ns in [h for h in self._hours if h + NS_PER_HOUR < before_ns and h not in self._dirty]:
            del self._hours[start_ns]
