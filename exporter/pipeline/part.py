"""Events under way through a pipeline, as columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import compress
from typing import Any

#: Stands in ``EncodedBatch.filtered`` for the policy's own action ``drop_event``, beside the names of filters.
BY_POLICY = "policy"


@dataclass(slots=True, repr=False)
class Part:
    """Events under way, as columns; ``hit``: something was redacted in it. An empty body is held back, or dropped by the
    policy when its row is in ``dropped``, with what dropped it.
    """

    keys: list[bytes] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    times_ns: list[int] = field(default_factory=list)
    shared: list[bytes] = field(default_factory=list)  # members that many events have in common
    bodies: list[bytes] = field(default_factory=list)
    hit: list[bool] = field(default_factory=list)
    dropped: dict[int, str] = field(default_factory=dict)
    declined: int = 0
    redactions: dict[str, int] = field(default_factory=dict)
    filtered: dict[str, int] = field(default_factory=dict)

    def count_filtered(self, name: str, number: int = 1) -> None:
        self.filtered[name] = self.filtered.get(name, 0) + number

    def drop_held(self, held_ids: list[bytes]) -> None:
        """Drop the events that do not leave from the columns, adding the ids of those held back to ``held_ids``."""
        for row, name in self.dropped.items():
            self.bodies[row] = b""
            self.count_filtered(name)
        if all(self.bodies):
            return
        held_ids += [
            event_id for row, event_id in enumerate(self.ids) if not self.bodies[row] and row not in self.dropped
        ]
        columns: tuple[list[Any], ...] = (self.keys, self.ids, self.times_ns, self.shared)
        for column in columns:
            column[:] = compress(column, self.bodies)
        self.bodies = [body for body in self.bodies if body]
