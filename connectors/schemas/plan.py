"""Canonical events → a target's shape by table, decided once per shape of event (its kind and its keys).

A plan is a function made for its shape: it moves values by position; which row of which table applies, which objects exist and
whether what they must hold is there was settled when it was made. A value that its place cannot hold (an address field with a mask in it) is set aside, and the event
is mapped by the plan of the keys that are left, so whatever a plan promises about required attributes stays true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


#: A decoded event of one shape → the mapped event, and what no row maps. Raises Misfit.
Apply = Callable[[Event], tuple[Event, Event]]


def compile_plan(layout: Layout, keys: Keys) -> Apply:
    """Return the function that maps events with exactly these keys in this order."""
    return _Writer(layout, keys).finish()


class _Writer:
    """Writes the source of one function: values by position, one literal for all objects. Names of data stand in it as
    literals only, values of tables by name.
    """

    def __init__(self, layout: Layout, keys: Keys) -> None:
        self._layout = layout
        self._variables = {key: f"v{number}" for number, key in enumerate(keys)}
        self._lines = [f"({', '.join(self._variables.values())},) = event.values()"]
        self._scope: dict[str, Any] = {"Misfit": Misfit, "text": text, "fromkeys": dict.fromkeys}
        present = [key for key in keys if key not in layout.own]
        self._rest = [key for key in present if key not in layout.table]
        self._moves = [(key, to) for key in present for to in layout.table.get(key, ())]
        self._lists = {
            path: found for path, names in layout.lists.items() if (found := [k for k in names if k in present])
        }

    def finish(self) -> Apply:
        self._convert_texts()
        tree = self._objects()
        for path, value in self._layout.constants.items():
            if path[:-1] in tree:
                tree[path[:-1]][path[-1]] = self._constant(value)
        for path in tree:
            if path:
                tree[path[:-1]][path[-1]] = ""  # its place; the source follows below
        for key, to in self._moves:
            tree[to.path[:-1]][to.path[-1]] = self._converted(key, to.convert)
        for path, names in self._lists.items():
            values = ", ".join(self._variables[name] for name in names)
            tree[path[:-1]][path[-1]] = f"[{values}]" if len(names) == 1 else f"list(fromkeys(({values})))"
        rest = ", ".join(f"{key!r}: {self._variables[key]}" for key in self._rest)
        self._lines.append(f"return {_source(tree, ())}, {{{rest}}}")
        exec("def apply(event):\n    " + "\n    ".join(self._lines), self._scope)  # noqa: S102 (see the class)
        function: Apply = self._scope["apply"]
        return function

    def _objects(self) -> dict[Path, dict[str, str]]:
        """Return the objects that there will be, outer ones first. A constant makes none, but for the metadata of the event."""
        paths = [to.path for _, to in self._moves] + list(self._lists)
        paths += [path for path in self._layout.constants if path[0] == "metadata"]
        objects = {path[:end] for path in paths for end in range(len(path))} | {()}
        return {path: {} for path in sorted(objects, key=lambda path: (len(path), path))}

    def _convert_texts(self) -> None:
        """Check all texts at once: nearly always they are."""
        wanted = list(dict.fromkeys(key for key, to in self._moves if to.convert is text))
        if not wanted:
            return
        others = {key for key, to in self._moves if to.convert is not text}.union(*self._lists.values())
        for key in others.intersection(wanted):
            self._lines.append(f"t{self._variables[key]} = {self._variables[key]}")
        self._texts = {key: f"t{v}" if key in others else v for key in wanted for v in [self._variables[key]]}
        self._lines.append(f"if not ({' is '.join(f'type({v})' for v in self._texts.values())} is str):")
        for key, variable in self._texts.items():
            self._lines.append(f"    {variable} = text({variable})")
            self._lines.append(f"    if {variable} is None: raise Misfit({key!r})")

    def _converted(self, key: str, convert: Convert) -> str:
        if convert is text:
            return self._texts[key]
        name = f"{convert.__name__}_{self._variables[key]}"
        if name not in self._scope:
            self._scope[name] = convert
            self._lines.append(f"c_{name} = {name}({self._variables[key]})")
            self._lines.append(f"if c_{name} is None: raise Misfit({key!r})")
        return f"c_{name}"

    def _constant(self, value: Any) -> str:
        name = f"constant_{len(self._scope)}"
        self._scope[name] = value
        return name


def _source(tree: Mapping[Path, Mapping[str, str]], path: Path) -> str:
    """Return the source of one object and those in it."""
    members = [f"{name!r}: {value or _source(tree, (*path, name))}" for name, value in tree[path].items()]
    return "{" + ", ".join(members) + "}"


#: What a key is called when its value is no address: the schemas have places for names beside those for addresses.
_SECOND_NAMES = {"source.ip": "source.address", "destination.ip": "destination.address"}


class Plans:
    """Plans by shape. ``layout_of(kind, keys)`` chooses the layout of a shape. Not thread-safe."""

    def __init__(self, layout_of: Callable[[str, Keys], tuple[Any, Layout]]) -> None:
        self._layout_of = layout_of
        self._plans: dict[tuple[str, Keys], tuple[Any, Apply]] = {}

    def map(self, event: Event) -> tuple[Any, Event, Event]:
        """Return what the layout's table calls the event, the mapped event, and what is left over."""
        aside: Event = {}
        while True:
            shape = (event["kind"], tuple(event))
            entry = self._plans.get(shape) or self._make(shape)
            try:
                mapped, rest = entry[1](event)
            except Misfit as misfit:
                event = _without(event, misfit.key, aside)
                continue
            if aside:
                rest.update(aside)
            return entry[0], mapped, rest

    def _make(self, shape: tuple[str, Keys]) -> tuple[Any, Apply]:
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        chosen, layout = self._layout_of(*shape)
        entry = self._plans[shape] = chosen, compile_plan(layout, shape[1])
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
