"""How filters take a value: as text, as number, by a path. One place, so that conditions, lookups and tests agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

#: No number that a log line means to be compared is longer; keeps ``float`` from chewing on long texts.
_MAX_NUMBER_CHARS = 40


def as_text(value: Any) -> str | None:
    """Return a scalar as the text it is compared as (``true``, ``200``); None for what is no scalar."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is float and value.is_integer():
        value = int(value)  # 200.0 and 200 are one number to whoever writes a filter
    return str(value) if kind is int or kind is float else None


def as_number(value: Any) -> float | None:
    """Return a number, or a text that is one, as a number. Integers too large for a double count as infinite."""
    kind = type(value)
    if kind is str and len(value) <= _MAX_NUMBER_CHARS:
        try:
            number = float(value)
        except ValueError:
            return None
        return None if math.isnan(number) else number
    if kind is int or kind is float:
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return None


def at_path(holder: Any, path: str) -> Any:
    """Return what stands under a dotted path, None where nothing does. A key may hold dots itself: the longest wins."""
    if not isinstance(holder, Mapping):
        return None
    if path in holder:
        return holder[path]
    end = path.rfind(".")
    while end > 0:
        head = path[:end]
        if head in holder:
            return at_path(holder[head], path[end + 1 :])
        end = path.rfind(".", 0, end)
    return None
