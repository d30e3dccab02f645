"""The receipts of one run of a delivery engine, as a chain that goes on where earlier runs ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exporter.custody.chains import Break, Chain, Chains, Head
from exporter.custody.ledger import decode_chain, encode_chain
from exporter.custody.records import FORMAT_VERSION, GENESIS, LedgerBroken, is_sealed, read, seal

#: Records looked at when a run begins: some minutes of a busy target.
LAST_RECORDS = 500


def head_key(chain: Chain) -> str:
    """Return the key of the checkpoint record that says where this chain ends."""
    return f"receipts/{chain.target}/{chain.writer}"


def heads_in(checkpoints: Mapping[str, bytes]) -> dict[Chain, Head]:
    """Return the known ends of receipt chains among checkpoint records."""
    found = {}
    for key, value in checkpoints.items():
        kind, _, rest = key.partition("/")
        target, _, writer = rest.partition("/")
        if kind == "receipts" and writer:
            found[Chain(-1, target, writer)] = Head(*decode_chain(value))
    return found


class ReceiptLog:
    """Chains the receipts of one writer of a target. ``writer`` must be new with every run: a run that ended may have written
    more than it knows. Used by one thread.
    """

    def __init__(self, target: str, writer: str) -> None:
        self._chain = Chain(-1, target, writer)
        self._head = Head(0, GENESIS)
        self._after: dict[Chain, Head] = {}
        self._noted = ""
        #: Sealed records that are not known to be durable. They keep their bytes, so appending them twice does no harm.
        self.pending: list[bytes] = []

    def begin(self, checkpoints: Mapping[str, bytes], last: Sequence[bytes]) -> list[Break]:
        """Find the ends of the target's chains in the checkpoint records and the last receipts; return what is wrong there.
        The first receipt names those ends, and the breaks.
        """
        known = {chain: head for chain, head in heads_in(checkpoints).items() if chain.target == self._chain.target}
        chains = Chains(whole=False, known=known)
        continued: dict[str, int] = {}
        for raw in last:
            if not _is_of(self._chain.target, raw):
                continue
            record = chains.add(raw)
            for writer, sequence, _ in (record or {}).get("after", ()):
                continued[writer] = max(sequence, continued.get(writer, 0))
        chains.finish(everything=len(last) < LAST_RECORDS)
        ends = known | {
            chain: head for chain, head in chains.heads().items() if head.sequence >= known.get(chain, head).sequence
        }
        self._after = {c: h for c, h in ends.items() if c in known or h.sequence > continued.get(c.writer, 0)}
        self._noted = "; ".join(map(str, chains.breaks[:5]))
        return chains.breaks

    def seal(self, bodies: Sequence[Mapping[str, Any]]) -> None:
        """Chain receipts (see ``exporter.delivery.receipts``) and add them to ``pending``."""
        for body in bodies:
            extra: dict[str, Any] = {}
            if not self._head.sequence:
                extra["after"] = [[c.writer, *head] for c, head in sorted(self._after.items())]
                extra |= {"noted": self._noted} if self._noted else {}
            sequence = self._head.sequence + 1
            record, digest = seal(
                {
                    **body,
                    **extra,
                    "v": FORMAT_VERSION,
                    "writer": self._chain.writer,
                    "sequence": sequence,
                    "previous": self._head.digest,
                }
            )
            self._head = Head(sequence, digest)
            self.pending.append(record)

    def heads(self) -> dict[str, bytes | None]:
        """Return the checkpoint records to set with what is pending: the own end; those that were continued need none any more."""
        gone: dict[str, bytes | None] = {head_key(chain): None for chain in self._after}
        return {**gone, head_key(self._chain): encode_chain(*self._head)}

    def written(self) -> None:
        """What was pending is durable."""
        self.pending.clear()
        self._after.clear()


def _is_of(target: str, raw: bytes) -> bool:
    """Tell whether a record is one of this target's receipts, or none that can be read."""
    try:
        return read(raw).get("target") == target
    except LedgerBroken:
        return is_sealed(raw)
