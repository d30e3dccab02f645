"""Are the events in a target's files those of the ledger? Commit by commit: every event there, byte by byte, and nothing else."""

from __future__ import annotations

import binascii
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from exporter.custody.archive import Archive, Place, numbers_of
from exporter.custody.merkle import events_root
from exporter.custody.verify import Verdict
from exporter.domain.events import SHORT_ID_BYTES, event_id_of

#: Orders tried for a window in which short ids collide. Two of a full page's 5,000 do once in 300 pages.
MAX_ORDERS = 4096
#: Problems of one kind that are written out; the rest is counted.
MAX_NAMED = 20


@dataclass(slots=True)
class Deliveries:
    """What the receipts say about one target."""

    #: Tenant → time of its newest receipt.
    tenants: dict[str, int] = field(default_factory=dict)
    #: Short ids of events that stand in the dead letters.
    buried: set[int] = field(default_factory=set)
    #: Tenant → events that the target was not meant to get.
    left_out: dict[str, int] = field(default_factory=dict)


class Receipts:
    """Gathers from all records what :class:`Comparison` needs to know before it begins. A sink of ``verify_export``."""

    def __init__(self) -> None:
        self.targets: dict[str, Deliveries] = {}

    def __call__(self, record: Mapping[str, Any]) -> None:
        if record["kind"] == "commit":
            return
        target = self.targets.setdefault(record["target"], Deliveries())
        at_ns = record.get("at_ns") or record.get("time_ns") or 0
        target.tenants[record["tenant"]] = max(at_ns, target.tenants.get(record["tenant"], 0))
        if record["kind"] == "dead_letters":
            size = 2 * SHORT_ID_BYTES
            target.buried.update(int(event_id[-size:], 16) for _, event_id, _ in record["letters"])
        elif record["kind"] == "skipped":
            tenant = record["tenant"]
            target.left_out[tenant] = target.left_out.get(tenant, 0) + int(record["skipped"])


