"""JSON objects.

orjson does nearly all lines. What it would change or refuse is done by the standard library: integers beyond 64 bits
(kept exactly), NaN and Infinity (kept as text, JSON has no such numbers), lone surrogates (mended), duplicate keys (all
values kept, as a list).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

from exporter.pipeline.parse import MAX_DEPTH, MAX_KEYS, MAX_LINE_CHARS, OverBound, Parsed

#: Every member's name ends so; what a text holds of them only sends a line the slow way.
_MEMBERS = re.compile(r'"[ \t\r\n]*+:').findall
#: A number of JSON that does not fit into 64 bits.
_HUGE_INTEGER = re.compile(r"[\[:,\s](?:-[0-9]{19,}|[0-9]{20,})[\],}\s]")


def parse_json(line: str) -> Parsed | None:
    """Return the members of a JSON object. Raises OverBound; returns None for anything that is not one object."""
    if len(line) > MAX_LINE_CHARS:
        raise OverBound
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return parse_json_slowly(line)
    if type(document) is not dict:
        return None
    # Shorter lines have no room for so many members (`"":1,`).
    if len(line) > 5 * MAX_KEYS and count_keys(document) > MAX_KEYS:
        raise OverBound
    # Counted from the first inner one on, for most of a line is before it (-1, where there is none, is the last character).
    inner = line.count("{", line.find("{", 1))
    if "[" in line:
        inner += line.count("[", line.find("["))
    if inner >= MAX_DEPTH and _depth(document) > MAX_DEPTH:
        raise OverBound
    if not _is_whole(line, document):
        return parse_json_slowly(line)
    return tuple(document), tuple(document.values())


def _is_whole(line: str, document: dict[str, Any]) -> bool:
    """Tell whether orjson kept everything of a line: no key came twice, no integer became floating point.

    That what it would write is what it read proves so, and costs less than to look; most programs write JSON without
    blanks, or with Python's.
    """
    try:
        written = orjson.dumps(document).decode()
    except TypeError:
        return False
    if written == line or (": " in line and written == line.replace('": ', '":').replace(', "', ',"')):
        return True
    return len(_MEMBERS(line)) == count_keys(document) and _HUGE_INTEGER.search(line) is None


def parse_json_slowly(line: str) -> Parsed | None:
    """Parse what orjson cannot keep. Raises OverBound."""
    try:
        document = json.loads(line, object_pairs_hook=_all_values, parse_constant=str, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    if count_keys(document) > MAX_KEYS or _depth(document) > MAX_DEPTH:
        raise OverBound
    return tuple(document), tuple(document.values())


def _finite(text: str) -> float | str:
    """Return a number, or its text where it is beyond a double (``1e400``)."""
    number = float(text)
    return number if math.isfinite(number) else text


def _all_values(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object in which a key that came more than once holds the list of its values."""
    document = dict(pairs)
    if len(document) == len(pairs):
        return document
    grouped: dict[str, list[Any]] = {}
    for key, value in pairs:
        grouped.setdefault(key, []).append(value)
    return {key: values[0] if len(values) == 1 else values for key, values in grouped.items()}


def count_keys(value: Any) -> int:
    """Return the number of members at every level."""
    total = 0
    todo = [value]
    while todo:
        item = todo.pop()
        if type(item) is dict:
            total += len(item)
            todo.extend(v for v in item.values() if type(v) in (dict, list))
        elif type(item) is list:
            todo.extend(v for v in item if type(v) in (dict, list))
    return total


def _depth(value: Any) -> int:
    depth = 0
    level = [value]
    while level:
        depth += 1
        below = [v for item in level for v in (item.values() if type(item) is dict else item)]
        level = [v for v in below if type(v) in (dict, list)]
    return depth
