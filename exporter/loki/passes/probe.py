"""Looking at hours again: one count query over all of them, counts of halves down to what changed, and reads of only that.

Nothing here changes what is kept: the findings are applied by the reader, between two windows of the live reading.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from exporter.domain.checkpoints import Trouble
from exporter.domain.entries import StreamEntries
from exporter.domain.windows import NS_PER_HOUR, NS_PER_MINUTE, Window
from exporter.errors import ShrinkPage, SplitWindow
from exporter.loki.found import Found, pick
from exporter.loki.gathering import Whole
from exporter.loki.hours import Cell, Hours
from exporter.loki.passes.difference import Difference, difference
from exporter.loki.passes.explained import Explanations
from exporter.loki.passes.memory import Memory
from exporter.loki.passes.schedule import Round, window_of
from exporter.loki.patience import Patience
from exporter.loki.proof import Job, Prover
from exporter.loki.source import Source

#: Minutes are read together when Loki counts at most this share of a page in them.
_PAGE_SHARE = 0.45
#: Reads of a window in which exported lines are missing or that cannot be told apart: Loki may have answered without a chunk that
#: its store failed to give (finding 4), and the next answer is whole.
_READS = 3
#: Before the seal Loki is asked twice, for an answer may lack a chunk and no later pass would be sure to come.
_ANSWERS = {"seal": 2}


@dataclass(slots=True)
class Verdict:
    """What is to be noted of one cell: Loki's count (-1: leave it), and exported events that are gone for a reason."""

    cell: Cell
    loki_count: int
    gone: int


@dataclass(slots=True, repr=False)
class Reading:
    """A window read again: ``whole`` holds its new entries only, and what could not be proven."""

    name: str
    whole: Whole
    verdicts: list[Verdict]


@dataclass(slots=True)
class Passed:
    """A round is over. ``loki_count``: what Loki counted in the hours; ``deletes``: per hour the delete requests looked into;
    ``changed``: hours of which parts were read; ``hidden``: windows that Loki does not answer for any more.
    """

    round: Round
    loki_count: int = 0
    changed: int = 0
    deletes: dict[int, int] = field(default_factory=dict)
    hidden: list[Window] = field(default_factory=list)


