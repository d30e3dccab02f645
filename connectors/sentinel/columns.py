"""Which canonical key becomes which column of the table: the default table, and the rules that Log Analytics sets.

Written in the configuration as ``canonical key: Column`` or ``canonical key: Column:type``. Three keys are not of the event
but of this mapping: ``time.ns`` (the event time as an integer), ``unmapped`` (everything that has no column of its own, so
that nothing is lost) and ``truncated`` (names of the columns that were cut because Azure would have cut them silently).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

#: The service's own time column; it is always sent and cannot be mapped to.
TIME_GENERATED = "TimeGenerated"
#: Types that a DCR's stream declarations know.
TYPES = ("string", "int", "long", "real", "boolean", "datetime", "dynamic")
#: Azure Monitor: a letter, then letters, digits and underscores, 45 in all; string when no type is given.
SPEC_PATTERN = rf"^[A-Za-z][A-Za-z0-9_]{{0,44}}(:({'|'.join(TYPES)}))?$"
#: Names that every table has already (Azure Monitor, standard columns), compared without case to be safe.
_RESERVED = frozenset(
    name.lower()
    for name in ("_ResourceId", "id", "_SubscriptionId", "TenantId", "Type", "UniqueId", "Title", TIME_GENERATED)
)
TIME, TIME_NS, EVENT_ID, UNMAPPED, TRUNCATED = "time", "time.ns", "event.id", "unmapped", "truncated"
#: Without these, events could not be told apart or would lose content silently; with the types that can hold them.
_REQUIRED: Mapping[str, frozenset[str]] = {
    EVENT_ID: frozenset({"string"}),
    UNMAPPED: frozenset({"dynamic", "string"}),
    TRUNCATED: frozenset({"dynamic", "string"}),
}
_TIME_TYPES: Mapping[str, frozenset[str]] = {TIME: frozenset({"datetime", "string"}), TIME_NS: frozenset({"long"})}

DEFAULT_COLUMNS: Mapping[str, str] = {
    "time": "EventTime:datetime",
    "time.ns": "EventTimeNs:long",
    "event.id": "EventId",
    "tenant.id": "TenantName",
    "kind": "Kind",
    "severity.text": "SeverityText",
    "message": "Message",
    "source.ip": "SourceIp",
    "user.name": "UserName",
    "http.request.method": "HttpMethod",
    "http.response.status_code": "HttpStatus:int",
    "url.path": "UrlPath",
    "service.name": "ServiceName",
    "host.name": "HostName",
    "trace.id": "TraceId",
    "late": "LateArrival:boolean",
    "policy.id": "PolicyId",
    "loki.labels": "Labels:dynamic",
    "loki.structured_metadata": "Metadata:dynamic",
    "event.original": "Original",
    "unmapped": "Unmapped:dynamic",
    "truncated": "Truncated:dynamic",
}


class Column(NamedTuple):
    name: str
    type: str


def parse_columns(table: Mapping[str, str]) -> dict[str, Column]:
    """Return the columns by canonical key; the specifications match :data:`SPEC_PATTERN`. Called by the mapper."""
    columns = {}
    for key, spec in table.items():
        name, _, kind = spec.partition(":")
        columns[key] = Column(name, kind or "string")
    return columns


def faults_of(table: Mapping[str, str]) -> list[str]:
    """Return what is wrong with a table of columns, in words for the operator. Called by the settings."""
    columns = parse_columns(table)
    faults = [f"needs a column for {key}" for key in _REQUIRED if key not in columns]
    for key, kinds in {**_REQUIRED, **_TIME_TYPES}.items():
        if key in columns and columns[key].type not in kinds:
            faults.append(f"the column for {key} is of type {' or '.join(sorted(kinds))}")
    seen: dict[str, str] = {}
    for key, column in columns.items():
        lower = column.name.lower()
        if lower in _RESERVED:
            faults.append(f"{column.name} is a column of Azure's own; choose another name for {key}")
        elif lower in seen:
            faults.append(f"{key} and {seen[lower]} have the same column {column.name}")
        seen.setdefault(lower, key)
    return faults
