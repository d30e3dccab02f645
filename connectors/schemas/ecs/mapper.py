"""Canonical events → ECS documents, nested."""

from __future__ import annotations

from typing import Any

from connectors.schemas.ecs.keys import DERIVED, KEYS, RELATED, convert_of
from connectors.schemas.ecs.kinds import ALERTS, DECIDED, KINDS, VERSION
from connectors.schemas.plan import Event, Keys, Layout, Plans, To
from connectors.schemas.values import timestamp

#: Keys that :meth:`EcsMapper.map` sets itself.
_OWN = frozenset(("event.id", "time", "kind", "event.outcome", "unmapped"))
_OUTCOMES = frozenset(("success", "failure", "unknown"))


class EcsMapper:
    """Not thread-safe. What has no ECS field stands under ``loki_siem``, a name of our own as ECS asks of vendors."""

    def __init__(self) -> None:
        self._plans = Plans(_layout)

    def map(self, event: Event) -> Event:
        """Return the ECS document of one canonical event. Raises ValueError when it has no usable time."""
        (categories, types, is_decided), mapped, rest = self._plans.map(event)
        mapped["@timestamp"] = timestamp(event["time"])
        about = mapped.setdefault("event", {})
        about["id"] = event["event.id"]
        about["kind"] = "alert" if event["kind"] in ALERTS else "event"
        outcome = event.get("event.outcome")
        about["outcome"] = outcome = outcome if type(outcome) is str and outcome in _OUTCOMES else "unknown"
        if "event.outcome" in event and outcome != event["event.outcome"]:
            rest["event.outcome"] = event["event.outcome"]
        if categories:
            about["category"] = list(categories)
        if is_decided and outcome != "unknown":
            types = (*types, "allowed" if outcome == "success" else "denied")
        if types:
            about["type"] = list(types)
        rest["kind"] = event["kind"]
        more = event.get("unmapped")
        if more:
            rest["unmapped"] = more
        mapped["loki_siem"] = rest
        return mapped


def _layout(kind: str, keys: Keys) -> tuple[Any, Layout]:
    categories, types = KINDS.get(kind, KINDS["log"])
    table: dict[str, tuple[To, ...]] = {}
    taken = {field for key in keys for field in KEYS.get(key, ())}
    for key in keys:
        fields = KEYS.get(key, ()) + tuple(field for field in DERIVED.get(key, ()) if field not in taken)
        if fields:
            table[key] = tuple(To(tuple(field.split(".")), convert_of(field)) for field in fields)
    lists = {tuple(field.split(".")): names for field, names in RELATED.items()}
    layout = Layout(table, {("ecs",): {"version": VERSION}}, lists, _OWN)
    return (categories, types, kind in DECIDED), layout
