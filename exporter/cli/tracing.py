"""What ``ledger trace`` and ``ledger verify`` find out from a bus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from exporter.bus.base import RECEIPTS, Bus
from exporter.custody.chains import Break, Chain, Chains, Head
from exporter.custody.ledger import decode_chain
from exporter.custody.listing import answer_of
from exporter.custody.receipts import heads_in
from exporter.custody.tracing import Delivery, Found, find_commits, find_receipts, of_time, prove, shorts_of
from exporter.domain.checkpoints import CHAIN_KEY
from exporter.domain.events import event_id_of, short_ids, time_ns_of

if TYPE_CHECKING:
    from exporter.settings.model import Settings


def verify_ledger(bus: Bus) -> tuple[Chains, int]:
    """Follow all chains on the bus; return them and the number of records. Raises BusUnavailable.

    The checkpoints are read first: what is written meanwhile lies behind the heads that they tell.
    """
    known: dict[Chain, Head] = heads_in(bus.all_checkpoints(RECEIPTS))
    for shard in range(bus.shard_count):
        if raw := bus.all_checkpoints(shard).get(CHAIN_KEY):
            known[Chain(shard)] = Head(*decode_chain(raw))
    chains, count = Chains(whole=True, known=known), 0
    for record in bus.ledger():
        chains.add(record.value)
        count += 1
    chains.finish()
    return chains, count


def trace_event(settings: Settings, bus: Bus, event_id: str, *, with_bus: bool) -> tuple[dict[str, Any], list[Break]]:
    """Return what became of an event, and what is wrong with the ledger that says so. Raises BusUnavailable."""
    found = find_commits(event_id, (record.value for record in bus.ledger()))
    events = _events_of(bus, event_id, found) if with_bus else _Events()
    receipts: list[Delivery] = []
    if events.time_ns is not None:
        found.commits = of_time(found.commits, events.time_ns)
    if events.places:
        receipts = find_receipts(events.places, (record.value for record in bus.ledger(RECEIPTS)))
    report = {
        "event_id": event_id,
        "commits": [_commit(commit, prove(commit, events.having)) for commit in found.commits],
        "bus": [{"tenant": t, "partition": p, "offset": o} for (t, p), o in events.places.items()],
        "targets": _targets(settings, bus, event_id, found, receipts, with_bus=bool(events.places)),
    }
    return report, found.breaks


class _Events:
    """The events of the traced event's commits that the bus still has."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, int], int] = {}
        self.time_ns: int | None = None
        self._by_short: dict[int, list[bytes]] = {}

    def add(self, short: int, value: bytes) -> None:
        self._by_short.setdefault(short, []).append(value)

    def having(self, short: int) -> Sequence[bytes]:
        return self._by_short.get(short, ())


def _events_of(bus: Bus, event_id: str, found: Found) -> _Events:
    events = _Events()
    for tenant in dict.fromkeys(commit.entry["tenant"] for commit in found.commits):
        entries = [commit.entry for commit in found.commits if commit.entry["tenant"] == tenant]
        wanted = {short for entry in entries for short in shorts_of(entry)}
        windows = [(entry["start_ns"], entry["end_ns"]) for entry in entries]
        for lane in bus.events(tenant, {}):
            for record in lane.records:
                short = int.from_bytes(short_ids([record.value]), "big")
                if short not in wanted:
                    continue
                time_ns = time_ns_of(record.value)
                if any(start <= time_ns < end for start, end in windows):
                    events.add(short, record.value)
                if event_id_of(record.value) == event_id:
                    events.places[tenant, lane.lane.partition] = record.offset
                    events.time_ns = time_ns
    return events


def _commit(commit: Any, proof: dict[str, Any] | None) -> dict[str, Any]:
    entry = commit.entry
    return {
        "at_ns": commit.at_ns,
        "shard": commit.shard,
        "sequence": commit.sequence,
        "worker": commit.worker,
        "tenant": entry["tenant"],
        "pass": entry["pass_name"],
        "start_ns": entry["start_ns"],
        "end_ns": entry["end_ns"],
        "index": commit.index,
        "out": entry["events_out"],
        "policy_id": entry["policy_id"],
        "proof": proof,
    }


def _targets(
    settings: Settings, bus: Bus, event_id: str, found: Found, receipts: Sequence[Delivery], *, with_bus: bool
) -> list[dict[str, Any]]:
    """Say for each target of the event's tenants, and for each that wrote of it, what became of it there."""
    tenants = {commit.entry["tenant"] for commit in found.commits}
    names = [name for name in settings.targets if tenants & set(settings.tenants_of(name))]
    names += [d.target for d in (*receipts, *found.buried, *found.redriven)]
    result = []
    for name in dict.fromkeys(names):
        letters = [x.number for x in bus.dead_letters().list(name) if x.event_id == event_id]
        buried = [d for d in found.buried if d.target == name]
        redriven = [d for d in found.redriven if d.target == name]
        own = redriven or [d for d in receipts if d.target == name and not buried]
        if letters:
            state = f"in the dead letters, number {letters[0]}"
        elif redriven:
            state = "taken from the dead letters by a redrive"
        elif buried:
            state = f"was refused ({buried[0].code}) and then discarded from the dead letters"
        elif own:
            state = "taken"
        else:
            state = (
                "no receipt yet"
                if with_bus
                else "unknown: the event was not found on the bus, so its offset is not known"
            )
        result.append({"target": name, "state": state, "dead_letters": letters, "receipts": [_receipt(d) for d in own]})
    return result


def _receipt(delivery: Delivery) -> dict[str, Any]:
    return {
        "writer": delivery.writer,
        "sequence": delivery.sequence,
        "at_ns": delivery.at_ns,
        "answer": answer_of(delivery.receipt),
        "receipt": dict(delivery.receipt),
    }
