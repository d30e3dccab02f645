"""Functions that turn an event of one shape (its keys, in order) into a row with two dictionary displays.

Events of one program have the same keys, so which key goes where is decided once for a tuple of keys. As in ``dataclasses`` the
source of such a function is made of names and literals only, each written by ``repr``, so no key can be anything but a string
in it. It declines (returns None) whatever is not plainly right; the table of ``rows`` then maps the event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from connectors.sentinel.columns import TIME, TIME_GENERATED, TIME_NS, TRUNCATED, UNMAPPED, Column

#: A shape used this often gets a function of its own; making one costs as much as some hundred uses save.
COMPILE_AFTER = 64
#: Shapes kept, some 3 kB each, so that nothing grows with hostile keys.
MAX_SHAPES = 2048
#: An event with more keys than this is not worth a function: programs do not write that many.
MAX_KEYS = 128
#: What a value must be to go into its column as it is; anything else is for the table.
_PLAIN = {
    "string": "{0}.__class__ is str",
    "boolean": "{0}.__class__ is bool",
    "dynamic": "{0}.__class__ is dict",
    "real": "{0}.__class__ is float",
    "int": "{0}.__class__ is int and -2147483648 <= {0} <= 2147483647",
    "long": "{0}.__class__ is int and -9223372036854775808 <= {0} <= 9223372036854775807",
}

Shape = tuple[str, ...]
#: Event, text of its time, its time → row, or None.
Build = Callable[[dict[str, Any], str, int], dict[str, Any] | None]
#: Adds the members of ``unmapped`` to the rest; returns whether a name was taken.
Merge = Callable[[dict[str, Any], dict[str, Any]], bool]


def _decline(_: dict[str, Any], __: str, ___: int) -> dict[str, Any] | None:
    return None


class Plans(dict[Shape, Build]):
    """Functions by shape; one that is not worth a function, or not yet, gets one that declines. Not thread-safe."""

    def __init__(self, columns: Mapping[str, Column], merge: Merge) -> None:
        super().__init__()
        self._columns, self._merge = columns, merge
        self._uses: dict[Shape, int] = {}

    def __missing__(self, shape: Shape) -> Build:
        if len(self) >= MAX_SHAPES:
            self.clear()
        if len(self._uses) >= MAX_SHAPES:
            self._uses.clear()
        uses = self._uses[shape] = self._uses.get(shape, 0) + 1
        if uses < COMPILE_AFTER:
            return _decline
        del self._uses[shape]
        build = self[shape] = self._compiled(shape) if len(shape) <= MAX_KEYS else _decline
        return build

    def _compiled(self, shape: Shape) -> Build:
        columns, members, rest, conditions = self._columns, self._times(), [], []
        more = ""
        for position, key in enumerate(shape):
            name, column = f"v{position}", columns.get(key)
            if key == UNMAPPED:
                more = name
                conditions.append(f"{name}.__class__ is dict")
            elif key == TIME:
                continue
            elif column is None or key in {TIME_NS, TRUNCATED}:
                rest.append(f"{key!r}: {name}")
            elif column.type in _PLAIN:
                conditions.append(_PLAIN[column.type].format(name))
                members.append(f"{column.name!r}: {name}")
            else:
                return _decline
        lines = [f"{', '.join(f'v{p}' for p in range(len(shape)))}, = event.values()"]
        if conditions:
            lines.append(f"if not ({' and '.join(conditions)}): return None")
        left = f"{{{', '.join(rest)}}}" if rest else more
        if more and rest:
            lines += [f"rest = {left}", f"if merge(rest, {more}): return None"]
            left = "rest"
        if left:
            members.append(f"{columns[UNMAPPED].name!r}: {left}")
        lines.append(f"return {{{', '.join(members)}}}")
        scope: dict[str, Any] = {"merge": self._merge}
        exec("def build(event, text, time_ns):\n    " + "\n    ".join(lines), scope)  # noqa: S102 (see the module docstring)
        build: Build = scope["build"]
        return build

    def _times(self) -> list[str]:
        members = [f"{TIME_GENERATED!r}: text"]
        members += [
            f"{self._columns[key].name!r}: {what}"
            for key, what in ((TIME, "text"), (TIME_NS, "time_ns"))
            if key in self._columns
        ]
        return members
