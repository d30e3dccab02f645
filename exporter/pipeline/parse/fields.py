"""What several formats share: bounds, keys that come more than once, values in quotes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from exporter.pipeline.parse import MAX_KEYS, MAX_LINE_CHARS, OverBound, Parsed


def bound(line: str) -> None:
    """Raise OverBound when a line is larger than what is parsed."""
    if len(line) > MAX_LINE_CHARS:
        raise OverBound


def collect(pairs: Iterable[tuple[str, Any]]) -> Parsed:
    """Return pairs as keys and values; a key that came more than once holds the list of its values. Raises OverBound."""
    grouped: dict[str, list[Any]] = {}
    for count, (key, value) in enumerate(pairs, 1):
        if count > MAX_KEYS:
            raise OverBound
        grouped.setdefault(key, []).append(value)
    return tuple(grouped), tuple(values[0] if len(values) == 1 else values for values in grouped.values())


def present(keys: Iterable[str], values: Iterable[str | None]) -> list[tuple[str, str]]:
    """Return the pairs that have a value: absent, empty and ``-`` (the nil of syslog and of access logs) are left out."""
    return [(key, value) for key, value in zip(keys, values, strict=True) if value and value != "-"]
