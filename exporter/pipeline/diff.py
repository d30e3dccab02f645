"""What another policy would change, in numbers only: ``policy diff``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.domain.entries import EntryBatch
from exporter.domain.events import EncodedBatch, event_id_of
from exporter.pipeline.pipeline import Pipeline

#: Differs in every event when the policies differ, so it tells nothing.
_POLICY_ID = "policy.id"
_KEPT, _HELD, _DROPPED = "kept", "held", "dropped"


@dataclass(slots=True)
class Change:
    """Numbers of one name under the first policy and under the second."""

    before: int = 0
    after: int = 0


@dataclass(slots=True)
class Differences:
    """Over all events so far. ``outcomes``: changed events by what becomes of them (``kept → dropped``), ``kinds`` and
    ``fields``: changed events by kind and by the canonical fields that differ; ``rules``: hits, ``filters``: events taken out.
    """

    events: int = 0
    changed: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    fields: dict[str, int] = field(default_factory=dict)
    rules: dict[str, Change] = field(default_factory=dict)
    filters: dict[str, Change] = field(default_factory=dict)


class Comparison:
    """Runs batches through two pipelines of one tenant that have the same identity key and source of pseudonyms."""

    def __init__(self, before: Pipeline, after: Pipeline) -> None:
        self._before, self._after = before, after
        self.found = Differences()

    def add(self, batch: EntryBatch) -> None:
        """Compare what becomes of a batch."""
        before, after = self._before.process(batch), self._after.process(batch)
        old, new = _outcomes(before), _outcomes(after)
        found = self.found
        found.events += batch.count
        for stream in batch.streams:
            for raw in stream.event_ids:
                self._compare(old.get(raw.hex(), (_DROPPED, b"")), new.get(raw.hex(), (_DROPPED, b"")))
        for into, left, right in (
            (found.rules, before.redactions, after.redactions),
            (found.filters, before.filtered, after.filtered),
        ):
            _count(into, left, right)

    def _compare(self, old: tuple[str, bytes], new: tuple[str, bytes]) -> None:
        if old == new:
            return
        before, after = _event(old[1]), _event(new[1])
        if old[0] == new[0] and before == after:
            return
        found = self.found
        found.changed += 1
        _add(found.outcomes, f"{old[0]} → {new[0]}")
        known = before or after
        if known:
            _add(found.kinds, known["kind"])
        if before and after:
            for name in before | after:
                if before.get(name) != after.get(name):
                    _add(found.fields, name)


def _outcomes(out: EncodedBatch) -> dict[str, tuple[str, bytes]]:
    """Return outcome and value by event id, of all that were not dropped."""
    kept = {event_id_of(value): (_KEPT, value) for value in out.values}
    return kept | {event_id.hex(): (_HELD, b"") for event_id in out.held_ids}


def _event(value: bytes) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(value) if value else {}  # not orjson: integers of any size stay exact
    event.pop(_POLICY_ID, None)
    return event


def _add(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _count(into: dict[str, Change], before: Mapping[str, int], after: Mapping[str, int]) -> None:
    for name, number in before.items():
        into.setdefault(name, Change()).before += number
    for name, number in after.items():
        into.setdefault(name, Change()).after += number
