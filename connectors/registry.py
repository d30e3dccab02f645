"""Which connectors there are: name of the kind → factory.

Our own are named as strings and imported only when asked for, so that a target that nobody configured costs no start-up
time and its libraries need not be installed. Connectors from outside the package announce themselves under the entry
point group ``loki_siem.connectors`` (``kind = "package.module:FACTORY"``).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata

from connectors.base import ConnectorFactory, TargetSettings
from exporter.errors import ConfigurationError, Finding

_BUILT_IN: Mapping[str, str] = {
    "azure_blob": "connectors.azure_blob:FACTORY",
    "file": "connectors.file:FACTORY",
    "s3": "connectors.s3:FACTORY",
    "sentinel": "connectors.sentinel:FACTORY",
    "splunk_hec": "connectors.splunk_hec:FACTORY",
    "webhook": "connectors.webhook:FACTORY",
}


class ConnectorError(ConfigurationError):
    """A connector is announced but cannot be used; the finding names the package that announced it and the cure."""

    def __init__(self, kind: str, package: str, reason: str) -> None:
        owner = f"package {package}" if package else "this program"
        cure = f"Update or remove {owner}"
        super().__init__([Finding(f"connector {kind}", f"{owner} announces it, but {reason}", cure)])


class _Factories(Mapping[str, ConnectorFactory]):
    """The table; a factory is imported at its first look-up."""

    def __init__(self, built_in: Mapping[str, str], announced: Iterable[metadata.EntryPoint]) -> None:
        self._places: dict[str, tuple[str, str]] = {kind: (place, "") for kind, place in built_in.items()}
        for point in announced:
            package = point.dist.name if point.dist is not None else "an unknown package"
            if point.name in self._places:
                other = self._places[point.name][1] or "this program"
                raise ConnectorError(point.name, package, f"{other} has that kind already")
            self._places[point.name] = (point.value, package)
        self._loaded: dict[str, ConnectorFactory] = {}

    def __getitem__(self, kind: str) -> ConnectorFactory:
        if kind not in self._loaded:
            place, package = self._places[kind]
            self._loaded[kind] = _load(kind, place, package)
        return self._loaded[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _load(kind: str, place: str, package: str) -> ConnectorFactory:
    module, _, name = place.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001 - code of a foreign package may raise anything while it is imported
        raise ConnectorError(kind, package, f"{place} cannot be loaded ({type(error).__name__})") from None
    if not isinstance(factory, ConnectorFactory):
        raise ConnectorError(kind, package, f"{place} is no ConnectorFactory")
    if factory.kind != kind:
        raise ConnectorError(kind, package, f"its factory calls itself {factory.kind!r}")
    return factory


def factories() -> Mapping[str, ConnectorFactory]:
    """Return every connector by kind. Called by the settings loader (for the settings models) and by ``app``.

    Raises ConnectorError, here for two packages with one kind, at look-up for a package that cannot be loaded.
    """
    return _Factories(_BUILT_IN, metadata.entry_points(group=ConnectorFactory.GROUP))


class _SettingsModels(Mapping[str, type[TargetSettings]]):
    """Kind → settings model; a connector is imported when a target uses it, so a broken one harms no other."""

    def __init__(self) -> None:
        self._factories = factories()

    def __getitem__(self, kind: str) -> type[TargetSettings]:
        return self._factories[kind].settings

    def __contains__(self, kind: object) -> bool:
        return kind in tuple(self._factories)  # Mapping's own would import it to see

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __len__(self) -> int:
        return len(self._factories)


def settings_models() -> Mapping[str, type[TargetSettings]]:
    """Return the settings model of every installed connector, for the settings loader. Look-up raises ConnectorError."""
    return _SettingsModels()
