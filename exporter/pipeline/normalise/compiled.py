"""A function for lines of one shape that does what its plan says with one dictionary display, five times faster.

It leaves to the plan what fails a check or needs more than a look-up, and to the caller what is of another shape. As in
``dataclasses`` its source is made of our own variables and of names each written by ``repr``, so no key of a line can be
anything but a string in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.domain.keys import KEYS
from exporter.pipeline.normalise.checks import (
    ADDRESS_KEYS,
    CHECKS,
    NIL,
    NIL_KEYS,
    NOT_SCALAR,
    TEXT_CHECKS,
    Addresses,
    other_key,
)
from exporter.pipeline.normalise.checks import texts as texts_of
from exporter.pipeline.normalise.paths import Path, Values
from exporter.pipeline.normalise.plan import Plan

#: Values of a line → the event's own members.
Build = Callable[[Values], dict[str, Any]]
#: One for each address key, shared by all plans: the same addresses come in lines of every shape.
_ADDRESSES = {name: Addresses(name) for name in ADDRESS_KEYS}
_only_text = CHECKS["message"]


def compile_plan(plan: Plan, by_table: Build, by_shape: Build) -> Build:
    """Return the function. ``by_table`` takes lines of this shape, ``by_shape`` of any other one."""
    code = _Code(plan, by_table, by_shape)
    code.open((), "values", "v")
    code.take()
    return code.finish()


def _is_text(name: str) -> bool:
    return CHECKS.get(name, TEXT_CHECKS[0]) in TEXT_CHECKS


class _Code:
    """The source of the function, under way."""

    def __init__(self, plan: Plan, by_table: Build, by_shape: Build) -> None:
        self._plan = plan
        self._lines: list[str] = []
        self._only_if_no_text: list[str] = []
        self._leaves = frozenset(plan.paths)
        self._texts = frozenset(plan.paths[at] for at, name in plan.mapped.items() if _is_text(name))
        self._scope: dict[str, Any] = {"not_scalar": NOT_SCALAR, "nil": NIL, "by_table": by_table, "by_shape": by_shape}
        #: Variable of each path; the objects on the way have one too.
        self._variables: dict[Path, str] = {}
        #: Members of the event: the source of the key, of the value.
        self._event: dict[str, tuple[str, str]] = {}

    def open(self, prefix: Path, values: str, stem: str) -> None:
        """Give the values of one object names, then those of the objects in it."""
        depth = len(prefix)
        keys = list(dict.fromkeys(path[depth] for path in self._plan.paths if path[:depth] == prefix))
        names = [f"{stem}{number}" for number in range(len(keys))]
        self._lines.append(", ".join(names) + f", = {values}")
        for key, variable in zip(keys, names, strict=True):
            path = (*prefix, key)
            self._variables[path] = variable
            if path in self._leaves:
                if ".".join(path) in self._plan.vocabulary.containers:
                    # A text is told below with all others.
                    lines = self._only_if_no_text if path in self._texts else self._lines
                    lines.append(f"if type({variable}) is dict and {variable}: return by_shape(values)")
                continue
            inner = [p[depth + 1] for p in self._plan.paths if p[: depth + 1] == path]
            self._scope[f"keys_{variable}"] = tuple(dict.fromkeys(inner))
            self._lines.append(
                f"if type({variable}) is not dict or tuple({variable}) != keys_{variable}: return by_shape(values)"
            )
            self.open(path, f"{variable}.values()", f"{variable}_")

    def take(self) -> None:
        """Check the mapped values and note them as members. Nearly all are texts, which one comparison tells; only where
        one is not, each is looked at.
        """
        plan = self._plan
        mapped = {name: self._variables[plan.paths[position]] for position, name in plan.mapped.items()}
        for position, name in plan.mapped.items():
            if ".".join(plan.paths[position]) in plan.vocabulary.lists:
                variable = mapped[name]
                self._lines.append(f"if type({variable}) is list and len({variable}) == 1: {variable} = {variable}[0]")
        texts = {name: v for name, v in mapped.items() if _is_text(name)}
        if texts:
            self._lines.append(f"if not ({''.join(f'type({v}) is ' for v in texts.values())}str):")
            self._lines += [f"    {line}" for line in self._only_if_no_text]
            for name, variable in texts.items():
                wrong = f"    if type({variable}) is not str: "
                number = f"{variable} = str({variable}) if type({variable}) is int else by_table"
                strict = CHECKS.get(name) is _only_text or name in ADDRESS_KEYS
                self._lines.append(wrong + ("return by_table(values)" if strict else number))
                if not strict:
                    self._lines.append(f"    if {variable} is by_table: return by_table(values)")
        # That of an address is told by its look-up.
        nils = [variable for name, variable in texts.items() if name in NIL_KEYS - ADDRESS_KEYS]
        self._lines += [f"if {variable} in nil: return by_table(values)" for variable in nils]
        for name, variable in mapped.items():
            self._event[name] = (repr(name), variable)
            if name in ADDRESS_KEYS:
                self._take_address(name, variable, mapped)
            elif name not in texts:
                self._take_checked(name, variable)

    def _take_checked(self, name: str, variable: str) -> None:
        self._scope[f"check_{variable}"] = CHECKS[name]
        if KEYS[name].type == "integer":
            # A call costs more than all of this; any number of fewer than 19 digits fits into 64 bits.
            plain = f"{variable}.isdigit() and '1' <= {variable} and len({variable}) < 19 and {variable}.isascii()"
            self._lines.append(f"if type({variable}) is str and {plain}: {variable} = int({variable})")
            self._lines.append(f"elif type({variable}) in not_scalar: return by_table(values)")
            self._lines.append(f"else: {variable} = check_{variable}({variable})")
            self._lines.append(f"if {variable} is None: return by_table(values)")
            return
        if CHECKS[name] is not texts_of:
            self._lines.append(f"if type({variable}) in not_scalar: return by_table(values)")
        self._lines.append(f"{variable} = check_{variable}({variable})")
        self._lines.append(f"if {variable} is None: return by_table(values)")

    def _take_address(self, name: str, variable: str, mapped: dict[str, str]) -> None:
        self._scope[f"address_{variable}"] = _ADDRESSES[name]
        self._lines.append(f"pair = address_{variable}[{variable}]")
        other = other_key(name)
        # Where the name for what is no address is taken, or another kind would follow from it, the plan decides.
        names = frozenset(mapped)
        is_fixed = other in names | self._plan.claimed
        if other and not is_fixed:
            is_fixed = self._plan.added(names).kind != self._plan.added(names - {name} | {other}).kind
        wrong = f"pair is None or pair[0] != {name!r}" if is_fixed else "pair is None"
        self._lines.append(f"if {wrong}: return by_table(values)")
        self._lines.append(f"key_{variable}, {variable} = pair")
        self._event[name] = (f"key_{variable}", variable)

    def finish(self) -> Build:
        """Return the function; see ``Plan.added`` for what it adds."""
        added = self._plan.added(frozenset(self._event))
        for number, (name, value) in enumerate(added.constants.items()):
            self._scope[f"constant_{number}"] = value
            self._event[name] = (repr(name), f"constant_{number}")
        for number, row in enumerate(added.derive):
            if row.target in self._event or row.origin not in self._event:
                continue
            self._scope[f"by_{number}"] = row.by
            self._lines.append(f"d{number} = by_{number}({self._event[row.origin][1]})")
            self._lines.append(f"if d{number} is None: return by_table(values)")
            self._event[row.target] = (repr(row.target), f"d{number}")
        self._event.pop("kind", None)
        members = [f"{key}: {value}" for key, value in self._event.values()]
        members.append(f"'kind': {added.kind!r}")
        rest = self._rest(())
        if rest:
            members.append(f"'unmapped': {rest}")
        self._lines.append("return {" + ", ".join(members) + "}")
        exec("def event(values):\n    " + "\n    ".join(self._lines), self._scope)  # noqa: S102 (see the module)
        function: Build = self._scope["event"]
        return function

    def _rest(self, prefix: Path) -> str:
        """Return the source of the object of what is not mapped; empty where all is."""
        depth = len(prefix)
        taken = {self._plan.paths[position] for position in self._plan.mapped}
        members = []
        for path, variable in self._variables.items():
            if path[:depth] != prefix or len(path) != depth + 1 or path in taken:
                continue
            source = variable if path in self._leaves else self._rest(path)
            if source:
                members.append(f"{path[depth]!r}: {source}")
        return "{" + ", ".join(members) + "}" if members else ""
