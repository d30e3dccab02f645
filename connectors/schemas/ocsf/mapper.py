"""Canonical events → OCSF."""

from __future__ import annotations

from typing import Any

from connectors.schemas.ocsf.classes import (
    ACCOUNT_CHANGE,
    BASE,
    EMAIL,
    FINDING,
    GROUP_MANAGEMENT,
    HTTP,
    KINDS,
    LIFECYCLE,
    OBJECTS,
    USER_ACCESS,
    Class,
    Groups,
)
from connectors.schemas.ocsf.keys import ACCOUNT_KEYS, CONSTANTS, KEYS, SERVICE_KEYS, convert_of
from connectors.schemas.plan import Event, Keys, Layout, Path, Plans, To

#: Keys that :meth:`OcsfMapper.map` sets itself.
_OWN = frozenset(("event.id", "time", "kind", "event.outcome", "unmapped"))
_STATUS = {"success": (1, "Success"), "failure": (2, "Failure"), "unknown": (0, "Unknown")}
#: HTTP Activity, ``activity_id``.
_METHODS = {
    "CONNECT": (1, "Connect"), "DELETE": (2, "Delete"), "GET": (3, "Get"), "HEAD": (4, "Head"),
    "OPTIONS": (5, "Options"), "POST": (6, "Post"), "PUT": (7, "Put"), "TRACE": (8, "Trace"),
}  # fmt: skip
#: First word of an API operation (Kubernetes verbs, AWS action names) → API Activity, ``activity_id``.
_VERBS = {
    "create": (1, "Create"), "run": (1, "Create"), "get": (2, "Read"), "list": (2, "Read"), "watch": (2, "Read"),
    "describe": (2, "Read"), "update": (3, "Update"), "patch": (3, "Update"), "put": (3, "Update"),
    "modify": (3, "Update"), "delete": (4, "Delete"), "deletecollection": (4, "Delete"), "terminate": (4, "Delete"),
}  # fmt: skip
#: Severity numbers of OpenTelemetry → OCSF's, only for what a detector says: OCSF means the effort to handle an event.
_SEVERITY = ((21, 6, "Fatal"), (18, 5, "Critical"), (17, 4, "High"), (13, 3, "Medium"), (10, 2, "Low"))


