"""``docs/reference/schemas.md``, made of the tables: ``python -m connectors.schemas.docs > docs/reference/schemas.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from connectors.schemas.asim import keys as asim_keys
from connectors.schemas.asim import kinds as asim
from connectors.schemas.cim import keys as cim_keys
from connectors.schemas.cim import kinds as cim
from connectors.schemas.ecs import keys as ecs_keys
from connectors.schemas.ecs import kinds as ecs
from connectors.schemas.ocsf import classes as ocsf
from connectors.schemas.ocsf import keys as ocsf_keys

_INTRODUCTION = f"""# Target schemas

Made from the tables in `connectors/schemas/` by `python -m connectors.schemas.docs`; do not edit.

Each target has a `schema`. Without one it gets canonical events, byte for byte as they stand on the bus.

| `schema` | what the target gets | where the event's id is |
| --- | --- | --- |
| `canonical` | the event as it is on the bus | `event.id` |
| `ocsf` | OCSF, `schema_version` {", ".join(ocsf.VERSIONS)} (default {ocsf.DEFAULT_VERSION}) | `metadata.uid`; from 1.7.0 also `metadata.original_event_uid` |
| `ecs` | Elastic Common Schema {ecs.VERSION}, nested | `event.id` |
| `cim` | flat fields of Splunk's CIM 6 | `event_id` |
| `asim` | rows of Microsoft Sentinel's normalised tables | `EventUid` |
| `message` | the message text only | beside it: in HEC the indexed field `event_id`, elsewhere `event.id` |
| `raw` | the redacted line where it was kept (`original`), else the message, else the event as JSON | as `message` |

What no table maps is never dropped: OCSF `unmapped`, ECS `loki_siem`, CIM under its canonical name, ASIM `AdditionalFields`. A value
that its field cannot hold, such as a mask in an address field, is kept there too (addresses: as the name of the endpoint).

**What is required and missing.** An event without what its OCSF class requires (a process without an actor, say) is written as Base
Event, `activity_name` its kind; one without what its ASIM schema requires as AuditEvent. An event that cannot be mapped at all goes to
the dead letters by itself.

**Exit scan.** After mapping, the final bytes are scanned with the tenant's redaction rules once more. An event in which something is
found is not sent: its dead letter has code `exit_scan`, the event's id and the reason, but no body; the event stays on the bus. It
is counted in `loki_siem_dead_letters_total{{code="exit_scan"}}` and logged as `exit_scan_hit`; alarm on either. Targets with
`canonical` get bytes that passed the same scan when they were encoded; they are not scanned twice: that would add
15 to 25 % to the work of a delivery. Events that an earlier, looser policy let onto the bus are judged by the present one, and held.

**Splunk.** CIM is decided at search time by tags. Give each kind an event type on the field `kind` (in `eventtypes.conf`:
`[loki_siem_auth_logon]`, `search = kind=auth.logon`) and the tags of the table below (in `tags.conf`:
`[eventtype=loki_siem_auth_logon]`, `authentication = enabled`). `sourcetype_hint` (`loki:siem:<kind>`) is for a
`TRANSFORMS` rule that sets the source type.

**Sentinel.** All rows go to the one stream of the target; its data collection rule sends them on to native tables by `EventSchema`, one
data flow each (`where EventSchema == 'Authentication'`). Declare the columns of the tables that you use in the stream.
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _kinds() -> Iterator[str]:
    head = (
        "kind",
        "OCSF class / activity",
        "ECS category + type",
        "CIM model: tags",
        "ASIM schema / EventType",
        "native table",
    )
    rows = []
    for kind, (cls, activity_id, _) in ocsf.KINDS.items():
        categories, types = ecs.KINDS[kind]
        model, tags, _, _ = cim.KINDS[kind]
        schema, event_type = asim.KINDS[kind]
        rows.append(
            (
                f"`{kind}`",
                f"{cls.uid} {cls.name} / {activity_id}" + (f" (from {cls.since})" if cls.since > "1.1.0" else ""),
                f"{', '.join(categories) or '-'} + {', '.join(types) or '-'}",
                f"{model or '-'}: {', '.join(tags) or '-'}",
                f"{schema.name} / {event_type}",
                "-" if kind in asim.WITHOUT_TABLE else schema.table,
            )
        )
    return _table(head, rows)


def _keys() -> Iterator[str]:
    def asim_of(key: str) -> str:
        by_schema = [f"{', '.join(t[key])} ({name})" for name, t in asim_keys.SCHEMA_KEYS.items() if key in t]
        return "; ".join([*asim_keys.KEYS.get(key, ()), *by_schema])

    tables = (ocsf_keys.KEYS, ocsf_keys.ACCOUNT_KEYS, ecs_keys.KEYS, cim_keys.KEYS, asim_keys.KEYS)
    names = {name for table in tables for name in table}.union(*asim_keys.SCHEMA_KEYS.values())
    rows = []
    for key in sorted(names):
        groups = ocsf_keys.KEYS.get(key) or ocsf_keys.ACCOUNT_KEYS.get(key, ())
        rows.append(
            (
                f"`{key}`",
                "; ".join(" or ".join(group) for group in groups),
                ", ".join(ecs_keys.KEYS.get(key, ())),
                ", ".join(cim_keys.KEYS.get(key, ())),
                asim_of(key),
            )
        )
    return _table(("key", "OCSF", "ECS", "CIM", "ASIM"), rows)


def render() -> str:
    """Return the page."""
    return "\n".join([_INTRODUCTION, "## Kinds", "", *_kinds(), "", "## Keys", "", *_keys(), ""])


if __name__ == "__main__":
    sys.stdout.write(render())
