"""Why a line became what it became: ``policy explain``.

The outcome and the event are those of the tenant's own pipeline, not of a second opinion; beside them stand what its parts
say when they are asked one by one. Nothing in an explanation is unredacted: of the line it holds offsets only, and
every name that came from data goes through the rules once more.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.domain.clock import Clock
from exporter.domain.entries import EntryBatch, StreamEntries
from exporter.errors import RedactionFailed
from exporter.pipeline.compiling import compile_pipeline
from exporter.pipeline.filters.conditions import Compiled, ConditionCompiler, StreamView
from exporter.pipeline.filters.program import Step
from exporter.pipeline.parse import OverBound
from exporter.pipeline.part import BY_POLICY
from exporter.pipeline.pipeline import Inside
from exporter.pipeline.redact import actions as act
from exporter.pipeline.redact.engine import mend_surrogates
from exporter.pipeline.redact.fields import Path
from exporter.settings.filters import Condition
from exporter.settings.model import TenantSettings

#: What stands for a name that cannot be redacted.
WITHHELD = "[withheld]"
_ACTION_NAMES: dict[type[act.Action], str] = {
    act.Keep: "keep",
    act.Mask: "mask",
    act.DropEvent: "drop_event",
    act.DropField: "drop_field",
    act.Partial: "partial",
    act.PartialDomain: "partial",
    act.Truncate: "truncate",
    act.GeneraliseAddress: "generalise",
    act.GeneraliseTime: "generalise",
    act.Range: "range",
    act.Pseudonym: "pseudonym",
}


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A rule acts on characters ``start`` up to ``end`` (exclusive) of the line."""

    rule: str
    start: int
    end: int
    action: str


@dataclass(frozen=True, slots=True)
class FieldHit:
    """A field policy acts on a member of the event."""

    field: str
    action: str


@dataclass(frozen=True, slots=True)
class ConditionTest:
    """One test of a filter's condition, by its place in it; the values are in the event and the configuration."""

    test: str
    holds: bool


@dataclass(frozen=True, slots=True)
class FilterStep:
    """A filter that the event came to. ``decided_by``: ``always``, ``stream`` (labels alone) or ``event``; ``effect``: none,
    keeps, drops, lets_through, enriches.
    """

    filter: str
    then: str
    holds: bool
    decided_by: str
    effect: str
    tests: tuple[ConditionTest, ...]


@dataclass(slots=True)
class Explanation:
    """Of one line. ``outcome``: kept, dropped or held; ``dropped_by``: a filter, or ``policy`` (an action drop_event).
    ``elsewhere``: hits by rule that are not in the line as it stands: in labels, decoded values, or what came of the rest.
    ``event``: as it leaves; of a dropped one as it would have left without filters; None where the policy drops or holds it.
    """

    outcome: str
    dropped_by: str | None
    parser: str | None
    kind: str | None
    rules: list[RuleHit] = field(default_factory=list)
    elsewhere: dict[str, int] = field(default_factory=dict)
    fields: list[FieldHit] = field(default_factory=list)
    filters: list[FilterStep] = field(default_factory=list)
    event: dict[str, Any] | None = None


