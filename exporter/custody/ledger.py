"""Ledger records of commits.

Each record names the windows it covers with counts in and out, the order-free fingerprint of the event ids, and the Merkle
root over the events, and carries the hash of the record before it, so that a removed, changed or re-ordered record breaks the
chain. It is written in the same transaction as the events it speaks of.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from exporter.custody.merkle import events_root
from exporter.custody.records import FORMAT_VERSION, GENESIS, LedgerBroken, seal, unseal
from exporter.domain.events import short_ids


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One window of one tenant in a commit. ``pass_name``: ``hot`` (first read), ``near`` (late lines of the last
    minutes), or the pass over history (``warm``, ``cold``, ``seal``, ``drift``) that found late lines or, without entries, that the
    window was looked at again.

    Every entry that was read is accounted for: ``entries_in`` = ``events_out`` + ``held`` + all of ``filtered`` (by the name
    of the filter that took events out). ``policy_id`` names the policy document that all this was done by. ``root`` and ``ids``
    (see :func:`account_of`) are empty where no event came out.
    """

    tenant: str
    pass_name: str
    start_ns: int
    end_ns: int
    entries_in: int
    events_out: int
    held: int
    filtered: Mapping[str, int]
    loki_count: int
    fingerprint: str
    policy_id: str
    root: str = ""
    ids: str = ""


def account_of(values: Sequence[bytes]) -> dict[str, str]:
    """Return what an entry says of its events, in commit order: ``root``, the RFC 6962 Merkle root (``custody.merkle``), and
    ``ids``, the last four bytes of each event's id, base64. The ids tell in which order the events of an archive, which are
    sorted by lane there, make the root again; and in which commit an event went out.
    """
    if not values:
        return {}
    return {"root": events_root(values), "ids": binascii.b2a_base64(short_ids(values), newline=False).decode()}


def build_record(
    *,
    shard: int,
    sequence: int,
    previous: str,
    worker: str,
    at_ns: int,
    entries: Sequence[LedgerEntry],
    noted: str = "",
) -> tuple[bytes, str]:
    """Return the encoded record and its hash, which is the next record's ``previous``. ``noted``: a break of the chain that was
    found when the shard was taken over; it stands in the first record after it for ever.
    """
    body = {
        "v": FORMAT_VERSION,
        "kind": "commit",
        "shard": shard,
        "sequence": sequence,
        "previous": previous,
        "worker": worker,
        "at_ns": at_ns,
        "entries": [asdict(entry) for entry in entries],
    }
    return seal(body | {"noted": noted} if noted else body)


def encode_chain(sequence: int, digest: str) -> bytes:
    """Return the checkpoint value that lets the next owner continue the chain."""
    return f"{sequence} {digest}".encode()


def decode_chain(raw: bytes | None) -> tuple[int, str]:
    """Return (sequence, hash) of the shard's last record; the genesis where there is none."""
    if raw is None:
        return 0, GENESIS
    sequence, _, digest = raw.decode().partition(" ")
    return int(sequence), digest


def verify_chain(records: Iterable[bytes], *, previous: str = GENESIS) -> tuple[int, str]:
    """Check hashes and links of one shard's commit records in order; return (number of records, last hash).

    Raises ValueError naming the first record that breaks the chain.
    """
    count = 0
    for raw in records:
        try:
            record = unseal(raw)
        except LedgerBroken as error:
            raise LedgerBroken(f"ledger record {count}: {error}") from None
        if record["previous"] != previous:
            raise LedgerBroken(f"ledger record {count}: it does not follow the record before it")
        previous = record["hash"]
        count += 1
    return count, previous
