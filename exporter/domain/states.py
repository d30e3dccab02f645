"""In which state the windows (hours) of a tenant's history are: what ``status`` shows.

========= ==========================================================================================
hot       read once; late lines of the last minutes are looked for every few seconds
warm      looked at again after lines out of order can no longer come
cold      looked at again after the store alone answers for it
sealed    looked at again after nothing can come any more, and whole
suspect   not proven whole, see the reason; looked at again every day
blocked   holds entries that Loki cannot be made to give out
========= ==========================================================================================
"""

from __future__ import annotations

from exporter.domain.checkpoints import LiveCheckpoint, hour_start_of
from exporter.domain.windows import NS_PER_HOUR


def hours_by_state(live: LiveCheckpoint) -> dict[str, int]:
    """Return how many hours are in each state; one in trouble is counted by its trouble alone."""
    first = hour_start_of(live.origin_ns)
    behind = max(first, -(-live.frontier_ns // NS_PER_HOUR) * NS_PER_HOUR)
    seal = max(first, live.passes.seal_ns)
    cold = max(seal, live.passes.cold_ns)
    warm = max(cold, live.passes.warm_ns)
    bounds = {"sealed": (first, seal), "cold": (seal, cold), "warm": (cold, warm), "hot": (warm, max(warm, behind))}
    hours = {state: (end - start) // NS_PER_HOUR for state, (start, end) in bounds.items()}
    troubled: dict[int, str] = {}
    for state in ("suspect", "blocked"):  # blocked weighs more
        for trouble in live.troubles:
            if trouble.state == state:
                troubled |= dict.fromkeys(range(hour_start_of(trouble.start_ns), trouble.end_ns, NS_PER_HOUR), state)
    for hour, state in troubled.items():
        for name, (start, end) in bounds.items():
            hours[name] -= start <= hour < end
        hours[state] = hours.get(state, 0) + 1
    return {state: hours.get(state, 0) for state in ("hot", "warm", "cold", "sealed", "suspect", "blocked")}
