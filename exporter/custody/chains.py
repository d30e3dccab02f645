"""Do ledger records follow one another? One walk over records in order, for all chains at once.

A chain is a shard's commits, or the receipts of one *writer* of a target: every run of a delivery engine writes a chain of
its own, so two engines of one target never share, and never fork, one. What ties the chains of a target together: the first record
of a writer names the ends of all chains of that target that it found (``after``). A writer that was killed is thereby continued
by its successor, and nothing can be cut off its end unnoticed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from exporter.custody.records import GENESIS, LedgerBroken, is_sealed, read, unseal
from exporter.custody.shapes import is_sound

#: Hashes remembered of each chain: a writer repeats at most what it had not seen acknowledged, and a successor names an end
#: that was seconds old. Older ones cannot be compared and are not asked for.
REMEMBERED = 4096


class Chain(NamedTuple):
    """Names a chain: of a shard (``target`` empty), or of a writer of a target."""

    shard: int
    target: str = ""
    writer: str = ""

    def __str__(self) -> str:
        return f"receipts of {self.target} by {self.writer}" if self.target else f"shard {self.shard}"


class Head(NamedTuple):
    """A place in a chain: sequence and hash of a record."""

    sequence: int
    digest: str


class Break(NamedTuple):
    """Something that is not as it was written. ``sequence``: of the record where it shows (0: not known)."""

    chain: str
    sequence: int
    reason: str

    def __str__(self) -> str:
        place = f"{self.chain}, record {self.sequence}" if self.sequence else self.chain
        return f"{place}: {self.reason}"


@dataclass(slots=True)
class _State:
    head: Head
    begins: int
    recent: OrderedDict[int, str] = field(default_factory=OrderedDict)


class Chains:
    """Feed records with :meth:`add` in the order in which they stand; read ``breaks`` and :meth:`heads` at the end.

    ``known``: heads from checkpoints; a chain must pass through its own. ``had``: heads of an earlier export; a chain may begin there.
    ``whole``: every chain must begin with its first record or at what was had; without it (looking at the end alone) it may begin
    anywhere.
    """

    def __init__(
        self, *, whole: bool, known: Mapping[Chain, Head] | None = None, had: Mapping[Chain, Head] | None = None
    ) -> None:
        self.breaks: list[Break] = []
        #: Receipts of format 1, by target: they were written before receipts were chained.
        self.unchained: dict[str, int] = {}
        #: Breaks that a writer itself found at its start and wrote down.
        self.noted: list[Break] = []
        self._whole, self._known, self._had = whole, dict(known or {}), dict(had or {})
        self._states: dict[Chain, _State] = {}
        self._chained_targets: set[str] = set()

    def heads(self) -> dict[Chain, Head]:
        """Return the ends of all chains seen."""
        return {chain: state.head for chain, state in self._states.items()}

    def begins(self) -> dict[Chain, int]:
        """Return the sequence that each chain began with."""
        return {chain: state.begins for chain, state in self._states.items()}

    def add(self, raw: bytes) -> dict[str, Any] | None:
        """Check one record and return it; None for one that is a repetition or cannot be read."""
        try:
            record = unseal(raw) if is_sealed(raw) else self._unsealed(raw)
        except LedgerBroken as error:
            self.breaks.append(Break(_name_of(raw), _number(raw, "sequence"), str(error)))
            return None
        if not is_sound(record):
            self.breaks.append(
                Break(
                    _name_of(raw),
                    _number(raw, "sequence"),
                    "it lacks what a record of its kind has; it is not of this service",
                )
            )
            return None
        if not record.get("hash"):
            return record
        try:
            chain, head = chain_of(record), Head(int(record["sequence"]), str(record["hash"]))
            previous = str(record["previous"])
        except (KeyError, TypeError, ValueError):
            self.breaks.append(
                Break("ledger", 0, "a record has a hash, but not the keys of one; it is not of this service")
            )
            return None
        return record if self._link(chain, head, previous, record) else None

    def finish(self, *, everything: bool = True) -> None:
        """Look for chains that end before their known head. Call once, after the last record. ``everything``: all records of the
        known chains were given; without it a quiet chain may lie before what was read.
        """
        for chain, known in self._known.items():
            state = self._states.get(chain)
            if state is None:
                if everything:
                    self._break(chain, known.sequence, "no record of this chain is there, although one is known")
            elif state.head.sequence < known.sequence:
                reason = f"the chain ends here; records up to {known.sequence} are known, so its end was removed"
                self._break(chain, state.head.sequence, reason)

    # --- one record ---------------------------------------------------------------------------------------------------

    def _unsealed(self, raw: bytes) -> dict[str, Any]:
        """A receipt of format 1. Once a target's receipts are chained there can be no more of them."""
        record = read(raw)
        if record["v"] != 1 or record.get("kind") != "receipt":
            raise LedgerBroken("it has no hash")
        target = str(record.get("target"))
        if target in self._chained_targets:
            raise LedgerBroken(
                "a receipt without a chain stands behind chained ones; it is forged, unless an older release still ran"
            )
        self.unchained[target] = self.unchained.get(target, 0) + 1
        return record

    def _link(self, chain: Chain, head: Head, previous: str, record: Mapping[str, Any]) -> bool:
        state = self._states.get(chain)
        if state is not None and state.recent.get(head.sequence) == head.digest:
            if chain.target:
                return False  # appended again after an unknown outcome
            self._break(chain, head.sequence, "the record stands there twice")
            return False
        if state is None:
            self._begin(chain, head, previous)
            state = self._states[chain] = _State(head, head.sequence)
        else:
            self._follow(chain, state.head, head, previous)
            state.head = head
        state.recent[head.sequence] = head.digest
        if len(state.recent) > REMEMBERED:
            state.recent.popitem(last=False)
        known = (self._known.get(chain), self._had.get(chain))
        if any(k is not None and k.sequence == head.sequence and k.digest != head.digest for k in known):
            self._break(chain, head.sequence, "it is not the record that is known by another way; it was replaced")
        if chain.target:
            self._chained_targets.add(chain.target)
            self._pins(chain, record)
        if noted := record.get("noted"):
            self.noted.append(Break(str(chain), head.sequence, str(noted)))
        return True

    def _begin(self, chain: Chain, head: Head, previous: str) -> None:
        had = self._had.get(chain)
        if head.sequence == 1:
            if previous != GENESIS:
                self._break(chain, 1, "it claims to follow a record, although it is the first")
        elif had is not None and head.sequence == had.sequence + 1:
            if had.digest != previous:
                self._break(chain, head.sequence, "it does not follow the record that was exported before it")
        elif self._whole and (had is None or had.sequence != head.sequence):
            begin = had.sequence + 1 if had else 1
            self._break(chain, head.sequence, f"records {begin} to {head.sequence - 1} are missing")

    def _follow(self, chain: Chain, last: Head, head: Head, previous: str) -> None:
        if head.sequence == last.sequence + 1:
            if previous != last.digest:
                self._break(chain, head.sequence, "it does not follow the record before it: one of both was replaced")
        elif head.sequence > last.sequence + 1:
            self._break(chain, head.sequence, f"records {last.sequence + 1} to {head.sequence - 1} are missing")
        else:
            self._break(
                chain, head.sequence, f"it stands after record {last.sequence}: the chain forks here, or was re-ordered"
            )

    def _pins(self, chain: Chain, record: Mapping[str, Any]) -> None:
        """Compare the ends that a writer found at its start with what we saw."""
        for writer, sequence, digest in record.get("after", ()):
            other = Chain(-1, chain.target, str(writer))
            state = self._states.get(other)
            if state is None:
                if self._whole and other not in self._had:
                    reason = f"it continues {other}, of which nothing is there: those records were removed"
                    self._break(chain, int(record["sequence"]), reason)
            elif state.head.sequence < sequence:
                reason = f"{chain} found records up to {sequence}: the end of this chain was removed"
                self._break(other, state.head.sequence, reason)
            elif state.recent.get(sequence, digest) != digest:
                self._break(other, int(sequence), f"{chain} found another record here; one of both was replaced")

    def _break(self, chain: Chain, sequence: int, reason: str) -> None:
        self.breaks.append(Break(str(chain), sequence, reason))