class Probe:
    """Looks at the hours of one tenant's source."""

    def __init__(self, source: Source, prover: Prover, patience: Patience, hours: Hours, memory: Memory) -> None:
        self._source, self._prover, self._patience = source, prover, patience
        self._hours, self._memory = hours, memory

    async def look(
        self,
        due: Round,
        *,
        origin_ns: int,
        visible_ns: int,
        sealed_ns: int,
        troubles: Sequence[Trouble],
        explanations: Explanations,
    ) -> AsyncIterator[Reading | Passed]:
        """Yield what changed in the hours of a round, then that it is over. ``visible_ns``: Loki answers from there on."""
        passed = Passed(due)
        asked = [hour for hour in due.hours if hour >= visible_ns]
        passed.hidden = [window_of(hour, origin_ns) for hour in due.hours if hour < visible_ns]
        answers = [await self._count_hours(asked) for _ in range(_ANSWERS.get(due.name, 1))]
        for hour in asked:
            window = window_of(hour, origin_ns)
            deletes = explanations.deletes_of(window)
            passed.loki_count += answers[0].get(hour, 0)
            # Loki's right-closed cell misses what stands exactly on the hour and counts it to the hour before. Before the first hour
            # of all stands what is not ours.
            due_counts = [(h, self._hours.expected_cell(h)) for h in (hour - NS_PER_HOUR, hour)]
            agreed = hour > origin_ns and all(counts.get(h, 0) == n for counts in answers for h, n in due_counts)
            forced = [Window(t.start_ns, t.end_ns) for t in troubles if t.state != "held"]
            if deletes != self._hours.deletes(hour):
                forced += explanations.deletes
            forced = [f for f in forced if f.start_ns < window.end_ns and f.end_ns > window.start_ns]
            if forced or not agreed:
                before = passed.changed
                async for cells, count in self._changed(self._hours.cells(window), forced):
                    passed.changed = before + 1
                    yield await self._read(due.name, cells, count, sealed_ns, explanations)
            passed.deletes[hour] = deletes
        yield passed

    async def _count_hours(self, hours: Sequence[int]) -> dict[int, int]:
        """Ask for the cells of hours and of the one before each, run by run."""
        wanted = sorted({h for hour in hours for h in (hour - NS_PER_HOUR, hour)})
        counts: dict[int, int] = {}
        while wanted:
            end = next((i for i in range(1, len(wanted)) if wanted[i] != wanted[i - 1] + NS_PER_HOUR), len(wanted))
            counts |= await self._counts(wanted[:end])
            wanted = wanted[end:]
        return counts

    async def _counts(self, hours: Sequence[int]) -> dict[int, int]:
        """Ask for the right-closed hours; where that is too heavy for one query, in halves."""
        first, last = hours[0], hours[-1]
        try:
            return await self._patience.run(lambda: self._source.hours(first, last), passes=(SplitWindow, ShrinkPage))
        except (SplitWindow, ShrinkPage):
            if len(hours) == 1:
                return {first: -1}  # differs from whatever is expected, so the hour is counted in parts
        middle = len(hours) // 2
        return await self._counts(hours[:middle]) | await self._counts(hours[middle:])

    async def _changed(
        self, cells: Sequence[Cell], forced: Sequence[Window]
    ) -> AsyncIterator[tuple[Sequence[Cell], int]]:
        """Yield the groups of cells whose count is not what it should be, small enough to be read together."""
        window = Window(cells[0].window.start_ns, cells[-1].window.end_ns)
        forced = [f for f in forced if f.start_ns < window.end_ns and f.end_ns > window.start_ns]
        count = await self._patience.run(lambda: self._source.count(window))
        if count == sum(cell.expected for cell in cells) and not forced:
            return
        if len(cells) == 1 or max(count, *(cell.count for cell in cells)) <= self._prover.page_entries * _PAGE_SHARE:
            yield cells, count
            return
        middle = len(cells) // 2
        for half in (cells[:middle], cells[middle:]):
            async for found in self._changed(half, forced):
                yield found

    # --- one window ---------------------------------------------------------------------------------------------------

    async def _read(
        self, name: str, cells: Sequence[Cell], count: int, sealed_ns: int, explanations: Explanations
    ) -> Reading:
        window = Window(cells[0].window.start_ns, cells[-1].window.end_ns)
        found, body_bytes, whole = Found(), 0, None
        for _ in range(_READS):
            whole = await self._read_once(window, count)
            body_bytes += whole.body_bytes
            found.add(whole.streams)
            streams = found.streams()
            parts = [_clipped(streams, cell.window) for cell in cells]
            differences = [self._difference(cell, part) for cell, part in zip(cells, parts, strict=True)]
            if not any(_is_open(d, c, explanations) for d, c in zip(differences, cells, strict=True)):
                break
            count = await self._patience.run(lambda: self._source.count(window))
        assert whole is not None
        return self._reading(name, window, cells, parts, differences, whole, body_bytes, sealed_ns, explanations)

    async def _read_once(self, window: Window, count: int) -> Whole:
        """Read a window in as many parts as it takes and join them."""
        jobs, wholes = [Job(window, expected=count)], []
        while jobs:
            job = jobs.pop()
            result = await self._patience.run(lambda job=job: self._prover.attempt(job))  # type: ignore[misc]
            if isinstance(result, Whole):
                wholes.append(result)
            else:
                jobs += reversed(result)
        if len(wholes) == 1 and wholes[0].loki_count >= 0:
            return wholes[0]
        found = Found(stream for whole in wholes for stream in whole.streams)
        counts = [whole.loki_count for whole in wholes]
        return Whole(
            window,
            found.streams(),
            sum(counts) if min(counts) >= 0 else count,
            sum(whole.body_bytes for whole in wholes),
            sum(whole.weight for whole in wholes),
            troubles=[trouble for whole in wholes for trouble in whole.troubles],
        )

    def _difference(self, cell: Cell, streams: list[StreamEntries]) -> Difference:
        minute_ns = cell.window.start_ns // NS_PER_MINUTE * NS_PER_MINUTE
        whole_minute = cell.window.duration_ns <= NS_PER_MINUTE
        return difference(cell, self._memory.get(minute_ns, cell.count) if whole_minute else None, streams)

    def _reading(
        self,
        name: str,
        window: Window,
        cells: Sequence[Cell],
        parts: Sequence[list[StreamEntries]],
        differences: Sequence[Difference],
        whole: Whole,
        body_bytes: int,
        sealed_ns: int,
        explanations: Explanations,
    ) -> Reading:
        troubles, verdicts, new = list(whole.troubles), [], Found()
        surplus = whole.loki_count - sum(len(stream) for part in parts for stream in part)
        for cell, part, found in zip(cells, parts, differences, strict=True):
            shown = sum(map(len, part))
            counted = max(0, shown + surplus)
            surplus -= counted - shown
            trouble = _trouble_of(cell, found, shown, sealed_ns, explanations)
            if trouble is not None:
                troubles.append(trouble)
            elif not whole.troubles:
                gone = found.gone if found.decided else max(0, cell.count - shown)
                verdicts.append(Verdict(cell, counted, max(cell.gone, gone)))
            if found.new:
                new.add(pick(stream, [i for i, x in enumerate(stream.event_ids) if x in found.new]) for stream in part)
        streams = [stream for stream in new.streams() if len(stream)]
        result = Whole(window, streams, whole.loki_count, body_bytes, whole.weight, troubles=troubles)
        return Reading(name, result, verdicts)


def _is_open(found: Difference, cell: Cell, explanations: Explanations) -> bool:
    return not found.decided or (found.gone > cell.gone and not explanations.explain(cell.window))


def _trouble_of(
    cell: Cell, found: Difference, shown: int, sealed_ns: int, explanations: Explanations
) -> Trouble | None:
    """Return what stays open of a cell after it was read as often as it helps."""
    explained = explanations.explain(cell.window)
    window, missing = cell.window, cell.count - shown
    if not found.decided and not (missing >= 0 and explained and window.end_ns <= sealed_ns):
        reason = "what is new here cannot be told from what was exported, too many lines came late; replay the window"
        return Trouble("suspect", window.start_ns, window.end_ns, reason, abs(missing))
    if found.gone > cell.gone and not explained:
        reason = "Loki no longer shows lines that were exported, and no delete request or retention explains it"
        return Trouble("suspect", window.start_ns, window.end_ns, reason, found.gone - cell.gone)
    return None


def _clipped(streams: Sequence[StreamEntries], window: Window) -> list[StreamEntries]:
    """Return the entries inside the window; streams are in time order."""
    parts = []
    for stream in streams:
        low, high = bisect_left(stream.times_ns, window.start_ns), bisect_left(stream.times_ns, window.end_ns)
        if low < high:
            parts.append(stream if high - low == len(stream) else pick(stream, range(low, high)))
    return parts
