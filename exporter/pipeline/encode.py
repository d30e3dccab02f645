"""The bytes of a canonical event, put together from parts that are made once per batch, stream, or distinct metadata."""

from __future__ import annotations

import json
from typing import Any

import orjson

from exporter.pipeline.redact.engine import mend_surrogates


def encode_body(event: dict[str, Any]) -> bytes:
    """Return an event's own keys as one JSON object without line breaks. What orjson cannot hold (integers beyond 64 bits,
    lone surrogates) is done by the standard library.
    """
    try:
        return orjson.dumps(event)
    except TypeError:
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return mend_surrogates(text).encode()


def members(fields: dict[str, Any]) -> bytes:
    """Return the members of an object, each followed by a comma, to be put into a larger object."""
    return orjson.dumps(fields)[1:-1] + b"," if fields else b""
