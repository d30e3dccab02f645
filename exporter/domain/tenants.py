"""Tenants and the shards that own them."""

from __future__ import annotations

import hashlib


def shard_of(tenant: str, shard_count: int) -> int:
    """Map a tenant to its shard, the same on every machine and in every release (so never ``hash()``)."""
    digest = hashlib.blake2b(tenant.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shard_count
