"""The vocabularies, and by what a line's source is recognised.

A parser names the source of its lines; of JSON objects and key=value lines the keys tell more. The choice depends on the keys
alone, so it is made once per shape.
"""

from __future__ import annotations

from exporter.pipeline.normalise.source import Source
from exporter.pipeline.normalise.sources import (
    application,
    cloud,
    containers,
    firewalls,
    linux,
    network,
    security,
    web,
    windows,
)

APPLICATION = application.APPLICATION
_ALL: tuple[Source, ...] = (
    *containers.SOURCES,
    *cloud.SOURCES,
    *windows.SOURCES,
    *network.SOURCES,
    *web.SOURCES,
    *security.SOURCES,
    *firewalls.SOURCES,
    *linux.SOURCES,
    *application.SOURCES,
)
#: By name, in the order in which signatures are tried.
SOURCES: dict[str, Source] = {source.name: source for source in _ALL}
#: Formats that say nothing of who wrote the line.
_OPEN = frozenset(("json", "logfmt", "kv"))


def recognise(name: str, keys: tuple[str, ...]) -> Source:
    """Return the source of lines that a parser calls ``name``; what no table knows is read as an application's log."""
    if name not in _OPEN:
        return SOURCES.get(name, APPLICATION)
    there = frozenset(keys)
    for source in _ALL:
        if any(signature <= there for signature in source.signatures):
            return source
    return APPLICATION