class OcsfMapper:
    """Maps events to one version of OCSF. Not thread-safe."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._old = version < "1.5.0"
        #: From 1.7 ``metadata.uid`` names the OCSF event and this one the source's.
        self._id_name = "original_event_uid" if version >= "1.7.0" else ""
        self._plans = Plans(self._layout)

    def map(self, event: Event) -> Event:
        """Return the OCSF event of one canonical event. Raises ValueError when it has no usable time."""
        chosen, mapped, rest = self._plans.map(event)
        cls: Class = chosen[0]
        activity_id, activity = _activity(chosen, event)
        uid = cls.uid
        mapped["activity_id"], mapped["activity_name"] = activity_id, activity
        mapped["type_uid"] = uid * 100 + activity_id
        mapped["type_name"] = f"{cls.name}: {activity}"
        mapped["time"] = event["time"] // 1_000_000
        mapped["metadata"]["uid"] = event["event.id"]
        if self._id_name:
            mapped["metadata"][self._id_name] = event["event.id"]
        mapped["severity_id"], mapped["severity"] = (1, "Informational") if cls is not FINDING else _severity(event)
        outcome = _STATUS.get(event.get("event.outcome", ""))
        if outcome is not None:
            mapped["status_id"], mapped["status"] = outcome
        elif "event.outcome" in event:
            rest["event.outcome"] = event["event.outcome"]
        if cls is FINDING:
            mapped["finding_info"]["uid"] = event["event.id"]
        more = event.get("unmapped")
        if more:
            rest["unmapped"] = more
        mapped["unmapped"] = rest
        return mapped

    def _layout(self, kind: str, keys: Keys) -> tuple[Any, Layout]:
        cls, activity_id, activity = KINDS.get(kind, KINDS["log"])
        resolved = _resolved(cls, keys, self._has_device(cls))
        if cls.since > self._version or not self._suffices(cls, resolved):
            cls, activity_id, activity = BASE, 99, kind
            resolved = _resolved(cls, keys, self._has_device(cls))
        heads = {path.split(".")[0] for paths in resolved.values() for path in paths}
        constants: dict[Path, Any] = {tuple(path.split(".")): value for path, value in CONSTANTS.items()}
        constants |= {
            ("class_uid",): cls.uid,
            ("class_name",): cls.name,
            ("category_uid",): cls.uid // 1000 % 100,
            ("category_name",): cls.category,
            ("metadata", "version"): self._version,
            ("metadata", "log_provider"): "Grafana Loki",
            ("metadata", "product", "vendor_name"): "unknown",
            ("metadata", "product", "name"): "unknown",
        }
        if heads & {"device", "actor"}:
            constants["metadata", "profiles"] = ["host"]
        if cls is EMAIL:
            constants[("direction_id",)] = 0
        table = {
            key: tuple(To(tuple(path.split(".")), convert_of(path)) for path in paths)
            for key, paths in resolved.items()
        }
        return (cls, activity_id, activity), Layout(table, constants, own=_OWN)

    def _has_device(self, cls: Class) -> bool:
        return cls.device_since <= self._version

    def _suffices(self, cls: Class, resolved: dict[str, list[str]]) -> bool:
        heads = {path.split(".")[0] for paths in resolved.values() for path in paths}
        groups: Groups = cls.requires + (cls.old_requires if self._old else ())
        return all(heads.intersection(group) for group in groups)


def _resolved(cls: Class, keys: Keys, has_device: bool) -> dict[str, list[str]]:
    """Return which attributes each key fills, without objects that would lack what they must hold."""
    table = KEYS
    if cls in (ACCOUNT_CHANGE, USER_ACCESS, GROUP_MANAGEMENT):
        table = KEYS | ACCOUNT_KEYS
    elif cls is LIFECYCLE and "service.target.name" in keys:
        table = KEYS | SERVICE_KEYS
    holds = {"message", "raw_data", "metadata", *cls.holds}
    if not has_device:
        holds -= {"device", "actor"} if cls is BASE else {"device"}
    found: dict[str, list[str]] = {}
    for key in keys:
        for candidates in table.get(key, ()):
            path = next((path for path in candidates if path.split(".")[0] in holds), None)
            if path is not None:
                found.setdefault(key, []).append(path)
    if cls is FINDING and "rule.id" in keys and "rule.name" not in keys:
        found["rule.id"].append("finding_info.title")  # required; the id is all the name there is
    if "module.name" in keys and "file.path" in found:
        found.pop("module.name", None)  # one place for both; the path says more
    return _sound(found, cls)


def _sound(found: dict[str, list[str]], cls: Class) -> dict[str, list[str]]:
    """Take out objects that lack what they must hold, inner ones first, until none does."""
    while True:
        paths = {path for of_key in found.values() for path in of_key}
        if cls is FINDING:
            paths.add("finding_info.uid")  # set for every event
        members: dict[str, set[str]] = {}
        for path in sorted(paths):
            steps = path.split(".")
            for end in range(1, len(steps)):
                members.setdefault(".".join(steps[:end]), set()).add(steps[end])
        lacking = [
            name
            for name, has in members.items()
            if not all(has.intersection(group) for group in OBJECTS.get(name.rpartition(".")[2], ()))
        ]
        if not lacking:
            return found
        worst = max(lacking, key=lambda name: name.count(".")) + "."
        if not any(path.startswith(worst) for of_key in found.values() for path in of_key):
            return found
        found = {k: kept for k, of_key in found.items() if (kept := [p for p in of_key if not p.startswith(worst)])}


def _activity(chosen: tuple[Class, int, str], event: Event) -> tuple[int, str]:
    cls, activity_id, activity = chosen
    if cls is HTTP:
        method = event.get("http.request.method", "")
        return _METHODS.get(method, (99, str(method)))
    if "api.operation" in event and cls.uid == 6003:
        operation = str(event["api.operation"])
        words = [word for word in _VERBS if operation.lower().startswith(word)]
        return _VERBS[max(words, key=len)] if words else (99, operation)
    if cls.uid == 4001 and activity_id == 6 and event.get("event.outcome") == "failure":
        return 5, "Refuse"
    return activity_id, activity


def _severity(event: Event) -> tuple[int, str]:
    number = event.get("severity.number")
    if type(number) is not int:
        return 0, "Unknown"
    return next(((value, name) for least, value, name in _SEVERITY if number >= least), (1, "Informational"))
