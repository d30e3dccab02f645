"""Canonical events → flat events with the field names and values of Splunk's CIM."""

from __future__ import annotations

from typing import Any

from connectors.schemas.cim.keys import FIRST, KEYS, MODEL_KEYS, convert_of
from connectors.schemas.cim.kinds import DEFAULT_SUCCESS, KINDS, SOURCETYPE
from connectors.schemas.plan import Event, Keys, Layout, Plans, To

#: Keys that :meth:`CimMapper.map` sets itself.
_OWN = frozenset(("event.id", "time", "kind", "event.outcome"))
_SEVERITY = ((21, "critical"), (18, "critical"), (17, "high"), (13, "medium"), (10, "low"))


class CimMapper:
    """Not thread-safe. Keys without a CIM field stay under their canonical names, so no search loses anything."""

    def __init__(self) -> None:
        self._plans = Plans(_layout)

    def map(self, event: Event) -> Event:
        """Return the CIM event of one canonical event."""
        (kind, model, tags, success, failure), mapped, rest = self._plans.map(event)
        mapped["event_id"] = event["event.id"]
        mapped["time_ns"] = event["time"]
        mapped["kind"] = event["kind"]
        mapped["sourcetype_hint"] = SOURCETYPE + kind
        mapped["tag"] = list(tags)
        outcome = event.get("event.outcome")
        if outcome == "failure":
            action = failure
        else:
            action = success if outcome == "success" or model in DEFAULT_SUCCESS else ""
        if action:
            mapped["action"] = action
        if outcome in {"success", "failure"}:
            mapped["result" if "status" in mapped else "status"] = outcome
        elif outcome is not None:
            rest["event.outcome"] = outcome
        if tags:
            mapped["vendor_product"] = _vendor_product(event)
        if model == "Alerts":
            mapped["severity"] = _severity(event)
        if rest:
            for key, value in rest.items():
                mapped[key if key not in mapped else f"unmapped.{key}"] = value
        return mapped


def _layout(kind: str, keys: Keys) -> tuple[Any, Layout]:
    model, tags, success, failure = KINDS.get(kind, KINDS["log"])
    names = KEYS | MODEL_KEYS.get(model, {})
    table: dict[str, tuple[To, ...]] = {}
    taken: set[str] = set()
    for key in sorted(keys, key=lambda key: FIRST.index(key) if key in FIRST else len(FIRST)):
        fields = [field for field in names.get(key, ()) if field not in taken]
        if fields:
            taken.update(fields)
            table[key] = tuple(To((field,), convert_of(field)) for field in fields)
    name = kind if kind in KINDS else "log"
    return (name, model, tags, success, failure), Layout(table, own=_OWN)


def _vendor_product(event: Event) -> str:
    vendor, product = event.get("observer.vendor"), event.get("observer.product") or event.get("service.name")
    return " ".join(str(part) for part in (vendor, product) if part) or "unknown"


def _severity(event: Event) -> str:
    number = event.get("severity.number")
    if type(number) is not int:
        return "unknown"
    return next((name for least, name in _SEVERITY if number >= least), "informational")
