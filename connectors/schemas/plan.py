"""Canonical events → a target's shape by table, decided once per shape of event (its kind and its keys).

A plan moves values by position; which row of which table applies, which objects exist and whether what they must hold is there was
settled when it was made. A value that its place cannot hold (an address field with a mask in it) is set aside, and the event
is mapped by the plan of the keys that are left, so whatever a plan promises about required attributes stays true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from connectors.schemas.values import Convert, text

#: Shapes kept. Real tenants have some hundreds; a hostile source that invents keys only makes its own events dearer.
MAX_PLANS = 2048

Keys = tuple[str, ...]
Path = tuple[str, ...]
Event = dict[str, Any]


class To(NamedTuple):
    """Where a value goes and what makes it fit: None from ``convert`` means that this value does not."""

    path: Path
    convert: Convert = text


#: Canonical key → the places it fills.
Table = Mapping[str, tuple[To, ...]]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a plan is made of. A constant in an object counts only where the object holds a value of the event."""

    table: Table
    constants: Mapping[Path, Any] = field(default_factory=dict)
    #: Lists made of the values of several keys, without repetitions.
    lists: Mapping[Path, Keys] = field(default_factory=dict)
    #: Keys that the schema's own code deals with; they are neither moved nor left over.
    own: frozenset[str] = frozenset()


class Misfit(Exception):
    """Names the key whose value its place cannot hold."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key


class Plan:
    """The moves for one shape."""

    __slots__ = ("_links", "_lists", "_moves", "_rest", "_templates")

    def __init__(self, layout: Layout, keys: Iterable[str]) -> None:
        present = [key for key in keys if key not in layout.own]
        moves = [(key, to) for key in present for to in layout.table.get(key, ())]
        self._rest = tuple(key for key in present if key not in layout.table)
        lists = {path: tuple(k for k in names if k in present) for path, names in layout.lists.items()}
        lists = {path: names for path, names in lists.items() if names}
        objects = {()} | {path[:end] for _, (path, _) in moves for end in range(1, len(path))}
        objects |= {path[:end] for path in lists for end in range(1, len(path))}
        objects |= {path[:end] for path in layout.constants if path[0] == "metadata" for end in range(1, len(path))}
        # By name, too: a set's order differs from process to process, and a batch sent again must be the same bytes.
        places = {path: number for number, path in enumerate(sorted(objects, key=lambda path: (len(path), path)))}
        self._templates: tuple[dict[str, Any], ...] = tuple({} for _ in places)
        for path, value in layout.constants.items():
            if path[:-1] in places:
                self._templates[places[path[:-1]]][path[-1]] = value
        self._links = tuple((places[path[:-1]], path[-1], number) for path, number in places.items() if path)
        self._moves = tuple(
            (key, places[to.path[:-1]], to.path[-1], str if to.convert is text else None, to.convert)
            for key, to in moves
        )
        self._lists = tuple((places[path[:-1]], path[-1], names) for path, names in lists.items())

    def apply(self, event: Event) -> tuple[Event, Event]:
        """Return the mapped event and what no row maps. Raises Misfit."""
        objects = [template.copy() for template in self._templates]
        for parent, name, child in self._links:
            objects[parent][name] = objects[child]
        for key, place, name, fits, convert in self._moves:
            value = event[key]
            if value.__class__ is not fits:
                value = convert(value)
                if value is None:
                    raise Misfit(key)
            objects[place][name] = value
        for place, name, names in self._lists:
            objects[place][name] = (
                [event[names[0]]] if len(names) == 1 else list(dict.fromkeys([event[name] for name in names]))
            )
        return objects[0], {key: event[key] for key in self._rest}


#: What a key is called when its value is no address: the schemas have places for names beside those for addresses.
_SECOND_NAMES = {"source.ip": "source.address", "destination.ip": "destination.address"}


class Plans:
    """Plans by shape. ``layout_of(kind, keys)`` chooses the layout of a shape. Not thread-safe."""

    def __init__(self, layout_of: Callable[[str, Keys], tuple[Any, Layout]]) -> None:
        self._layout_of = layout_of
        self._plans: dict[tuple[str, Keys], tuple[Any, Plan]] = {}

    def map(self, event: Event) -> tuple[Any, Event, Event]:
        """Return what the layout's table calls the event, the mapped event, and what is left over."""
        aside: Event = {}
        while True:
            shape = (event["kind"], tuple(event))
            entry = self._plans.get(shape) or self._make(shape)
            try:
                mapped, rest = entry[1].apply(event)
            except Misfit as misfit:
                event = _without(event, misfit.key, aside)
                continue
            if aside:
                rest.update(aside)
            return entry[0], mapped, rest

    def _make(self, shape: tuple[str, Keys]) -> tuple[Any, Plan]:
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        chosen, layout = self._layout_of(*shape)
        entry = self._plans[shape] = chosen, Plan(layout, shape[1])
        return entry


def _without(event: Event, key: str, aside: Event) -> Event:
    """Return the event without a value that does not fit: under its second name, or else set aside."""
    left = dict(event)
    value = left.pop(key)
    second = _SECOND_NAMES.get(key)
    if second is not None and second not in left and type(value) is str:
        left[second] = value
    else:
        aside[key] = value
    return left
