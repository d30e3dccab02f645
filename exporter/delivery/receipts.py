"""What is written to the ledger about every delivery, and the digest that it carries.

Bodies are plain mappings with ``kind`` and ``target``; :class:`exporter.custody.receipts.ReceiptLog` chains them. A run of an engine keeps
one log; whoever writes a few records from a command opens one with :func:`open_log` for each call of the command.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from exporter.bus.base import RECEIPTS, Bus, BusRecord, DeadLetter, Lane
from exporter.custody.alarm import report
from exporter.custody.receipts import LAST_RECORDS, ReceiptLog


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


def build_redriven(
    target: str, letters: Sequence[DeadLetter], said: Mapping[str, Any], duplicates: int, now_ns: int
) -> dict[str, Any]:
    """Return the receipt of dead letters of one tenant that the target stored after all."""
    values = [letter.value for letter in letters]
    return {
        "kind": "redriven",
        "target": target,
        "tenant": letters[0].tenant,
        "letters": [[letter.partition, letter.offset, letter.event_id] for letter in letters],
        "count": len(values),
        "bytes": sum(map(len, values)),
        "sha256": digest_of(values),
        "possible_duplicates": duplicates,
        "receipt": dict(said),
        "at_ns": now_ns,
    }


def open_log(bus: Bus, target: str, worker: str) -> ReceiptLog:
    """Find where the target's earlier receipts end, look whether they are whole, and return a log that goes on there.

    The log gets a name of its own: an earlier run of this worker may have written more than it knows. Raises BusUnavailable.
    """
    log = ReceiptLog(target, f"{worker}-{secrets.token_hex(3)}")
    # The ends first: what another engine writes between the two readings then lies behind them, not before.
    ends = bus.all_checkpoints(RECEIPTS)
    last = [record.value for record in bus.ledger(RECEIPTS, last=LAST_RECORDS)]
    report(target, log.begin(ends, last))
    return log


def write_pending(bus: Bus, log: ReceiptLog) -> None:
    """Make what the log has durable. Raises BusUnavailable; then the same bytes are appended again with the next call."""
    if log.pending:
        bus.append_receipts(log.pending, log.heads())
        log.written()
