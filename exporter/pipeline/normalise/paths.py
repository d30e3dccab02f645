"""Parsed values as paths: what the tables speak of. Objects that no table speaks of stay whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from operator import itemgetter
from typing import Any

from exporter.pipeline.parse import Keys

#: The steps to a value: ``("http", "request", "method")``.
Path = tuple[str, ...]
Values = tuple[Any, ...]


def flatten(
    keys: Iterable[str], values: Iterable[Any], containers: frozenset[str]
) -> tuple[tuple[Path, ...], list[Any]]:
    """Return the paths and values of a line; an object is opened when it stands at one of the ``containers``."""
    paths: list[Path] = []
    flat: list[Any] = []
    _open((), "", zip(keys, values, strict=True), containers, paths, flat)
    return tuple(paths), flat


def _open(
    steps: Path,
    prefix: str,
    items: Iterable[tuple[str, Any]],
    containers: frozenset[str],
    paths: list[Path],
    flat: list[Any],
) -> None:
    for key, value in items:
        name = prefix + key
        if type(value) is dict and value and name in containers:
            _open((*steps, key), f"{name}.", value.items(), containers, paths, flat)
        else:
            paths.append((*steps, key))
            flat.append(value)


def put(into: dict[str, Any], path: Path, value: Any) -> None:
    """Put a value at its path, making the objects on the way."""
    for step in path[:-1]:
        into = into.setdefault(step, {})
    into[path[-1]] = value


def nothing(_: Values) -> None:
    """Read what is not there."""


def getter(keys: Keys, name: str) -> Callable[[Values], Any]:
    """Return what reads the value of a dotted name from lines with these keys: :func:`nothing` where none can be."""
    for position, key in enumerate(keys):
        if name == key or name.startswith(f"{key}."):
            rest = name[len(key) + 1 :]
            return partial(_read, position, rest) if rest else itemgetter(position)
    return nothing


def _read(position: int, name: str, values: Values) -> Any:
    value = values[position]
    while name:
        if type(value) is not dict:
            return None
        if name in value:
            return value[name]
        head, _, name = name.partition(".")
        value = value.get(head)
    return value
