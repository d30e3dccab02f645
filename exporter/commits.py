"""What goes into one transaction: events, the checkpoints after them, and the ledger record that accounts for both.

Pure functions of ``exporter.worker``, which alone decides when a transaction begins and ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from exporter.bus.base import MAX_EVENT_BYTES, Commit
from exporter.custody.ledger import LedgerEntry, account_of, build_record, decode_chain, encode_chain
from exporter.domain.checkpoints import CHAIN_KEY, LiveCheckpoint, Trouble, live_key
from exporter.domain.events import EncodedBatch, event_id_of
from exporter.loki.reader import ReadUnit
from exporter.ops import metrics

#: The checkpoint keeps at most this many troubles of a tenant; older ones stay in the ledger.
MAX_TROUBLES = 100


@dataclass(slots=True, repr=False)
class Item:
    """A processed unit on its way into a commit."""

    unit: ReadUnit
    encoded: EncodedBatch
    held_bytes: int
    entries_in: int
    late: bool


@dataclass(slots=True)
class Pending:
    """Items gathered for the next commit."""

    items: list[Item] = field(default_factory=list)
    size_bytes: int = 0
    events: int = 0
    since: float = 0.0

    def add(self, item: Item, now: float) -> None:
        if not self.items:
            self.since = now
        self.items.append(item)
        self.size_bytes += item.encoded.size_bytes
        self.events += len(item.encoded.values) + len(item.encoded.held_ids)


def compose(
    items: Sequence[Item],
    before: Mapping[str, LiveCheckpoint],
    *,
    shard: int,
    chain: bytes | None,
    worker: str,
    now_ns: int,
    noted: str = "",
) -> tuple[Commit, dict[str, LiveCheckpoint]]:
    """Build the commit of these items in order; return it with the tenants' checkpoints after it. ``before``: as they
    stand, ``chain``: the checkpoint's value of the ledger chain, ``noted``: a break of it that was found.
    """
    checkpoints: dict[str, bytes | None] = {}
    lives: dict[str, LiveCheckpoint] = {}
    entries: list[LedgerEntry] = []
    for item in items:
        tenant = item.encoded.tenant
        checkpoints.update(item.unit.records)
        lives[tenant] = _advance(lives.get(tenant) or before.get(tenant), item, worker, now_ns)
        _append_entry(entries, item)
    checkpoints.update({live_key(t): live.encode() for t, live in lives.items()})
    sequence, previous = decode_chain(chain)
    ledger, digest = build_record(
        shard=shard,
        sequence=sequence + 1,
        previous=previous,
        worker=worker,
        at_ns=now_ns,
        entries=entries,
        noted=noted,
    )
    checkpoints[CHAIN_KEY] = encode_chain(sequence + 1, digest)
    batches = [item.encoded for item in items if item.encoded.values]
    return Commit(batches=batches, checkpoints=checkpoints, ledger=ledger), lives


def account(item: Item) -> None:
    """Count what was committed."""
    encoded, tenant = item.encoded, item.encoded.tenant
    if encoded.values:
        metrics.EVENTS.labels(tenant, "out").inc(len(encoded.values))
        metrics.EVENT_BYTES.labels(tenant).inc(encoded.size_bytes)
    if encoded.held_ids:
        metrics.EVENTS.labels(tenant, "held").inc(len(encoded.held_ids))
    if declined := encoded.counts.get("parse_declined", 0):
        metrics.PARSE_DECLINED.labels(tenant).inc(declined)
    for name, number in encoded.filtered.items():
        metrics.FILTERED.labels(tenant, name).inc(number)
    for rule, number in encoded.redactions.items():
        metrics.REDACTIONS.labels(tenant, rule).inc(number)


def hold_oversized(encoded: EncodedBatch) -> None:
    """Hold back events that no bus takes, before they can fail the commit of all others."""
    if max(map(len, encoded.values), default=0) <= MAX_EVENT_BYTES:
        return
    kept = [i for i, value in enumerate(encoded.values) if len(value) <= MAX_EVENT_BYTES]
    large = (value for value in encoded.values if len(value) > MAX_EVENT_BYTES)
    encoded.held_ids += [bytes.fromhex(event_id_of(value)) for value in large]
    encoded.keys[:] = [encoded.keys[i] for i in kept]
    encoded.values[:] = [encoded.values[i] for i in kept]


def _advance(before: LiveCheckpoint | None, item: Item, worker: str, now_ns: int) -> LiveCheckpoint:
    """Return the tenant's live checkpoint after this item: the reader's marks with the worker's totals."""
    unit, encoded = item.unit, item.encoded
    if before is not None and before.selector != unit.live.selector:
        before = None
    held_before = tuple(t for t in before.troubles if t.state == "held") if before else ()
    troubles = tuple(t for t in unit.live.troubles if t.state != "held") + held_before
    if encoded.held_ids:
        window = unit.window
        reason = "held back: not safely redactable, or larger than the bus takes; replay after mending"
        troubles += (Trouble("held", window.start_ns, window.end_ns, reason, len(encoded.held_ids)),)
    return replace(
        unit.live,
        sequence=(before.sequence if before else 0) + 1,
        events=(before.events if before else 0) + len(encoded.values),
        late=(before.late if before else 0) + (len(encoded.values) if item.late else 0),
        held=(before.held if before else 0) + len(encoded.held_ids),
        filtered=(before.filtered if before else 0) + sum(encoded.filtered.values()),
        troubles=troubles[-MAX_TROUBLES:],
        worker=worker,
        written_ns=now_ns,
    )


def _append_entry(entries: list[LedgerEntry], item: Item) -> None:
    """Add the item's ledger entry; silence that follows silence of the same tenant extends it instead."""
    unit, encoded = item.unit, item.encoded
    entry = LedgerEntry(
        tenant=encoded.tenant,
        pass_name=unit.pass_name,
        start_ns=unit.window.start_ns,
        end_ns=unit.window.end_ns,
        entries_in=item.entries_in,
        events_out=len(encoded.values),
        held=len(encoded.held_ids),
        filtered=encoded.filtered,
        loki_count=unit.loki_count,
        fingerprint=f"{unit.fingerprint:032x}",
        policy_id=encoded.policy_id,
        **account_of(encoded.values),
    )
    if entries and not item.entries_in and unit.pass_name in {"hot", "near"}:
        last = entries[-1]
        if (last.tenant, last.end_ns, last.entries_in, last.pass_name) == (
            entry.tenant,
            entry.start_ns,
            0,
            entry.pass_name,
        ):
            entries[-1] = replace(last, end_ns=entry.end_ns)
            return
    entries.append(entry)
