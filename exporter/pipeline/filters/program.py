"""The filters of one tenant, compiled: :func:`compile_filters` → :class:`Filters` → one function per stream.

Filters run on the redacted, normalised event, so nothing they decide, count or report can depend on what redaction hides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from exporter.errors import Finding
from exporter.ops.metrics import LOOKUP_FAULTS
from exporter.pipeline.filters.caps import RateCap
from exporter.pipeline.filters.conditions import Compiled, ConditionCompiler, Event, StreamView
from exporter.pipeline.filters.lookup import LookupError_, LookupTable
from exporter.pipeline.filters.names import check_added, check_field
from exporter.pipeline.filters.values import as_text, at_path
from exporter.settings.filters import Filter, Lookup

log = structlog.get_logger()

#: Streams whose functions are kept; emptied when full, as the caches of the pipeline are.
MAX_STREAMS = 8192
#: Lookup files are looked at this often; a look is one ``stat``.
REFRESH_SECONDS = 5.0

#: event (may gain fields), id, time → the name of the filter that takes it out, None when it stays.
Judge = Callable[[dict[str, Any], bytes, int], str | None]
#: Of one filter: True when the event is out.
Action = Callable[[dict[str, Any], bytes, int], bool]
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "keep": (),
    "drop": (),
    "sample": ("share",),
    "cap": ("per_second",),
    "enrich": ("add", "lookup"),
}


@dataclass(frozen=True, slots=True, repr=False)
class Step:
    """One filter. ``ends``: nothing after it acts on an event that it takes. ``action_for``: for a stream by its key."""

    name: str
    then: str
    when: Compiled
    action_for: Callable[[bytes, StreamView], Action]

    @property
    def ends(self) -> bool:
        return self.then in {"drop", "keep"}


@dataclass(frozen=True, slots=True, repr=False)
class StreamFilter:
    """What the filters make of a stream. ``dropped_by``: the filter that drops all of it, whatever its lines say."""

    dropped_by: str | None
    judge: Judge | None


class Filters:
    """See the module. Not thread-safe."""

    def __init__(self, tenant: str, steps: Sequence[Step], tables: Mapping[str, LookupTable]) -> None:
        self._tenant = tenant
        self._steps = tuple(steps)
        self._tables = tables
        self._streams: dict[bytes, StreamFilter] = {}
        self._looked_at = 0.0

    @property
    def steps(self) -> tuple[Step, ...]:
        """The filters in order."""
        return self._steps

    @property
    def table_digests(self) -> dict[str, str]:
        """SHA-256 of every lookup file as it is in use, by filter."""
        return {name: table.digest for name, table in self._tables.items()}

    def refresh(self, monotonic: float) -> bool:
        """Read lookup files again that changed; tell whether any content did. A broken file changes nothing: the old
        content stays in use, the fault is logged and counted.
        """
        if not self._tables or monotonic - self._looked_at < REFRESH_SECONDS:
            return False
        self._looked_at = monotonic
        changed = False
        for name, table in self._tables.items():
            try:
                changed |= table.refresh()
            except LookupError_ as error:
                LOOKUP_FAULTS.labels(self._tenant, name).inc()
                log.warning("lookup_not_reloaded", tenant=self._tenant, filter=name, reason=str(error))
        return changed

    def for_stream(self, key: bytes, view: StreamView) -> StreamFilter:
        """Return what is left to decide for the events of a stream. ``key`` names it; made once and kept."""
        found = self._streams.get(key)
        if found is None:
            if len(self._streams) >= MAX_STREAMS:
                self._streams.clear()
            found = self._streams[key] = self._specialise(key, view)
        return found

    def _specialise(self, key: bytes, view: StreamView) -> StreamFilter:
        left: list[tuple[Callable[[Event], bool] | None, str, bool, Action]] = []
        for step in self._steps:
            verdict = step.when(view)
            if verdict is False:
                continue
            if verdict is True and step.ends:
                if not left and step.then == "drop":
                    return StreamFilter(step.name, None)
                if step.then == "keep":
                    break
            question = None if isinstance(verdict, bool) else verdict
            left.append((question, step.name, step.ends, step.action_for(key, view)))
            if verdict is True and step.ends:
                break
        return StreamFilter(None, _judge(left) if left else None)


def _judge(steps: Sequence[tuple[Callable[[Event], bool] | None, str, bool, Action]]) -> Judge:
    def judge(event: dict[str, Any], event_id: bytes, time_ns: int) -> str | None:
        for question, name, ends, action in steps:
            if question is None or question(event):
                if action(event, event_id, time_ns):
                    return name
                if ends:
                    return None
        return None

    return judge


def compile_filters(
    tenant: str, filters: Sequence[Filter], findings: list[Finding], *, hides_addresses: bool
) -> Filters | None:
    """Compile a tenant's filters; None when there are none. What is wrong is added to ``findings``."""
    if not filters:
        return None
    compiler = ConditionCompiler(findings, hides_addresses=hides_addresses)
    known: set[str] = set()
    tables: dict[str, LookupTable] = {}
    steps: list[Step] = []
    names: set[str] = set()
    for index, item in enumerate(filters):
        path = f"tenants.{tenant}.filters[{index}]"
        name = item.name or f"filter-{index + 1}"
        if name in names:
            findings.append(Finding(f"{path}.name", f"{name} is the name of two filters", "Rename one."))
        names.add(name)
        _check_parameters(item, path, findings)
        when = compiler.compile(item.when, f"{path}.when", known) if item.when is not None else _every
        table = _table(item.lookup, f"{path}.lookup", known, findings) if item.lookup is not None else None
        if table is not None:
            tables[name] = table
            known |= set(table.columns)
        for added in item.add or ():
            findings.extend(check_added(added, f"{path}.add"))
            known.add(added)
        steps.append(Step(name, item.then, when, _action(item, table)))
    return Filters(tenant, steps, tables)