class Explainer:
    """Explains lines of one tenant. Not thread-safe. Raises ConfigurationError as ``compile_pipeline``."""

    def __init__(
        self,
        tenant: str,
        settings: TenantSettings,
        *,
        tokens: act.Tokens,
        identity_key: bytes = b"",
        clock: Clock | None = None,
    ) -> None:
        self._tenant = tenant
        self._pipeline = compile_pipeline(tenant, settings, identity_key=identity_key, tokens=tokens, clock=clock)
        # What a filter decides on is the event as it is without filters.
        bare = settings.model_copy(update={"filters": ()})
        self._bare = compile_pipeline(tenant, bare, identity_key=identity_key, tokens=tokens, clock=clock)
        self._inside: Inside = self._bare.inside()
        self._told: dict[FieldHit, None] = {}
        if self._inside.fields is not None:
            self._inside.fields.told = self._tell
        filters = self._pipeline.inside().filters
        steps = filters.steps if filters is not None else ()
        self._steps = [(step, list(_leaves(item.when, ""))) for step, item in zip(steps, settings.filters, strict=True)]

    @property
    def policy_id(self) -> str:
        return self._pipeline.policy_id

    def explain(self, stream: StreamEntries) -> Iterator[Explanation]:
        """Yield what becomes of each entry, and why."""
        for index in range(len(stream)):
            metadata = [stream.metadata[index]] if stream.metadata else None
            one = StreamEntries(
                stream.labels, [stream.times_ns[index]], [stream.lines[index]], [stream.event_ids[index]], metadata
            )
            yield self._explain(one)

    def _explain(self, one: StreamEntries) -> Explanation:
        out = self._pipeline.process(EntryBatch(self._tenant, [one]))
        self._told.clear()
        self._inside.streams.clear()  # what is known of a stream already would be told of its first line only
        bare = self._bare.process(EntryBatch(self._tenant, [one]))
        unfiltered = json.loads(bare.values[0]) if bare.values else None
        dropped_by = next(iter(out.filtered), None)
        outcome = "held" if out.held_ids else "kept" if out.values else "dropped"
        made = Explanation(outcome, dropped_by, None, unfiltered["kind"] if unfiltered else None)
        made.rules = self._rules(one.lines[0])
        found = Counter(bare.redactions)
        found.subtract(hit.rule for hit in made.rules)
        made.elsewhere = {name: number for name, number in sorted(found.items()) if number > 0}
        made.fields = list(self._told)
        if outcome == "held":
            return made
        made.parser = self._parser(one)
        if unfiltered is not None or dropped_by != BY_POLICY:
            made.filters = list(self._filters(one, dict(unfiltered or {}), dropped_by))
        if unfiltered is not None:
            made.event = json.loads(out.values[0]) if out.values else unfiltered | {"policy.id": self.policy_id}
        return made

    def _rules(self, line: str) -> list[RuleHit]:
        raw, rules = mend_surrogates(line).encode(), self._inside.redactor.rules

        def characters(offset: int) -> int:
            return len(raw[:offset].decode("utf-8", "replace"))

        return [
            RuleHit(rules[index].name, characters(first), characters(last), _name_of(rules[index].action))
            for first, last, index in self._inside.redactor.spans(raw, b"\n")
        ]

    def _parser(self, one: StreamEntries) -> str | None:
        """Return whose format the line has; None: it is text, or too large to be parsed."""
        lines, line = self._inside.lines.stream(one.labels), one.lines[0]
        try:
            done = self._inside.redactor.redact([line], {})
            parsed = lines.parse(done.texts[0])
            if parsed is None and done.changed and line.lstrip()[:1] == "{":
                parsed = lines.parse_original(line)  # see Pipeline._unparsed
        except (OverBound, RedactionFailed):
            return None
        return None if parsed is None else parsed[0]

    def _tell(self, path: Path, action: act.Action) -> None:
        self._told[FieldHit(self._safe(".".join(path)), _name_of(action))] = None

    def _safe(self, name: str) -> str:
        try:
            return str(self._inside.values.redact(name, {}))
        except RedactionFailed:
            return WITHHELD

    def _filters(self, one: StreamEntries, event: dict[str, Any], dropped_by: str | None) -> Iterator[FilterStep]:
        """Yield the filters that the event came to. Actions that count (a cap) are not asked again: the outcome is known."""
        shared = self._inside.streams.streams([one.labels], {})[0]
        for step, leaves in self._steps:
            verdict = step.when(shared.view)
            holds = verdict if isinstance(verdict, bool) else verdict(event)
            by = "always" if not leaves else "stream" if isinstance(verdict, bool) else "event"
            tests = tuple(ConditionTest(name, _holds(test, shared.view, event)) for name, test in leaves)
            effect = _effect(step, dropped_by) if holds else "none"
            if effect == "enriches":
                step.action_for(shared.key, shared.view)(event, one.event_ids[0], one.times_ns[0])
            yield FilterStep(step.name, step.then, holds, by, effect, tests)
            if effect in {"keeps", "drops"}:
                return


def _effect(step: Step, dropped_by: str | None) -> str:
    if step.then in {"sample", "cap"}:
        return "drops" if step.name == dropped_by else "lets_through"
    return {"keep": "keeps", "drop": "drops", "enrich": "enriches"}[step.then]


def _name_of(action: act.Action) -> str:
    if isinstance(action, act.AddressToken):
        return "ip_prefix" if action.keep_prefix else "ip_token"
    return _ACTION_NAMES.get(type(action), type(action).__name__)


def _leaves(condition: Condition | None, place: str) -> Iterator[tuple[str, Compiled]]:
    """Yield every single test of a condition with its place and its words, but for the operand."""
    if condition is None:
        return
    parts: Mapping[str, tuple[Condition, ...] | None] = {
        "all": condition.all,
        "any": condition.any,
        "none": condition.none,
    }
    for name, inner in parts.items():
        for index, part in enumerate(inner or ()):
            yield from _leaves(part, f"{place}{name}[{index}].")
    subject = f"field {condition.field}" if condition.field is not None else f"label {condition.label}"
    given = condition.model_dump(exclude_none=True).keys() - {"field", "label", *parts}
    for operator in given:
        # Compiled once already, without a finding.
        yield f"{place}{subject} {operator}", ConditionCompiler([], hides_addresses=False).compile(condition, "", set())


def _holds(test: Compiled, view: StreamView, event: Mapping[str, Any]) -> bool:
    verdict = test(view)
    return verdict if isinstance(verdict, bool) else verdict(event)
