"""What is written to the ledger about every delivery, and the digest that it carries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from exporter.bus.base import BusRecord, DeadLetter, Lane


def digest_of(values: Sequence[bytes]) -> str:
    """Return SHA-256 over the events as one line each, so that it can be recomputed from an ndjson file alone."""
    return hashlib.sha256(b"\n".join(values) + b"\n").hexdigest()


def build_receipt(
    target: str, lane: Lane, stored: Sequence[BusRecord], said: Mapping[str, Any], duplicates: int, now_ns: int
) -> dict[str, Any]:
    """Return the receipt of records that the target stored in one call. ``said`` is the connector's own receipt."""
    values = [record.value for record in stored]
    return {
        "kind": "receipt",
        "target": target,
        "tenant": lane.tenant,
        "partition": lane.partition,
        "first_offset": stored[0].offset,
        "last_offset": stored[-1].offset,
        "count": len(values),
        "bytes": sum(map(len, values)),
        "sha256": digest_of(values),
        "possible_duplicates": duplicates,
        "receipt": dict(said),
        "at_ns": now_ns,
    }


def build_burial(target: str, lane: Lane, letters: Sequence[DeadLetter], now_ns: int) -> dict[str, Any]:
    """Return the record of events that the target refused for good and that stand in the dead letters."""
    return {
        "kind": "dead_letters",
        "target": target,
        "tenant": lane.tenant,
        "partition": lane.partition,
        "letters": [[letter.offset, letter.event_id, letter.code] for letter in letters],
        "at_ns": now_ns,
    }
