"""Events → bodies of requests, joined without being parsed."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from connectors.base import Batch

CONTENT_TYPES = {"array": "application/json", "ndjson": "application/x-ndjson", "single": "application/json"}


def _array(values: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(values) + b"]"


def _ndjson(values: Sequence[bytes]) -> bytes:
    return b"\n".join(values) + b"\n"


def _single(values: Sequence[bytes]) -> bytes:
    (value,) = values
    return value


BODIES: dict[str, Callable[[Sequence[bytes]], bytes]] = {"array": _array, "ndjson": _ndjson, "single": _single}


def fitting(values: Sequence[bytes], max_bytes: int, most: int) -> int:
    """Return how many of the first ``most`` values make a request of at most so many bytes; 0 when the first is larger."""
    # One byte separates each from the next, two stand around all of them.
    sums = accumulate((len(value) + 1 for value in values[:most]), initial=1)
    return bisect_right(list(sums), max_bytes) - 1


def request_id(batch: Batch, first_offset: int, last_offset: int, body: bytes) -> str:
    """Return the idempotency key of a request: the same for the same events in the same cut, whoever sends them and when."""
    name = f"{batch.tenant}\0{batch.partition}\0{first_offset}\0{last_offset}\0".encode()
    digest = hashlib.blake2b(body, key=hashlib.blake2b(name).digest(), digest_size=16).hexdigest()
    return f"{batch.partition}-{first_offset}-{last_offset}-{digest}"
