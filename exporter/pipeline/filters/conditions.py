"""Conditions, compiled: operators once per tenant, labels once per stream, fields per event.

A compiled condition is a function of a stream. It answers True or False where the stream decides alone, else a function of
an event; so a condition on labels costs nothing per event, however it is nested.
"""

from __future__ import annotations

import ipaddress
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.errors import Finding
from exporter.pipeline.filters.names import check_field
from exporter.pipeline.filters.values import as_number, as_text, at_path
from exporter.pipeline.redact.scan import ScanPattern, best_scanner
from exporter.settings.filters import Condition

Event = Mapping[str, Any]
#: Decided by the stream alone, or a question to each event.
Verdict = bool | Callable[[Event], bool]
#: Says of a value that is there whether it fits.
Predicate = Callable[[Any], bool]

OPERATORS = (
    "equals", "one_of", "matches", "starts_with", "ends_with", "contains", "in_network", "exists", "at_least", "above",
    "at_most", "below",
)  # fmt: skip
GROUPS = ("all", "any", "none")
#: Nesting of conditions; what is deeper, nobody can read.
MAX_DEPTH = 16
#: ``matches`` looks at this much of a value, which bounds the callbacks of a pattern that matches everywhere.
MATCHED_BYTES = 8192
_UNMAPPED = "unmapped."


@dataclass(frozen=True, slots=True, repr=False)
class StreamView:
    """What all events of a stream have in common, redacted: its labels and the canonical fields that they tell."""

    labels: Mapping[str, Any]
    fields: Mapping[str, Any]


Compiled = Callable[[StreamView], Verdict]


class ConditionCompiler:
    """Compiles the conditions of one tenant and gathers what is wrong with them.

    ``hides_addresses``: the redaction packs replace IP addresses, so ``in_network`` could never hold.
    """

    def __init__(self, findings: list[Finding], *, hides_addresses: bool) -> None:
        self._findings = findings
        self._hides_addresses = hides_addresses

    def compile(self, condition: Condition, path: str, known: set[str], depth: int = 1) -> Compiled:
        """Compile one condition. ``known``: fields that filters before it add."""
        if depth > MAX_DEPTH:
            self._fault(path, f"is nested deeper than {MAX_DEPTH}", "Write it flatter.")
            return _never
        groups = [name for name in GROUPS if getattr(condition, name) is not None]
        operators = [name for name in OPERATORS if getattr(condition, name) is not None]
        subjects = [name for name in ("field", "label") if getattr(condition, name) is not None]
        if len(groups) == 1 and not operators and not subjects:
            group = groups[0]
            parts: Sequence[Condition] = getattr(condition, group)
            inner = [self.compile(c, f"{path}.{group}[{i}]", known, depth + 1) for i, c in enumerate(parts)]
            return _group(group, inner)
        if groups:
            self._fault(path, f"mixes {groups[0]} with something else", "Put each into a condition of its own.")
        elif len(subjects) != 1:
            self._fault(path, "needs either field or label", "Name the one that is looked at.")
        elif len(operators) != 1:
            reason = "has no operator" if not operators else f"has {len(operators)} operators"
            self._fault(path, reason, f"Give exactly one of {', '.join(OPERATORS)}.")
        else:
            return self._leaf(condition, operators[0], path, known)
        return _never

    def _leaf(self, condition: Condition, name: str, path: str, known: set[str]) -> Compiled:
        if condition.field is not None:
            self._findings.extend(check_field(condition.field, f"{path}.field", known))
        predicate = self._predicate(name, getattr(condition, name), f"{path}.{name}")
        wanted = condition.exists is not False
        if condition.label is not None:
            return _on_label(condition.label, predicate, wanted=wanted)
        assert condition.field is not None
        return _on_field(condition.field, predicate, wanted=wanted)

    def _predicate(self, name: str, operand: Any, path: str) -> Predicate:
        if name == "exists":
            return _always
        if name in _COMPARISONS:
            return _numeric(_COMPARISONS[name], operand)
        if name == "matches":
            return self._pattern(operand, path)
        if name == "in_network":
            return self._networks(operand, path)
        if name in {"equals", "one_of"}:
            texts = frozenset(as_text(item) for item in (operand if name == "one_of" else (operand,)))
            return lambda value: as_text(value) in texts
        return _textual(_TEXT_TESTS[name], operand)

    def _pattern(self, pattern: str, path: str) -> Predicate:
        try:
            scanner = best_scanner([ScanPattern(0, pattern.encode(), caseless=False, digits=False, start_known=False)])
        except ValueError as error:
            cure = "Use literal text, classes and repetition; for `anything` leave the condition away."
            self._fault(path, f"the pattern cannot be used: {error}".replace("a scan pattern ", "it "), cure)
            return _nothing

        def matches(value: Any) -> bool:
            text = as_text(value)
            return bool(text) and bool(scanner.scan(str(text)[:MATCHED_BYTES].encode()[:MATCHED_BYTES]))

        return matches

    def _networks(self, networks: Sequence[str], path: str) -> Predicate:
        known = []
        for index, text in enumerate(networks):
            try:
                known.append(ipaddress.ip_network(text))
            except ValueError:
                cure = "Write it as 10.0.0.0/8 or 2001:db8::/32, with no bits set behind the prefix."
                self._fault(f"{path}[{index}]", "is no network", cure)
        if self._hides_addresses:
            reason = "filters see redacted events, and this tenant's packs replace IP addresses: it never holds"
            self._fault(path, reason, "Ask for a label or another field, or leave the pack with addresses away.")

        def inside(value: Any) -> bool:
            if type(value) is not str:
                return False
            try:
                address = ipaddress.ip_address(value)
            except ValueError:
                return False
            return any(address in network for network in known)

        return inside

    def _fault(self, path: str, reason: str, cure: str) -> None:
        self._findings.append(Finding(path, reason, cure))


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "at_least": operator.ge,
    "above": operator.gt,
    "at_most": operator.le,
    "below": operator.lt,
}
_TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "starts_with": str.startswith,
    "ends_with": str.endswith,
    "contains": operator.contains,
}


