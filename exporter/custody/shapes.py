"""What a ledger record must hold, so that whoever reads one need not ask: a forger can write good hashes around anything."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Any

from exporter.domain.events import SHORT_ID_BYTES

_TEXT, _NUMBER = str, int
#: Keys and types of a commit's entry, in both formats.
_ENTRY: dict[str, type] = {
    "tenant": _TEXT,
    "pass_name": _TEXT,
    "start_ns": _NUMBER,
    "end_ns": _NUMBER,
    "entries_in": _NUMBER,
    "events_out": _NUMBER,
    "held": _NUMBER,
    "filtered": dict,
    "loki_count": _NUMBER,
    "fingerprint": _TEXT,
    "policy_id": _TEXT,
}
_COMMIT: dict[str, type] = {"shard": _NUMBER, "at_ns": _NUMBER, "worker": _TEXT, "entries": list}
_DELIVERED: dict[str, type] = {"target": _TEXT, "tenant": _TEXT}
_RECEIPT: dict[str, type] = {
    "partition": _NUMBER,
    "first_offset": _NUMBER,
    "last_offset": _NUMBER,
    "count": _NUMBER,
    "bytes": _NUMBER,
    "sha256": _TEXT,
    "receipt": dict,
}


#: Numbers in records of delivery of any kind, where they are there.
_NUMBERS = (
    "at_ns",
    "time_ns",
    "partition",
    "first_offset",
    "last_offset",
    "count",
    "bytes",
    "possible_duplicates",
    "skipped",
)


def is_sound(record: Mapping[str, Any]) -> bool:
    """Tell whether a record has the keys of its kind. Kinds that are not known here only have to name target and tenant."""
    kind = record.get("kind")
    if kind == "commit":
        return _has(record, _COMMIT) and all(map(_is_entry, record["entries"]))
    if not isinstance(kind, str) or not _has(record, _DELIVERED):
        return False
    if not all(isinstance(record.get(key, 0), int) for key in _NUMBERS) or not _are_ends(record.get("after", [])):
        return False
    if not isinstance(record.get("receipt", {}), dict) or ("first_offset" in record) != ("last_offset" in record):
        return False
    is_right = _KINDS.get(kind)
    return is_right is None or is_right(record)


def _has(record: Mapping[str, Any], keys: Mapping[str, type]) -> bool:
    return all(isinstance(record.get(key), kind) for key, kind in keys.items())


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not _has(entry, _ENTRY):
        return False
    if not all(isinstance(number, int) for number in entry["filtered"].values()):
        return False
    if "ids" not in entry:
        return True  # format 1
    try:
        short = binascii.a2b_base64(entry["ids"])
    except (binascii.Error, TypeError, ValueError):
        return False
    return len(short) == SHORT_ID_BYTES * entry["events_out"] and isinstance(entry.get("root"), str)


def _are_ends(after: Any) -> bool:
    return isinstance(after, list) and all(
        isinstance(end, list) and len(end) == 3 and isinstance(end[1], int) and isinstance(end[2], str) for end in after
    )


def _are_letters(record: Mapping[str, Any]) -> bool:
    """Offset, event id, code; of redriven ones partition, offset, event id."""
    letters, place = record.get("letters"), 1 if record["kind"] == "dead_letters" else 2
    return isinstance(letters, list) and all(
        isinstance(letter, list) and len(letter) == 3 and isinstance(letter[0], int) and _is_id(letter[place])
        for letter in letters
    )


def _is_id(text: Any) -> bool:
    try:
        return isinstance(text, str) and len(bytes.fromhex(text)) == 16
    except ValueError:
        return False


_KINDS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "receipt": lambda record: _has(record, _RECEIPT),
    "dead_letters": lambda record: (
        _are_letters(record) and isinstance(record.get("partition"), int) and bool(record["letters"])
    ),
    "redriven": lambda record: _are_letters(record) and isinstance(record.get("receipt"), dict),
    "skipped": lambda record: isinstance(record.get("skipped"), int),
}
