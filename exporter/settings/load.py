"""A configuration file becomes :class:`Settings`, or one report of everything that is wrong with it.

Each section, tenant and target is validated by itself, so a fault in one does not hide those of the others. A part with
faulty keys is built from its sound ones, and the checks across keys and of other layers (targets' names, selectors,
policies) run over that: a wrong ``start`` and a wrong selector of one tenant are told in the same report.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from exporter.errors import ConfigurationError, Finding
from exporter.settings.crosschecks import cross_findings
from exporter.settings.document import Document, DocumentPath, dotted, read_document
from exporter.settings.findings import findings_of, nearest
from exporter.settings.interpolate import interpolate
from exporter.settings.model import (
    NAME_PATTERN,
    TENANT_PATTERN,
    BusSettings,
    LokiSettings,
    ServiceSettings,
    Settings,
    SqliteBus,
    TenantSettings,
)
from exporter.settings.places import anchor, place_findings

#: A check of another layer. Of broken parts it gets the sound keys, the others at their defaults.
Check = Callable[[Settings], Iterable[Finding]]

#: Stand in for required keys that are missing or wrong while the rest is checked; nothing is ever sent there (RFC 2606).
_STAND_INS: dict[Any, dict[str, str]] = {
    LokiSettings: {"url": "http://invalid."},
    BusSettings: {"bootstrap_servers": "invalid.:9092"},
    TenantSettings: {"selector": '{job=~".+"}'},
}


def load_settings(path: Path, target_models: Mapping[str, type[BaseModel]], checks: Sequence[Check] = ()) -> Settings:
    """Read, validate and check a configuration. ``target_models`` gives the settings model of each target kind.

    Reads the file, its secrets and the environment; touches no network. Raises ConfigurationError with all findings, in
    the order of the document.
    """
    document, findings = read_document(path)
    loading = _Loading(document, path.resolve().parent, findings)
    settings = loading.settings(target_models)
    for check in checks:
        findings.extend(check(settings))
    if findings:
        raise ConfigurationError(_report(findings, document))
    return settings


def _report(findings: Iterable[Finding], document: Document) -> list[Finding]:
    """Fill in lines, drop repetitions, sort by place in the document."""
    located = [f if f.line else replace(f, line=document.line_of(f.path)) for f in findings]
    return sorted(dict.fromkeys(located), key=lambda f: f.line)


class _Loading:
    """One run of the loader over one document; gathers findings."""

    def __init__(self, document: Document, base_dir: Path, findings: list[Finding]) -> None:
        self._findings = findings
        self._base_dir = base_dir
        before = len(findings)
        self._data: dict[str, Any] = interpolate(document.data, findings)
        self._unresolved = {f.path for f in findings[before:]}

    def settings(self, target_models: Mapping[str, type[BaseModel]]) -> Settings:
        """Return the sound parts as settings, whether or not there are findings."""
        data = self._data
        known = list(Settings.model_fields)
        self._findings.extend(
            Finding(dotted((key,)), "unknown key", nearest(key, known)) for key in data if key not in known
        )
        self._check_version()
        if "loki" not in data:
            self._findings.append(Finding("loki", "is missing", "Add it with at least `url`."))
        settings = Settings.model_construct(
            version=1,
            loki=self._part(LokiSettings, data.get("loki"), ("loki",)) or LokiSettings(**_STAND_INS[LokiSettings]),
            bus=self._part(BusSettings, data.get("bus"), ("bus",)) or anchor(SqliteBus(), self._base_dir),
            service=self._part(ServiceSettings, data.get("service", {}), ("service",))
            or anchor(ServiceSettings(), self._base_dir),
            tenants=self._tenants(),
            targets=self._targets(target_models),
        )
        written = data.get("targets")
        known_targets = frozenset(written) if isinstance(written, dict) else frozenset[str]()
        self._findings.extend(cross_findings(settings, known_targets))
        return settings

    def _check_version(self) -> None:
        version = self._data.get("version")
        if version is None:
            self._findings.append(Finding("version", "is missing", "Add `version: 1`."))
        elif version != 1 or isinstance(version, bool):
            reason = "this release reads version 1 only"
            self._findings.append(Finding("version", reason, "Write `version: 1`, or run the release this is for."))

    def _part(self, model: Any, data: Any, path: DocumentPath) -> Any:
        """Validate one part; of its sound keys when not all are. None when it is not given, or nothing can be made of it."""
        if data is None:
            return None
        self._findings.extend(place_findings(model, data, path, self._base_dir))
        try:
            valid = TypeAdapter(model).validate_python(data, context={"base_dir": self._base_dir})
        except ValidationError as error:
            found = findings_of(error, model, data, path)
            self._findings.extend(f for f in found if f.path not in self._unresolved)
            valid = self._of_sound_keys(model, data, error)
        return None if valid is None else anchor(valid, self._base_dir)

    def _of_sound_keys(self, model: Any, data: Any, error: ValidationError) -> Any:
        """Return a part without the keys that are wrong; only ever checked, for its faults are findings already."""
        if not isinstance(data, dict):
            return None
        # In a choice of several models (the kinds of bus) the name of the choice comes before the key.
        wrong = {step for fault in error.errors(include_input=False) for step in fault["loc"][:2]}
        sound = {key: value for key, value in data.items() if key not in wrong}
        try:
            return TypeAdapter(model).validate_python(
                _STAND_INS.get(model, {}) | sound, context={"base_dir": self._base_dir}
            )
        except ValidationError:
            return None

    def _named(self, section: str, pattern: str, form: str) -> dict[str, Any]:
        """Return a section of named parts whose names are sound."""
        named = self._data.get(section, {})
        if not isinstance(named, dict):
            self._findings.append(Finding(section, "must be a section", "Write `name:` lines below it."))
            return {}
        sound = {}
        for name, data in named.items():
            # "." and ".." pass Loki's alphabet; it refuses them, and they would become folders of targets.
            if re.fullmatch(pattern.strip("^$"), name) and name not in {".", ".."}:
                sound[name] = data
            else:
                self._findings.append(Finding(dotted((section, name)), "is no usable name", form))
        return sound

    def _tenants(self) -> dict[str, TenantSettings]:
        form = "Use the Loki org id: letters, digits and ! - _ . * ' ( ), at most 150; or a name of these and `org_id`."
        if not self._data.get("tenants"):
            reason = "is missing: there is nothing to read"
            self._findings.append(Finding("tenants", reason, "Add the Loki org ids below it, each with a `selector`."))
            return {}
        parts = {
            name: self._part(TenantSettings, data, ("tenants", name))
            for name, data in self._named("tenants", TENANT_PATTERN, form).items()
        }
        return {name: self._with_own_packs(part) for name, part in parts.items() if part is not None}

    def _with_own_packs(self, tenant: TenantSettings) -> TenantSettings:
        """Anchor redaction packs that are files; a name without a folder may also be one that ships."""
        packs = tuple(
            str(self._base_dir / pack)
            if pack.endswith((".yaml", ".yml")) and (self._base_dir / pack).is_file()
            else pack
            for pack in tenant.redaction
        )
        return tenant if packs == tenant.redaction else tenant.model_copy(update={"redaction": packs})

    def _targets(self, models: Mapping[str, type[BaseModel]]) -> dict[str, BaseModel]:
        targets = {}
        form = "Use lower-case letters, digits, - and _, at most 63."
        for name, data in self._named("targets", NAME_PATTERN, form).items():
            kind = data.get("kind") if isinstance(data, dict) else None
            path = dotted(("targets", name))
            if kind is None:
                reason, cure = "is missing", f"Choose one of {', '.join(sorted(models))}."
                self._findings.append(Finding(f"{path}.kind", reason, cure))
            elif not isinstance(kind, str) or kind not in models:
                reason = "there is no such kind of target (is its connector installed?)"
                self._findings.append(Finding(f"{path}.kind", reason, nearest(str(kind), models)))
            elif (part := self._part(self._model(models, kind), data, ("targets", name))) is not None:
                targets[name] = part
        return targets

    def _model(self, models: Mapping[str, type[BaseModel]], kind: str) -> type[BaseModel]:
        """Look a kind up; the table may load a connector for it and find that it is broken."""
        try:
            return models[kind]
        except ConfigurationError as error:
            self._findings.extend(error.findings)
            return BaseModel
