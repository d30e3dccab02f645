"""The mapping of parsed lines, compiled per shape: lines of one program have the same keys, so which goes where is decided
once and mapping a line is picking values by position.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from exporter.pipeline.normalise.compiled import Build, compile_plan
from exporter.pipeline.normalise.labels import add_metadata, label_fields
from exporter.pipeline.normalise.paths import Path, Values, flatten, getter, nothing
from exporter.pipeline.normalise.plan import Plan, Vocabulary
from exporter.pipeline.normalise.source import Derive, Source
from exporter.pipeline.normalise.sources import APPLICATION, SOURCES, recognise
from exporter.pipeline.parse import Keys

#: Source, keys and values of a line → the event's own members.
Mapper = Callable[[str, Keys, Values], dict[str, Any]]
#: A variant's name and all paths of a line.
Shape = tuple[str, tuple[Path, ...]]
#: Where :func:`Normaliser` puts the trace id into a tenant's ``tempo_url``.
TRACE_ID = "{trace_id}"


#: Types of values that a variant is chosen by; all others are as if they were not there.
_TELLING = frozenset((str, int, bool))


class _Vocabularies:
    """A source's vocabularies by variant, made when the first line of one comes."""

    def __init__(self, source: Source, own: dict[str, str], derive: tuple[Derive, ...]) -> None:
        self.source = source
        self._own, self._derive = own, derive
        self._made: dict[str, Vocabulary] = {}

    def __getitem__(self, variant: str) -> Vocabulary:
        found = self._made.get(variant)
        if found is None:
            row = self.source.variants.get(variant)
            found = self._made[variant] = Vocabulary(self.source, row, self._own, self._derive)
        return found


class Lines:
    """Lines with one tuple of keys: their plans by variant and by the keys of their inner objects."""

    #: A shape used this often gets a function of its own. Making one costs as much as some hundred uses save.
    COMPILE_AFTER = 64
    #: Functions, and plans, for one tuple of keys.
    MAX_COMPILED = 16

    __slots__ = ("_claimed", "_compiled", "_first", "_keys", "_parts", "_plans", "_source", "_uses", "_words", "event")

    def __init__(self, keys: Keys, words: _Vocabularies, claimed: frozenset[str]) -> None:
        self._keys, self._words, self._claimed = keys, words, claimed
        self._source = words.source
        parts = tuple(getter(keys, name) for name in self._source.by)
        #: What the variant is chosen by; empty where these keys leave no choice.
        self._parts = parts if any(part is not nothing for part in parts) else ()
        self._plans: dict[Shape, Plan] = {}
        self._compiled: dict[Shape, Build] = {}
        self._uses: dict[Shape, int] = {}
        #: The function first made for a variant: nearly always the one.
        self._first: dict[str, Build] = {}
        #: The event's own members of a line's values.
        self.event: Build = self._by_variant if self._parts else self._by_shape

    def _variant(self, values: Values) -> str:
        if not self._parts:
            return ""
        told = [value if type(value) in _TELLING else None for value in [part(values) for part in self._parts]]
        name = self._source.choose(*told)
        return name if name in self._source.variants else ""

    def _by_variant(self, values: Values) -> dict[str, Any]:
        build = self._first.get(self._variant(values))
        return self._by_shape(values) if build is None else build(values)

    def _by_shape(self, values: Values) -> dict[str, Any]:
        """Use, make, or do without the function for the shape of this line."""
        variant = self._variant(values)
        words = self._words[variant]
        paths, flat = flatten(self._keys, values, words.containers)
        shape = (variant, paths)
        build = self._compiled.get(shape)
        if build is not None:
            return build(values)
        if len(self._plans) >= self.MAX_COMPILED * 4:
            self._plans.clear()
        plan = self._plans.get(shape)
        if plan is None:
            plan = self._plans[shape] = Plan(words, paths, self._claimed)
        if self._keys and len(self._compiled) < self.MAX_COMPILED:
            self._count(shape, plan)
        return plan.build(flat)

    def _count(self, shape: Shape, plan: Plan) -> None:
        if len(self._uses) > self.MAX_COMPILED:
            self._uses.clear()
        uses = self._uses[shape] = self._uses.get(shape, 0) + 1
        if uses < self.COMPILE_AFTER:
            return
        containers = plan.vocabulary.containers
        build = compile_plan(plan, lambda v: plan.build(flatten(self._keys, v, containers)[1]), self._by_shape)
        self._compiled[shape] = build
        self._first.setdefault(shape[0], build)
        if not self._parts and len(self._compiled) == 1:
            self.event = build


