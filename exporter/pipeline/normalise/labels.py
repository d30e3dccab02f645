"""Labels and structured metadata → canonical keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.pipeline.normalise.checks import ADDRESS_KEYS, CHECKS, other_key, read_address
from exporter.pipeline.normalise.names import LABEL_ALIASES, NO_LEVEL
from exporter.pipeline.normalise.plan import HTTP_OUTCOMES
from exporter.pipeline.normalise.severity import SEVERITY_OF
from exporter.pipeline.normalise.source import kind_of


def label_fields(labels: Mapping[str, Any]) -> dict[str, Any]:
    """Return the canonical keys that labels (or structured metadata) tell. Labels are set by the operator's agents, so
    they win over what a line claims of itself.
    """
    best: dict[str, tuple[int, Any]] = {}
    for key, value in labels.items():
        rank, target = LABEL_ALIASES.get(key, (0, ""))
        if target and type(value) is str and value and (target not in best or rank < best[target][0]):
            best[target] = (rank, value)
    fields: dict[str, Any] = {}
    for target, (_, text) in best.items():
        name, value = _checked(target, text)
        if value is not None and name not in fields:
            fields[name] = value
    if fields.get("severity.text") == NO_LEVEL:
        del fields["severity.text"]
    number = SEVERITY_OF.get(fields.get("severity.text"))
    if number is not None:
        fields["severity.number"] = number
    return fields


def _checked(target: str, text: str) -> tuple[str, Any]:
    if target in ADDRESS_KEYS:
        ip, name, _ = read_address(text)
        return (target, ip) if ip is not None else (other_key(target), name)
    return target, CHECKS[target](text)


def add_metadata(event: dict[str, Any], fields: dict[str, Any], claimed: frozenset[str]) -> None:
    """Add what structured metadata tells, where neither labels nor the line say it."""
    has_severity = "severity.text" in event or "severity.text" in claimed
    added = False
    for name, value in fields.items():
        if name not in event and name not in claimed and not (has_severity and name.startswith("severity.")):
            event[name] = value
            added = added or not name.startswith("severity.")
    if added and event["kind"] == "log":
        event["kind"] = kind_of("", frozenset(event) | claimed)
        status = event.get("http.response.status_code")
        if event["kind"] == "http.request" and status is not None and "event.outcome" not in claimed:
            event.setdefault("event.outcome", HTTP_OUTCOMES[status])