def _every(_: StreamView) -> bool:
    return True


def _check_parameters(item: Filter, path: str, findings: list[Finding]) -> None:
    wanted = _PARAMETERS[item.then]
    given = [p for ps in _PARAMETERS.values() for p in ps if getattr(item, p) is not None]
    for parameter in given:
        if parameter not in wanted:
            owner = next(then for then, ps in _PARAMETERS.items() if parameter in ps)
            cure = f"Write `then: {owner}`, or remove it."
            findings.append(Finding(f"{path}.{parameter}", f"means nothing to `then: {item.then}`", cure))
    if wanted and not any(p in given for p in wanted):
        cure = f"Add {' or '.join(wanted)}."
        findings.append(Finding(f"{path}.then", f"{item.then} needs {' or '.join(wanted)}", cure))


def _table(lookup: Lookup, path: str, known: set[str], findings: list[Finding]) -> LookupTable | None:
    if (lookup.field is None) == (lookup.label is None):
        findings.append(Finding(path, "needs either field or label", "Name what the column is compared with."))
    elif lookup.field is not None:
        findings.extend(check_field(lookup.field, f"{path}.field", known))
    try:
        return LookupTable(lookup.file, lookup.column)
    except LookupError_ as error:
        reason, _, cure = str(error).partition("; ")
        findings.append(Finding(f"{path}.file", reason, f"{cure[:1].upper()}{cure[1:]}."))
        return None


def _action(item: Filter, table: LookupTable | None) -> Callable[[bytes, StreamView], Action]:
    if item.then in {"keep", "drop"}:
        is_out = item.then == "drop"
        return lambda _key, _view: lambda _event, _id, _time: is_out
    if item.then == "sample":
        # The first 8 bytes of an id are uniform, so a share of ids is a share of events, the same ones in every replay.
        limit = round((1.0 if item.share is None else item.share) * 2**64)
        return lambda _key, _view: lambda _event, event_id, _time: int.from_bytes(event_id[:8], "big") >= limit
    if item.then == "cap":
        cap = RateCap(item.per_second or 1)
        return lambda key, _view: lambda _event, event_id, time_ns: not cap.admits(key, time_ns, event_id)
    return _enriching(dict(item.add or {}), item.lookup, table)


def _enriching(
    fixed: Mapping[str, Any], lookup: Lookup | None, table: LookupTable | None
) -> Callable[[bytes, StreamView], Action]:
    """Add fields where neither the line nor the labels tell them: a filter never overwrites what was logged."""

    def for_stream(_key: bytes, view: StreamView) -> Action:
        here = {name: value for name, value in fixed.items() if name not in view.fields}

        def enrich(event: dict[str, Any], _id: bytes, _time: int) -> bool:
            for name, value in here.items():
                event.setdefault(name, value)
            if table is not None and lookup is not None:
                key = as_text(_key_of(lookup, event, view))
                for name, value in (table.get(key) or {}).items() if key is not None else ():
                    if name not in view.fields:
                        event.setdefault(name, value)
            return False

        return enrich

    return for_stream


def _key_of(lookup: Lookup, event: Event, view: StreamView) -> Any:
    if lookup.label is not None:
        return view.labels.get(lookup.label)
    name = lookup.field or ""
    if name.startswith("unmapped."):
        return at_path(event.get("unmapped"), name.removeprefix("unmapped."))
    return event.get(name, view.fields.get(name))
