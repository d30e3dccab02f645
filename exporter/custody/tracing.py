"""Where did one event go? Found by what the ledger says, and where the bus still has the event, proven by its Merkle root."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from exporter.custody.archive import numbers_of
from exporter.custody.chains import Break, Chains
from exporter.custody.merkle import BLOCK_EVENTS, event_leaves, inclusion_path, root_by_path
from exporter.domain.events import SHORT_ID_BYTES


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit whose entry names the event. ``index``: its place among the entry's events, ``entry``: the entry as it stands."""

    shard: int
    sequence: int
    at_ns: int
    worker: str
    index: int
    entry: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A receipt that covers the event's offset, or a record that it was buried with the dead letters (``code`` says why)."""

    target: str
    writer: str
    sequence: int
    at_ns: int
    receipt: Mapping[str, Any]
    code: str = ""


@dataclass(slots=True)
class Found:
    """What the ledger says about an event."""

    commits: list[Commit] = field(default_factory=list)
    buried: list[Delivery] = field(default_factory=list)
    redriven: list[Delivery] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)


def find_commits(event_id: str, records: Iterable[bytes]) -> Found:
    """Look an event up in the ledger. By chance one of four thousand million events has the same short id: where the event's time is
    known its window tells (:func:`of_time`), and where the bus has the events :func:`prove`. Breaks of the ledger are reported with what was found.
    """
    wanted = int(event_id[-2 * SHORT_ID_BYTES :], 16)
    text = binascii.unhexlify(event_id[-2 * SHORT_ID_BYTES :])
    chains, found = Chains(whole=False), Found()
    for raw in records:
        record = chains.add(raw)
        if record is None:
            continue
        if record["kind"] == "commit":
            found.commits += _in_commit(record, wanted, text)
        elif record["kind"] == "dead_letters":
            found.buried += [_delivery(record, code) for _, letter, code in record["letters"] if letter == event_id]
        elif record["kind"] == "redriven":
            found.redriven += [_delivery(record) for _, _, letter in record["letters"] if letter == event_id]
    found.breaks = chains.breaks
    return found


def of_time(commits: Sequence[Commit], time_ns: int) -> list[Commit]:
    """Return the commits whose window holds an event of this time."""
    return [c for c in commits if c.entry["start_ns"] <= time_ns < c.entry["end_ns"]]


def _in_commit(record: Mapping[str, Any], wanted: int, text: bytes) -> list[Commit]:
    result = []
    for entry in record["entries"]:
        short = binascii.a2b_base64(entry.get("ids") or "")
        if text in short:  # somewhere; the numbers tell whether at a place
            result += [
                Commit(record["shard"], record["sequence"], record["at_ns"], record["worker"], index, entry)
                for index, number in enumerate(numbers_of(short))
                if number == wanted
            ]
    return result


def shorts_of(entry: Mapping[str, Any]) -> list[int]:
    """Return the short ids of an entry's events, in commit order; none where it is of format 1."""
    return numbers_of(binascii.a2b_base64(entry.get("ids") or ""))


def find_receipts(places: Mapping[tuple[str, int], int], records: Iterable[bytes]) -> list[Delivery]:
    """Return the receipts that cover an event's offset; ``places``: (tenant, partition) → offset where the bus has it."""
    chains, found = Chains(whole=False), []
    for raw in records:
        record = chains.add(raw)
        if record is None or record["kind"] != "receipt":
            continue
        offset = places.get((record["tenant"], record["partition"]))
        if offset is not None and record["first_offset"] <= offset <= record["last_offset"]:
            found.append(_delivery(record))
    return found


def _delivery(record: Mapping[str, Any], code: str = "") -> Delivery:
    at_ns = record.get("at_ns") or record.get("time_ns") or 0
    said = record.get("receipt") or {}
    return Delivery(record["target"], record.get("writer", ""), record.get("sequence", 0), at_ns, said, code)


def prove(commit: Commit, event_of: Callable[[int], Sequence[bytes]]) -> dict[str, Any] | None:
    """Return the inclusion proof of the event in its entry: its block of events as an index, the audit path and the root. None where
    the events that are there do not make the entry's root. ``event_of``: the events that have a short id.
    """
    values = [event_of(short) for short in shorts_of(commit.entry)]
    if any(len(candidates) != 1 for candidates in values):
        return None
    leaves = event_leaves([candidates[0] for candidates in values])
    block = commit.index // BLOCK_EVENTS
    path = inclusion_path(leaves, block)
    if root_by_path(leaves[block], block, len(leaves), path).hex() != commit.entry["root"]:
        return None
    return {
        "leaf": block,
        "leaves": len(leaves),
        "first_event": block * BLOCK_EVENTS,
        "path": [node.hex() for node in path],
        "root": commit.entry["root"],
    }
