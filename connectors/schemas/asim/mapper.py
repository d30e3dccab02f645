"""Canonical events → rows of Microsoft Sentinel's normalised tables."""

from __future__ import annotations

from typing import Any

from connectors.schemas.asim.keys import KEYS, OBJECT_KEYS, SCHEMA_KEYS, convert_of
from connectors.schemas.asim.kinds import AUDIT, KINDS, WITHOUT_TABLE, Schema
from connectors.schemas.plan import Event, Keys, Layout, Path, Plans, To
from connectors.schemas.values import text, timestamp

#: Keys that :meth:`AsimMapper.map` sets itself.
_OWN = frozenset(("event.id", "time", "event.outcome", "unmapped"))
_RESULTS = {"success": "Success", "failure": "Failure"}
_SEVERITY = ((17, "High"), (13, "Medium"), (10, "Low"))


class AsimMapper:
    """Not thread-safe."""

    def __init__(self) -> None:
        self._plans = Plans(_layout)

    def map(self, event: Event) -> Event:
        """Return the row of one canonical event. Raises ValueError when it has no usable time."""
        (schema, object_key), row, rest = self._plans.map(event)
        stamp = timestamp(event["time"])[:-3] + "Z"  # 100 ns is the finest that a datetime column keeps
        row["TimeGenerated"] = row["EventStartTime"] = row["EventEndTime"] = stamp
        row["EventUid"] = event["event.id"]
        row["EventSeverity"] = _severity(event)
        row["EventResult"] = _result(event)
        row["EventVendor"] = row.get("EventVendor") or "unknown"
        product = row.get("EventProduct") or text(event.get("service.name"))
        row["EventProduct"] = product or "unknown"
        row["Dvc"] = row.get("Dvc") or row["EventProduct"]
        if schema is AUDIT:
            row.setdefault("Operation", event["kind"])
            row["Object"] = text(event[object_key]) if object_key else "unknown"
        elif schema.name == "WebSession" and "Url" not in row:
            query = event.get("url.query")
            row["Url"] = f"{event['url.path']}?{query}" if query else text(event["url.path"])
        if row["EventResult"] == "NA" and "event.outcome" in event:
            rest["event.outcome"] = event["event.outcome"]
        more = event.get("unmapped")
        if more:
            rest["unmapped"] = more
        row["AdditionalFields"] = rest
        return row


def table_of(event: Event) -> str | None:
    """Return the native table of a canonical event, or None when ASIM has none for its kind (for the Sentinel connector)."""
    kind = event["kind"]
    if kind in WITHOUT_TABLE or kind not in KINDS:
        return None
    return _schema_of(kind, tuple(event))[0].table


def _schema_of(kind: str, keys: Keys) -> tuple[Schema, str]:
    schema, event_type = KINDS.get(kind, KINDS["log"])
    if all(any(key in keys for key in group) for group in schema.requires):
        return schema, event_type
    return AUDIT, "Other"


def _layout(kind: str, keys: Keys) -> tuple[Any, Layout]:
    schema, event_type = _schema_of(kind, keys)
    names = KEYS | SCHEMA_KEYS[schema.name]
    table: dict[str, tuple[To, ...]] = {}
    taken: set[str] = set()
    for key in keys:
        columns = [column for column in names.get(key, ()) if column not in taken]
        if columns:
            taken.update(columns)
            table[key] = tuple(To((column,), convert_of(column)) for column in columns)
    constants: dict[Path, Any] = {
        ("EventSchema",): schema.name,
        ("EventSchemaVersion",): schema.version,
        ("EventType",): event_type,
        ("EventCount",): 1,
    }
    object_key = next((key for key in OBJECT_KEYS if key in keys), "")
    return (schema, object_key), Layout(table, constants, own=_OWN)


def _result(event: Event) -> str:
    outcome = event.get("event.outcome")
    if type(outcome) is str and outcome in _RESULTS:
        return _RESULTS[outcome]
    status = event.get("http.response.status_code")
    if type(status) is int:  # WebSession: failure from 400 on
        return "Failure" if status >= 400 else "Success"
    return "NA"


def _severity(event: Event) -> str:
    number = event.get("severity.number")
    if type(number) is not int:
        return "Informational"
    return next((name for least, name in _SEVERITY if number >= least), "Informational")
