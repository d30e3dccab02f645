"""Ledger records as bytes: one JSON object whose last key is the SHA-256 of all before it.

The hash is over the bytes as they were written, with the key ``hash`` cut out. So nobody has to write JSON in the same way
to check it: ``head -c``, ``sha256sum`` and a closing brace are enough (``docs/ledger.md`` shows it).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

#: Records of this version carry Merkle roots, and receipts are chained; version 1 stays readable.
FORMAT_VERSION = 2
#: What the first record of a chain follows.
GENESIS = "0" * 64
_HASH = b',"hash":"'
_TAIL_BYTES = len(_HASH) + 64 + len(b'"}')


class LedgerBroken(ValueError):
    """A record is not what was written. The message names no content, only what is wrong."""


def seal(body: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return the encoded record and its hash, which is the next record's ``previous``."""
    raw = orjson.dumps(body, option=orjson.OPT_SORT_KEYS, default=str)
    digest = hashlib.sha256(raw).hexdigest()
    return raw[:-1] + _HASH + digest.encode() + b'"}', digest


def is_sealed(raw: bytes) -> bool:
    """Tell whether a record has a hash at all: receipts of version 1 have none."""
    return raw[-_TAIL_BYTES:].startswith(_HASH)


def unseal(raw: bytes) -> dict[str, Any]:
    """Return the record with its ``hash``. Raises LedgerBroken when the hash is not that of the bytes."""
    tail = raw[-_TAIL_BYTES:]
    if not (tail.startswith(_HASH) and tail.endswith(b'"}')):
        raise LedgerBroken("it has no hash")
    if hashlib.sha256(raw[:-_TAIL_BYTES] + b"}").hexdigest().encode() != tail[len(_HASH) : -2]:
        raise LedgerBroken("its hash does not match its content")
    return read(raw)


def read(raw: bytes) -> dict[str, Any]:
    """Return the record unchecked. Raises LedgerBroken when it is none, or of a version from the future."""
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise LedgerBroken("it is no JSON") from None
    if not isinstance(record, dict) or not isinstance(record.get("v"), int):
        raise LedgerBroken("it is no ledger record")
    if not 1 <= record["v"] <= FORMAT_VERSION:
        raise LedgerBroken(
            f"its format is version {record['v']}, known are 1 to {FORMAT_VERSION}; use the release that wrote it, or newer"
        )
    return record
