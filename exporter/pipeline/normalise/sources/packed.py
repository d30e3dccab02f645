"""What collectors pack: attributes of OpenTelemetry as lists of pairs, CloudTrail's `Records` of one event.

Sources: opentelemetry.io, "OTLP: JSON Protobuf encoding" (``attributes: [{key, value: {stringValue}}]``); the collector's Loki
exporter (``attributes``, ``resources``); docs.aws.amazon.com, "CloudTrail log file examples".
"""

from __future__ import annotations

from typing import Any

from exporter.pipeline.normalise.names import FIELD_ALIASES
from exporter.pipeline.parse import Keys, Sourced

_SIMPLE = ("stringValue", "intValue", "doubleValue", "boolValue", "bytesValue")
#: Where attributes stand; the record's win over the resource's.
_PLACES = ("attributes", "Attributes", "resources", "resource", "Resource")


def open_records(keys: Keys, values: tuple[Any, ...]) -> Sourced:
    """Return the only event in ``Records``. Several stay whole, for a line is one event; so do notifications of S3."""
    records = values[0] if keys == ("Records",) else None
    if type(records) is list and len(records) == 1 and type(records[0]) is dict:
        record = records[0]
        if "eventName" in record and "awsRegion" in record and "userIdentity" in record and "s3" not in record:
            return "cloudtrail", tuple(record), tuple(record.values())
    return "application", keys, values


def open_otlp(keys: Keys, values: tuple[Any, ...]) -> Sourced:
    """Return a record with the attributes that are known names beside its own members; all others stay where they were."""
    fields = dict(zip(keys, values, strict=True))
    for place in _PLACES:
        if place in fields:
            left = _spread(fields.pop(place), fields)
            if left:
                fields[place] = left
    return "otlp", tuple(fields), tuple(fields.values())


def _spread(value: Any, fields: dict[str, Any]) -> Any:
    """Add the attributes of an object or list to the fields; returns what could not be added."""
    inner = value.get("attributes") if type(value) is dict else None
    if type(inner) in {dict, list}:
        rest = {key: item for key, item in value.items() if key != "attributes"}
        left = _spread(inner, fields)
        return rest | {"attributes": left} if left else rest
    named = value if type(value) is dict else _named(value)
    if named is None:
        return value
    left = {key: item for key, item in named.items() if key in fields or key not in FIELD_ALIASES}
    fields.update((key, item) for key, item in named.items() if key not in left)
    return left


def _named(value: Any) -> dict[str, Any] | None:
    """Return a list of attributes as an object, or None when it is another or a name comes twice."""
    if type(value) is not list:
        return None
    named: dict[str, Any] = {}
    for item in value:
        if type(item) is not dict or item.keys() != {"key", "value"} or type(item["key"]) is not str:
            return None
        if item["key"] in named:
            return None
        named[item["key"]] = _plain(item["value"])
    return named


def _plain(value: Any) -> Any:
    """Return what an ``AnyValue`` of one simple type holds; lists and objects stay as they are."""
    if type(value) is dict and len(value) == 1:
        name, inner = next(iter(value.items()))
        if name in _SIMPLE:
            return inner
    return value
