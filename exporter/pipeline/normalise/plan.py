"""Where the values of lines of one shape go, and the careful way of putting them there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from exporter.domain.keys import KEYS
from exporter.pipeline.normalise.checks import (
    ADDRESS_KEYS,
    CHECKS,
    NIL,
    NIL_KEYS,
    NOT_SCALAR,
    TEXT_CHECKS,
    other_key,
    read_address,
    texts,
)
from exporter.pipeline.normalise.names import FIELD_ALIASES, by_name
from exporter.pipeline.normalise.paths import Path, put
from exporter.pipeline.normalise.severity import SEVERITY_OF
from exporter.pipeline.normalise.source import Derive, Source, Variant, kind_of

#: RFC 9110 section 15: 4xx and 5xx are errors.
HTTP_OUTCOMES = {code: "failure" if code >= 400 else "success" for code in range(100, 600)}
_HTTP_OUTCOME = Derive("http.response.status_code", "event.outcome", HTTP_OUTCOMES.get)
_SEVERITY = Derive("severity.text", "severity.number", SEVERITY_OF.get)
_NO_VARIANT = Variant()


class Vocabulary:
    """A source and one of its variants, with the tenant's own names before and the common ones after."""

    def __init__(
        self, source: Source, variant: Variant | None, own: dict[str, str], derive: tuple[Derive, ...]
    ) -> None:
        variant = variant or _NO_VARIANT
        listed = {name.removesuffix("[0]") for name in _names(source, variant) if name.endswith("[0]")}
        self.lists = frozenset(listed)
        self.aliases: dict[str, tuple[int, str]] = dict(FIELD_ALIASES) if source.generic else {}
        # Ranks below zero: what the source's table says beats the common names, and the tenant's own beats all.
        # What a variant says of a name, it says alone: who logs on is not whoever stands in the source's other fields.
        common = {target: names for target, names in source.fields.items() if target not in variant.fields}
        for step, table in ((-1000, common), (-2000, variant.fields)):
            for name, (rank, target) in by_name(dict(table)).items():
                self.aliases[name.removesuffix("[0]")] = (step + rank, target)
        for rank, (name, target) in enumerate(own.items()):
            self.aliases[name] = (-10_000 + rank, target)
        self.containers = frozenset(
            name[:at] for name in self.aliases for at, letter in enumerate(name) if letter == "."
        )
        self.constants = {**source.constants, **variant.constants}
        self.wanted = variant.kind or source.kind
        self.absent = source.absent
        self.derive = (*source.derive, _SEVERITY, *derive)


def _names(source: Source, variant: Variant) -> Iterable[str]:
    for table in (source.fields, variant.fields):
        for names in table.values():
            yield from names.split()


@dataclass(frozen=True, slots=True)
class Added:
    """What follows from the names that are there: constants, keys by derivation, the kind."""

    constants: dict[str, Any]
    derive: tuple[Derive, ...]
    kind: str


def _is_nil(value: Any) -> bool:
    if type(value) is list and len(value) == 1:
        value = value[0]
    return type(value) is str and value in NIL


class Plan:
    """See the module. ``claimed``: canonical names that the labels of the stream set already. ``skipped``: positions of values
    that say there is none; the next name that tells the same is looked at.
    """

    #: Plans for lines of this shape in which values say that there is none.
    MAX_OTHERS = 64

    __slots__ = ("_added", "_others", "_skipped", "claimed", "mapped", "paths", "vocabulary")

    def __init__(
        self,
        vocabulary: Vocabulary,
        paths: tuple[Path, ...],
        claimed: frozenset[str],
        skipped: frozenset[int] = frozenset(),
    ) -> None:
        best: dict[str, tuple[int, int]] = {}
        for position, path in enumerate(paths):
            rank, target = vocabulary.aliases.get(".".join(path), (0, ""))
            if position in skipped and target in NIL_KEYS:
                continue
            if target and target not in claimed and (target not in best or rank < best[target][0]):
                best[target] = (rank, position)
        self.vocabulary = vocabulary
        self.paths = paths
        self.claimed = claimed
        #: Position of a value → its canonical name.
        self.mapped: dict[int, str] = dict(sorted((p, t) for t, (_, p) in best.items()))
        self._added: dict[frozenset[str], Added] = {}
        self._skipped = skipped
        self._others: dict[frozenset[int], Plan] = {}

    def build(self, flat: list[Any]) -> dict[str, Any]:
        """Return the event's own members of the values of a line."""
        nil = {at for at, name in self.mapped.items() if name in NIL_KEYS and _is_nil(flat[at])}
        if nil:
            return self._without(self._skipped | nil).build(flat)
        event: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for position, value in enumerate(flat):
            name = self.mapped.get(position)
            kept = name is not None and self._take(name, position, value, event, extra)
            if not kept:
                put(rest, self.paths[position], value)
        for name, value in extra.items():
            event.setdefault(name, value)
        self._finish(event)
        if rest:
            event["unmapped"] = rest
        return event

    def _without(self, skipped: frozenset[int]) -> Plan:
        if len(self._others) >= self.MAX_OTHERS:
            self._others.clear()
        plan = self._others.get(skipped)
        if plan is None:
            plan = self._others[skipped] = Plan(self.vocabulary, self.paths, self.claimed, skipped)
        return plan

    def _take(self, name: str, position: int, value: Any, event: dict[str, Any], extra: dict[str, Any]) -> bool:
        """Add a value to the event; returns whether all of it is there now."""
        whole = True
        if type(value) is list and value and ".".join(self.paths[position]) in self.vocabulary.lists:
            whole = len(value) == 1
            value = value[0]
        check = CHECKS.get(name, TEXT_CHECKS[0])
        if (type(value) in NOT_SCALAR and check is not texts) or (value := check(value)) is None:
            return False
        if name not in ADDRESS_KEYS:
            event[name] = value
            return whole
        ip, text, port = read_address(value)
        if ip is not None:
            event[name] = ip
        else:
            other = other_key(name)
            if not text or not other or other in self.claimed or other in self.mapped.values():
                return False
            event[other] = text
        return whole and (port is None or self._take_port(name, port, extra))

    def _take_port(self, name: str, port: int, extra: dict[str, Any]) -> bool:
        """Keep the port that stood behind an address, where no other key tells it."""
        target = name.removesuffix("ip") + "port"
        if target not in KEYS or target in self.claimed or target in self.mapped.values():
            return False
        extra[target] = port
        return True

    def _finish(self, event: dict[str, Any]) -> None:
        names = frozenset(event)
        added = self._added.get(names)
        if added is None:
            if len(self._added) > 64:
                self._added.clear()
            added = self._added[names] = self.added(names)
        event.update(added.constants)
        event.pop("kind", None)
        for row in added.derive:
            if row.target not in event and row.origin in event:
                value = row.by(event[row.origin])
                if value is not None:
                    event[row.target] = value
        event["kind"] = added.kind

    def added(self, names: frozenset[str]) -> Added:
        """Return what is added to an event that has these names."""
        words = self.vocabulary
        constants = {n: v for n, v in words.constants.items() if n not in names and n not in self.claimed}
        present = names | self.claimed | constants.keys()
        for missing, target, value in words.absent:
            if missing not in present and target not in present:
                constants.setdefault(target, value)
        present = present | constants.keys()
        kind = kind_of(words.wanted, present)
        rows = (*words.derive, _HTTP_OUTCOME) if kind in {"http.request", "k8s.api"} else words.derive
        return Added(constants, tuple(row for row in rows if row.target not in present), kind)