def _never(_: StreamView) -> Verdict:
    return False


def _always(_: Any) -> bool:
    return True


def _nothing(_: Any) -> bool:
    return False


def _numeric(compare: Callable[[float, float], bool], operand: float) -> Predicate:
    def holds(value: Any) -> bool:
        number = as_number(value)
        return number is not None and compare(number, operand)

    return holds


def _textual(test: Callable[[str, str], bool], operand: str) -> Predicate:
    def holds(value: Any) -> bool:
        text = as_text(value)
        return text is not None and test(text, operand)

    return holds


def _on_label(label: str, predicate: Predicate, *, wanted: bool) -> Compiled:
    def decide(stream: StreamView) -> Verdict:
        value = stream.labels.get(label)
        return (value is not None and predicate(value)) is wanted

    return decide


def _on_field(field: str, predicate: Predicate, *, wanted: bool) -> Compiled:
    path = field.removeprefix(_UNMAPPED) if field.startswith(_UNMAPPED) else None

    def ask(event: Event) -> bool:
        value = event.get(field) if path is None else at_path(event.get("unmapped"), path)
        return (value is not None and predicate(value)) is wanted

    def decide(stream: StreamView) -> Verdict:
        if field in stream.fields:  # what labels tell, no line of the stream can tell otherwise
            return predicate(stream.fields[field]) is wanted
        return ask

    return decide


def _group(name: str, parts: Sequence[Compiled]) -> Compiled:
    """``all`` ends at the first False, ``any`` and ``none`` at the first True."""
    ending, negated = name != "all", name == "none"

    def decide(stream: StreamView) -> Verdict:
        questions = []
        for verdict in (part(stream) for part in parts):
            if isinstance(verdict, bool):
                if verdict is ending:
                    return ending is not negated
            else:
                questions.append(verdict)
        if not questions:
            return ending is negated

        def ask(event: Event) -> bool:
            for question in questions:
                if question(event) is ending:
                    return ending is not negated
            return ending is negated

        return ask

    return decide