class Prepared:
    """Lines with one tuple of keys that are opened first; then they are lines of another source."""

    __slots__ = ("_keys", "_others", "_prepare")

    def __init__(self, keys: Keys, source: Source, others: _BySource) -> None:
        assert source.prepare is not None
        self._keys, self._prepare, self._others = keys, source.prepare, others

    def event(self, values: Values) -> dict[str, Any]:
        """Return the event's own members of a line's values."""
        source, keys, opened = self._prepare(self._keys, values)
        return self._others[source][keys].event(opened)


class _Known(dict[Keys, "Lines | Prepared"]):
    """Lines by keys, of a bounded number, so that nothing grows with hostile keys."""

    #: Some 4 kB each.
    LIMIT = 2048

    def __init__(self, normaliser: Normaliser, source: str, claimed: frozenset[str], others: _BySource) -> None:
        super().__init__()
        self._normaliser, self._source, self._claimed, self._others = normaliser, source, claimed, others

    def __missing__(self, keys: Keys) -> Lines | Prepared:
        if len(self) >= self.LIMIT:
            self.clear()
        source = recognise(self._source, keys)
        found: Lines | Prepared
        if source.prepare is not None:
            found = Prepared(keys, source, self._others)
        else:
            found = Lines(keys, self._normaliser.vocabularies(source), self._claimed)
        self[keys] = found
        return found


class _BySource(dict[str, _Known]):
    def __init__(self, normaliser: Normaliser, claimed: frozenset[str]) -> None:
        super().__init__()
        self._normaliser, self._claimed = normaliser, claimed

    def __missing__(self, source: str) -> _Known:
        found = self[source] = _Known(self._normaliser, source, self._claimed, self)
        return found


class Normaliser:
    """Maps the parsed lines of one tenant. Not thread-safe.

    ``fields``: the tenant's own names, path → canonical name; they win over all tables. ``tempo_url``: address of a trace
    with ``{trace_id}`` in it.
    """

    #: Sets of claimed names that are remembered.
    MAX_CLAIMS = 64
    MAX_PLANS = _Known.LIMIT

    def __init__(self, fields: Mapping[str, str] | None = None, tempo_url: str = "") -> None:
        self._fields = dict(fields or {})
        self._link = Derive("trace.id", "trace.url", _linker(tempo_url)) if tempo_url else None
        self._vocabularies: dict[str, _Vocabularies] = {}
        self._caches: dict[frozenset[str], _BySource] = {}

    def vocabularies(self, source: Source) -> _Vocabularies:
        """Return the vocabularies of a source."""
        found = self._vocabularies.get(source.name)
        if found is None:
            derive = (self._link,) if self._link else ()
            found = self._vocabularies[source.name] = _Vocabularies(source, self._fields, derive)
        return found

    def mapper(self, claimed: frozenset[str]) -> Mapper:
        """Return the function that maps the lines of streams whose labels claim these canonical names.

        It returns the event's own keys: ``kind``, canonical names, and the rest under ``unmapped``.
        """
        if len(self._caches) > self.MAX_CLAIMS:
            self._caches.clear()
        lines = self._caches.setdefault(claimed, _BySource(self, claimed))

        def apply(source: str, keys: Keys, values: Values) -> dict[str, Any]:
            return lines[source][keys].event(values)

        return apply

    def label_fields(self, labels: Mapping[str, Any]) -> dict[str, Any]:
        """Return the canonical keys that labels (or structured metadata) tell."""
        fields = label_fields(labels)
        if self._link is not None and "trace.id" in fields:
            fields["trace.url"] = self._link.by(fields["trace.id"])
        return fields

    def add_metadata(self, event: dict[str, Any], fields: dict[str, Any], claimed: frozenset[str]) -> None:
        """Add what structured metadata tells to an event, where neither labels nor the line say it."""
        add_metadata(event, fields, claimed)


def _linker(template: str) -> Callable[[Any], Any]:
    before, _, after = template.partition(TRACE_ID)
    return lambda trace_id: f"{before}{quote(trace_id, safe='')}{after}"


__all__ = ["APPLICATION", "SOURCES", "Lines", "Mapper", "Normaliser"]
