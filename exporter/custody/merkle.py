"""Merkle trees as RFC 6962 §2.1 (Certificate Transparency) defines them, and how events become their entries.

An entry of the tree is a *block* of up to :data:`BLOCK_EVENTS` events in commit order. A tree with one entry an
event would cost two SHA-256 calls an event, most of it Python's own overhead: twice the share of the hot path that custody may
take (ADR 0011 has the figures). So the proof of one event carries the few events beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

#: Events of one entry. 16 are about 10 kB, where the overhead of a call no longer counts; more would not be faster, and an
#: inclusion proof shows all events of its entry.
BLOCK_EVENTS = 16
#: RFC 6962 §2.1: the prefixes keep a leaf from passing for an inner node.
LEAF, NODE = b"\x00", b"\x01"

_sha256 = hashlib.sha256


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry."""
    return _sha256(LEAF + entry).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes; the hash of nothing where there are none.

    Joining neighbours level by level, the odd one carried up, is the RFC's split at the largest power of two.
    """
    if not leaves:
        return _sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        paired = [_sha256(NODE + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            paired.append(level[-1])
        level = paired
    return level[0]


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the audit path of a leaf (RFC 6962 §2.1.1), from the leaf's neighbour upwards. Raises IndexError."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"no leaf {index} in a tree of {len(leaves)}")
    path = []
    level = list(leaves)
    while len(level) > 1:
        neighbour = index ^ 1
        if neighbour < len(level):
            path.append(level[neighbour])
        paired = [_sha256(NODE + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            paired.append(level[-1])
        level, index = paired, index // 2
    return path


def root_by_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that a leaf hash and its audit path lead to (the verification of RFC 9162 §2.1.3.2).

    Raises ValueError when the path cannot be one of a tree of this size.
    """
    if not 0 <= index < size:
        raise ValueError("the index is outside of the tree")
    node, last = leaf, size - 1
    rest = list(path)
    while last:
        if index % 2 or index < last:
            if not rest:
                raise ValueError("the audit path is too short")
            other = rest.pop(0)
            node = _sha256(NODE + (other + node if index % 2 else node + other)).digest()
        index, last = index // 2, last // 2
    if rest:
        raise ValueError("the audit path is too long")
    return node


def entry_of(events: Sequence[bytes]) -> bytes:
    """Return the entry of one block: its events, one after the other. Each is one JSON object, so no other events make it."""
    return b"".join(events)


def event_leaves(events: Sequence[bytes]) -> list[bytes]:
    """Return the leaf hashes over events in commit order."""
    leaves = []
    # Events are fed one by one: joining a block first would copy every byte once more, a tenth of the cost.
    begun = _sha256(LEAF).copy
    for start in range(0, len(events), BLOCK_EVENTS):
        state = begun()
        update = state.update
        for event in events[start : start + BLOCK_EVENTS]:
            update(event)
        leaves.append(state.digest())
    return leaves


def events_root(events: Sequence[bytes]) -> str:
    """Return the root over events in commit order, in hexadecimal digits."""
    return root_of(event_leaves(events)).hex()
