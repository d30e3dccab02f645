"""Metadata that follows the event: ``{loki.labels.app|unknown}`` in ``index``, ``sourcetype``, ``source``, ``host``, ``fields``.

A template always has a value, so every envelope names its metadata itself: what an envelope leaves out is the token's
default, and no receiver may be given the chance to take it from the envelope before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Keys of every canonical event, which need no default.
ALWAYS_THERE = frozenset({"tenant.id", "kind", "policy.id", "event.id"})
TENANT = "tenant.id"
#: Keys of the canonical event that hold an object; a template reaches into them.
_OBJECTS = ("loki.labels", "loki.structured_metadata", "unmapped")
#: Metadata is an index of Splunk's by itself: one endless value must not fill it.
MAX_VALUE_CHARS = 256
_MISSING = "unknown"
_PLACE = re.compile(r"\{([^{}|]+)(?:\|([^{}|]+))?\}")


@dataclass(frozen=True, slots=True)
class _Place:
    """One placeholder: the key, the object and the key within it if it is such a one, and what stands in for it."""

    key: str
    outer: str
    inner: str
    default: str

    def value(self, event: Mapping[str, Any]) -> str:
        found = event.get(self.key)
        if found is None and self.outer and type(within := event.get(self.outer)) is dict:
            found = within.get(self.inner)
        if type(found) is bool:
            return "true" if found else "false"
        if isinstance(found, str | int | float):
            text = str(found).strip()[:MAX_VALUE_CHARS]
            return text or self.default
        return self.default


class Template:
    """A text with placeholders. Raises ValueError, which says what to write, for one that cannot be."""

    __slots__ = ("_parts", "keys")

    def __init__(self, text: str) -> None:
        parts: list[str | _Place] = []
        at = 0
        for found in _PLACE.finditer(text):
            parts += [text[at : found.start()], _place(found[1].strip(), found[2])]
            at = found.end()
        parts.append(text[at:])
        if any("{" in part or "}" in part for part in parts if isinstance(part, str)):
            raise ValueError(
                "has a brace that opens or closes nothing; a placeholder looks like {loki.labels.app|unknown}"
            )
        self._parts = [part for part in parts if part != ""]
        self.keys = frozenset(part.key for part in parts if isinstance(part, _Place))

    def render(self, event: Mapping[str, Any]) -> str:
        """Return the text for an event."""
        return "".join([part if isinstance(part, str) else part.value(event) for part in self._parts])


def _place(key: str, default: str | None) -> _Place:
    if default is None and key not in ALWAYS_THERE:
        raise ValueError(f"an event may lack {key}: write what to use then, {{{key}|unknown}}")
    outer = next((name for name in _OBJECTS if key.startswith(name + ".")), "")
    return _Place(key, outer, key[len(outer) + 1 :], default or _MISSING)


def keys_of(templates: Sequence[Template]) -> frozenset[str]:
    """Return every key that the templates read."""
    return frozenset().union(*(template.keys for template in templates))
