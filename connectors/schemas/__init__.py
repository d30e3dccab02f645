"""Canonical event → the schema that a target's users search by: OCSF, ECS, Splunk CIM, Microsoft ASIM, or only the text.

One folder a schema, with a table of kinds, a table of keys and the mapping; ``plan`` compiles them per shape of event.
:func:`build` is called once for each target by whoever wires the delivery.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import orjson

from connectors.schemas import plain
from connectors.schemas.asim.mapper import AsimMapper
from connectors.schemas.cim.mapper import CimMapper
from connectors.schemas.ecs.mapper import EcsMapper
from connectors.schemas.ocsf.classes import DEFAULT_VERSION
from connectors.schemas.ocsf.mapper import OcsfMapper

Name = Literal["canonical", "ocsf", "ecs", "cim", "asim", "message", "raw"]
NAMES: tuple[str, ...] = get_args(Name)

#: One decoded event → what is sent of it. Raises ValueError, KeyError or TypeError for what is no canonical event.
MapEvent = Callable[[dict[str, Any]], dict[str, Any]]


def mapping(name: str, version: str | None = None) -> MapEvent:
    """Return the mapping of a schema; ``version`` is that of OCSF. Not thread-safe, and not for ``canonical``."""
    if name == "ocsf":
        return OcsfMapper(version or DEFAULT_VERSION).map
    makers: dict[str, MapEvent] = {"message": plain.message, "raw": plain.raw}
    classes: dict[str, Callable[[], Any]] = {"ecs": EcsMapper, "cim": CimMapper, "asim": AsimMapper}
    map_event: MapEvent = makers[name] if name in makers else classes[name]().map
    return map_event


class SchemaEncoder:
    """Encoded canonical events → encoded events of one schema. Not thread-safe; holds no event."""

    def __init__(self, name: str, version: str | None = None) -> None:
        self.name = name
        self._map = mapping(name, version)

    def encode(self, values: Sequence[bytes]) -> list[bytes | None]:
        """Return what is sent of each event, None for one that cannot be mapped."""
        map_event, loads, dumps = self._map, orjson.loads, orjson.dumps
        bodies: list[bytes | None] = []
        for value in values:
            try:
                bodies.append(dumps(map_event(loads(value))))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                bodies.append(None)
        return bodies


def build(name: str, version: str | None = None) -> SchemaEncoder | None:
    """Return the encoder of a schema, or None for ``canonical``, whose bytes are sent as they are."""
    return None if name == "canonical" else SchemaEncoder(name, version)
