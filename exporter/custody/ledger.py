"""Ledger records of commits.

Each record names the windows it covers with counts in and out and the order-free fingerprint of the event ids, and
carries the hash of the record before it, so that a removed, changed or re-ordered record breaks the chain. It is written in
the same transaction as the events it speaks of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

FORMAT_VERSION = 1
GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One window of one tenant in a commit. ``pass_name``: ``hot`` (first read), ``near`` (late lines of the last
    minutes), or the pass over history (``warm``, ``cold``, ``seal``, ``drift``) that found late lines or, without entries, that the
    window was looked at again.

    Every entry that was read is accounted for: ``entries_in`` = ``events_out`` + ``held`` + all of ``filtered`` (by the name
    of the filter that took events out). ``policy_id`` names the policy document that all this was done by.
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


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def build_record(
    *, shard: int, sequence: int, previous: str, worker: str, at_ns: int, entries: Sequence[LedgerEntry]
) -> tuple[bytes, str]:
    """Return the encoded record and its hash, which is the next record's ``previous``."""
    body = orjson.dumps(
        {
            "v": FORMAT_VERSION,
            "kind": "commit",
            "shard": shard,
            "sequence": sequence,
            "previous": previous,
            "worker": worker,
            "at_ns": at_ns,
            "entries": [asdict(entry) for entry in entries],
        },
        option=orjson.OPT_SORT_KEYS,
    )
    digest = _digest(body)
    return body[:-1] + b',"hash":"' + digest.encode() + b'"}', digest


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
        record: dict[str, Any] = orjson.loads(raw)
        claimed = record.pop("hash", "")
        if _digest(orjson.dumps(record, option=orjson.OPT_SORT_KEYS)) != claimed:
            raise ValueError(f"ledger record {count}: its hash does not match its content")
        if record["previous"] != previous:
            raise ValueError(f"ledger record {count}: it does not follow the record before it")
        previous = claimed
        count += 1
    return count, previous
