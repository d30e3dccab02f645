"""Which hours are due for which pass. Pure functions of the marks, the bounds and the time.

WARM, COLD and SEAL go forward over the hours once each; DRIFT looks at everything between COLD and SEAL every day and at sealed history
every month, a few hours at a time. An hour is due only when no other part of the reader touches it any more: the near cells have
let go of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from exporter.domain.checkpoints import PassMarks, Trouble, hour_start_of
from exporter.domain.windows import NS_PER_HOUR, NS_PER_SECOND, Window
from exporter.loki.limits import TenantLimits
from exporter.settings.model import PassSettings

#: Hours of one round: one count query answers for all of them.
HOURS_A_ROUND = 24
#: Once a line was accepted it takes so long until the store shows it: flush after at most 2 h, index 36 min (Loki's own estimate,
#: ``pkg/loki/modules.go`` ``minIngesterQueryStoreDuration``).
_FLUSH_SECONDS = 3 * 3600.0
#: What leaves Loki's lookback is asked for this long before.
_MARGIN_SECONDS = 2 * 3600.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """After the end of an hour, when its passes are due, in ns; from Loki's limits where it tells them, else from the settings.
    ``lookback_ns``: how far back Loki answers at all; ``retention_ns``: how long it keeps lines (0: for ever).
    """

    warm_ns: int
    cold_ns: int
    seal_ns: int
    drift_every_ns: int
    recheck_every_ns: int
    lookback_ns: int
    retention_ns: int
    shortest_retention_ns: int

    @classmethod
    def of(cls, settings: PassSettings, limits: TenantLimits) -> Bounds:
        """Return what settings and limits say together. A seal is never later than Loki can still be asked."""
        seal = settings.seal_after_seconds or limits.max_age_seconds + _FLUSH_SECONDS
        for end in (limits.max_query_lookback_seconds, limits.retention_seconds):
            if end:
                seal = min(seal, max(end - _MARGIN_SECONDS, 0.0))
        return cls(
            _ns(settings.warm_after_seconds),
            _ns(settings.cold_after_seconds),
            _ns(seal),
            _ns(settings.drift_every_seconds),
            _ns(settings.recheck_every_seconds),
            _ns(limits.max_query_lookback_seconds),
            _ns(limits.retention_seconds),
            _ns(limits.shortest_retention_seconds),
        )


@dataclass(frozen=True, slots=True)
class Round:
    """Hours (their starts, in order) that go through a pass together, and the marks after it."""

    name: str
    hours: tuple[int, ...]
    marks: PassMarks


def next_round(
    marks: PassMarks, troubles: Sequence[Trouble], origin_ns: int, free_ns: int, now_ns: int, bounds: Bounds
) -> Round | None:
    """Return what is most due, None when nothing is. ``free_ns``: hours that end before it belong to the passes."""
    first = hour_start_of(origin_ns)
    last = hour_start_of(free_ns - 1)  # end of the last whole hour before free_ns
    seal, cold, warm = (max(mark, first) for mark in (marks.seal_ns, marks.cold_ns, marks.warm_ns))
    cold = max(cold, seal)
    warm = max(warm, cold)
    forward = (
        ("warm", warm, bounds.warm_ns),
        ("cold", cold, bounds.cold_ns),
        ("seal", seal, bounds.seal_ns),
    )
    # An hour whose later pass is due as well needs no earlier one: what it would find, the later one finds.
    reached = {name: max(start, min(last, hour_start_of(now_ns - after))) for name, start, after in forward}
    starts = {"seal": seal, "cold": max(cold, reached["seal"]), "warm": max(warm, reached["cold"], reached["seal"])}
    for name in ("warm", "cold", "seal"):
        end = min(reached[name], starts[name] + HOURS_A_ROUND * NS_PER_HOUR)
        if starts[name] < end:
            hours = tuple(range(starts[name], end, NS_PER_HOUR))
            return Round(name, hours, replace(marks, **{f"{name}_ns": end}))
    return _drift(marks, troubles, seal, cold, now_ns, bounds) or _recheck(marks, first, seal, now_ns, bounds)


def _drift(
    marks: PassMarks, troubles: Sequence[Trouble], seal: int, cold: int, now_ns: int, bounds: Bounds
) -> Round | None:
    """The daily round over what is not sealed, and over windows in trouble."""
    open_hours = set(range(seal, cold, NS_PER_HOUR)) | {h for t in troubles for h in _unproven_hours(t, seal)}
    oldest = now_ns - bounds.lookback_ns if bounds.lookback_ns else 0
    hours = sorted(hour for hour in open_hours if hour >= oldest)
    due = _due(marks.drift_at_ns, len(hours), bounds.drift_every_ns, now_ns)
    if due is None or not hours:
        return None
    chunk, place = _chunk(hours, marks.drift_ns)
    return Round("drift", chunk, replace(marks, drift_ns=place, drift_at_ns=due))


def _recheck(marks: PassMarks, first: int, seal: int, now_ns: int, bounds: Bounds) -> Round | None:
    """The rare round over sealed history, as far back as Loki keeps and shows it."""
    reach = min((r for r in (bounds.lookback_ns, bounds.retention_ns) if r), default=now_ns)
    oldest = max(first, hour_start_of(now_ns - reach) + 2 * NS_PER_HOUR)
    hours = range(oldest, seal, NS_PER_HOUR)
    due = _due(marks.recheck_at_ns, len(hours), bounds.recheck_every_ns, now_ns)
    if due is None or not hours:
        return None
    place = max(marks.recheck_ns, oldest)
    place = place if place < seal else oldest
    chunk = tuple(range(place, min(seal, place + HOURS_A_ROUND * NS_PER_HOUR), NS_PER_HOUR))
    return Round("drift", chunk, replace(marks, recheck_ns=chunk[-1] + NS_PER_HOUR, recheck_at_ns=due))


def started(marks: PassMarks, now_ns: int) -> PassMarks:
    """Begin the rounds of DRIFT with the first day, not with a burst at the first start."""
    return replace(marks, drift_at_ns=marks.drift_at_ns or now_ns, recheck_at_ns=marks.recheck_at_ns or now_ns)


def sealed_ns(known_ns: int, marks: PassMarks, troubles: Sequence[Trouble]) -> int:
    """Return the sealed frontier: as far as the SEAL pass came without leaving a window unproven. It never goes back: a line that
    Loki loses after the proof was exported.
    """
    unproven = [t.start_ns for t in troubles if t.state != "held"]
    return max(known_ns, min([marks.seal_ns, *unproven]))


def _unproven_hours(trouble: Trouble, before_ns: int) -> range:
    if trouble.state == "held":
        return range(0)
    return range(hour_start_of(trouble.start_ns), min(trouble.end_ns, before_ns), NS_PER_HOUR)


def _due(at_ns: int, hours: int, every_ns: int, now_ns: int) -> int | None:
    """Return the time up to which a round over ``hours`` hours has done its share after its next chunk; None before that."""
    step_ns = every_ns // max(1, -(-hours // HOURS_A_ROUND))
    at_ns = max(at_ns, now_ns - every_ns)
    return at_ns + step_ns if at_ns + step_ns <= now_ns else None


def _chunk(hours: Sequence[int], place: int) -> tuple[tuple[int, ...], int]:
    """Return the next hours from ``place`` on, beginning anew at the end, and the place after them."""
    chunk = tuple([hour for hour in hours if hour >= place][:HOURS_A_ROUND]) or tuple(hours[:HOURS_A_ROUND])
    return chunk, chunk[-1] + NS_PER_HOUR


def window_of(hour_ns: int, origin_ns: int) -> Window:
    """Return the part of an hour that is ours to prove."""
    return Window(max(hour_ns, origin_ns), hour_ns + NS_PER_HOUR)


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_SECOND)