def chain_of(record: Mapping[str, Any]) -> Chain:
    """Return the chain that a record belongs to. Raises KeyError, TypeError, ValueError for one that names none."""
    if record["kind"] == "commit":
        return Chain(int(record["shard"]))
    return Chain(-1, str(record["target"]), str(record["writer"]))


def check_end(shard: int, records: Iterable[bytes], head: Head | None) -> tuple[list[Break], Head | None]:
    """Compare the last records of a shard with the head in its checkpoint, both read after the fence: they were written together,
    so they end together. Return what is wrong, and where the chain is to go on.
    """
    chain = Chain(shard)
    chains = Chains(whole=False, known={chain: head} if head else {})
    for raw in records:
        chains.add(raw)
    chains.finish()
    last = chains.heads().get(chain)
    if head is None and last is not None:
        chains.breaks.append(
            Break(str(chain), last.sequence, "the checkpoint knows no record, although there are some")
        )
    elif head is not None and last is not None and last.sequence > head.sequence:
        reason = (
            f"the checkpoint ends at record {head.sequence}: what follows was added, or the checkpoint was set back"
        )
        chains.breaks.append(Break(str(chain), last.sequence, reason))
    return chains.breaks, head or last


def _number(raw: bytes, key: str) -> int:
    try:
        value = read(raw).get(key)
    except LedgerBroken:
        return 0
    return value if isinstance(value, int) else 0


def _name_of(raw: bytes) -> str:
    """Name the chain that a broken record claims to belong to, as far as it can be read."""
    try:
        return str(chain_of(read(raw)))
    except (LedgerBroken, KeyError, TypeError, ValueError):
        return "ledger"