class Comparison:
    """Compares commits with an archive. ``from_ns``, ``to_ns``: only windows that overlap ``[from, to)``."""

    def __init__(
        self,
        archive: Archive,
        deliveries: Deliveries,
        verdict: Verdict,
        *,
        tenants: frozenset[str] | None = None,
        from_ns: int | None = None,
        to_ns: int | None = None,
    ) -> None:
        self._archive, self._deliveries, self._verdict = archive, deliveries, verdict
        self._tenants = tenants
        self._from_ns, self._to_ns = from_ns, to_ns
        self._named = 0
        self._old = 0
        self._waiting = 0
        #: Events of the archive that belong to a window of the ledger.
        self._matched = 0
        self._missing: dict[str, int] = {}
        self._missing_texts: dict[str, list[str]] = {}

    def run(self, records: Iterable[Mapping[str, Any]], *, whole: bool) -> None:
        """Compare all commits; ``whole``: the ledger has its beginning, so an event that it does not name is foreign."""
        for record in records:
            if record["kind"] == "commit":
                self._commit(record)
        self._finish(whole=whole)

    def _commit(self, record: Mapping[str, Any]) -> None:
        known: list[int] = []
        for entry in record["entries"]:
            if not entry["events_out"]:
                continue
            if not entry.get("ids"):
                self._old += 1
                continue
            shorts = numbers_of(binascii.a2b_base64(entry["ids"]))
            known += shorts
            if self._is_wanted(entry):
                self._entry(record, entry, shorts)
        self._archive.note_known(known)

    def _is_wanted(self, entry: Mapping[str, Any]) -> bool:
        if entry["tenant"] not in self._deliveries.tenants:
            return False
        if self._tenants is not None and entry["tenant"] not in self._tenants:
            return False
        before = self._to_ns is None or entry["start_ns"] < self._to_ns
        return before and (self._from_ns is None or entry["end_ns"] > self._from_ns)

    def _entry(self, record: Mapping[str, Any], entry: Mapping[str, Any], shorts: Sequence[int]) -> None:
        verdict = self._verdict
        places = self._archive.find(shorts, entry["start_ns"], entry["end_ns"])
        missing = [short for short in shorts if short not in places]
        verdict.count("windows")
        verdict.count("events", len(shorts))
        if missing:
            self._matched += sum(map(len, places.values()))
            buried = sum(short in self._deliveries.buried for short in missing)
            verdict.count("dead-lettered", buried)
            if len(missing) == buried:
                return
            if record["at_ns"] > self._deliveries.tenants[entry["tenant"]]:
                self._waiting += len(missing) - buried
                return
            self._miss(record, entry, len(missing) - buried, len(shorts))
            return
        self._bytes(record, entry, shorts, places)

    def _bytes(
        self,
        record: Mapping[str, Any],
        entry: Mapping[str, Any],
        shorts: Sequence[int],
        places: Mapping[int, Sequence[Place]],
    ) -> None:
        """Look for the order and choice of copies that makes the root."""
        events = self._archive.read([place for found in places.values() for place in found])
        copies = {short: list(dict.fromkeys(events[place] for place in found)) for short, found in places.items()}
        choices = [copies[short] for short in shorts]
        for order in itertools.islice(itertools.product(*choices), MAX_ORDERS):
            if events_root(order) == entry["root"]:
                break
        else:
            self._problem(record, entry, "its events are not those that were committed: something in them was changed")
            return
        self._verdict.count("proven", len(shorts))
        used = set(order)
        ids = set(map(event_id_of, used))
        spare = sum(value not in used and event_id_of(value) in ids for values in copies.values() for value in values)
        if spare:
            self._problem(record, entry, f"{spare} events have the ids of its events and another content")
        standing = sum(value in used for value in events.values())
        self._matched += standing
        self._verdict.count("repeated", standing - len(used))

    def _miss(self, record: Mapping[str, Any], entry: Mapping[str, Any], number: int, of: int) -> None:
        """Note missing events; whether they are a problem is told at the end, for routes leave events out."""
        tenant = entry["tenant"]
        self._missing[tenant] = self._missing.get(tenant, 0) + number
        texts = self._missing_texts.setdefault(tenant, [])
        if len(texts) < MAX_NAMED:
            texts.append(_said(record, entry, f"{number} of its {of} events are missing"))
        elif len(texts) == MAX_NAMED:
            texts.append(f"{tenant}: … and more windows with missing events")

    def _problem(self, record: Mapping[str, Any], entry: Mapping[str, Any], reason: str) -> None:
        self._named += 1
        if self._named <= MAX_NAMED:
            self._verdict.problems.append(_said(record, entry, reason))

    def _finish(self, *, whole: bool) -> None:
        verdict, archive = self._verdict, self._archive
        for tenant, number in self._missing.items():
            left_out = self._deliveries.left_out.get(tenant, 0)
            if number <= left_out:
                verdict.notes.append(
                    f"{number} events of {tenant} are not there; {left_out} were not meant for the target"
                )
            else:
                verdict.problems += self._missing_texts[tenant]
        if self._named > MAX_NAMED:
            verdict.problems.append(f"… and {self._named - MAX_NAMED} more windows with such problems")
        verdict.problems += [f"{path}: {reason}" for path, reason in archive.problems.items()]
        if archive.foreign_lines:
            verdict.problems.append(
                f"{archive.foreign_lines} lines are no canonical events; files of a target with another schema cannot be compared"
            )
        # Where every window was found as it should be, the sums tell; short ids alone let one in some millions pass.
        every = self._tenants is None and self._from_ns is None and self._to_ns is None and not self._named
        unknown = archive.count - self._matched if every and whole and not self._old else archive.unknown()
        if unknown and whole and not self._old:
            verdict.problems.append(f"{unknown} events are there that the ledger does not name")
        elif unknown:
            verdict.notes.append(f"{unknown} events are not named by this part of the ledger, or older than format 2")
        if self._old:
            verdict.notes.append(f"{self._old} windows were committed with format 1, which had no roots: not compared")
        if self._waiting:
            verdict.notes.append(
                f"{self._waiting} events were committed after the target's newest receipt: not delivered yet"
            )
        if archive.others:
            verdict.notes.append(f"{archive.others} files of other kinds were not looked at")
        verdict.figures["files"] = len(archive.files)


def _said(record: Mapping[str, Any], entry: Mapping[str, Any], reason: str) -> str:
    window = f"{_time(entry['start_ns'])} to {_time(entry['end_ns'])}"
    return f"{entry['tenant']}, {window} (shard {record['shard']}, record {record['sequence']}): {reason}"


def _time(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
