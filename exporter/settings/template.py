"""The annotated first configuration of ``loki-siem init``, made from the models so that it cannot drift from them.

Descriptions become ``# text``; keys at their defaults stand as ``#key: value`` in the right column, so removing the one
``#`` switches them on.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from exporter.domain.secrets import Secret
from exporter.settings.declarations import members_of, speaks_of, tags_of
from exporter.settings.model import Settings

_WIDTH = 110
_HEAD = """\
# Configuration of loki-siem. Check it with `loki-siem check -c FILE`, then `loki-siem run -c FILE`.
# Lines like `#key: value` show defaults; remove the # to change one. Relative paths start at this file's folder.
# Secrets are files (*_file keys) or ${env:NAME}, never written here.
"""
#: What is switched on: enough to start, one tenant and, where the kind is installed, a file as target.
_FIRST_TENANT = "my-tenant"
_FIRST_TARGET = ("archive", "file", {"directory": "out"})


def first_configuration(target_models: Mapping[str, type[BaseModel]]) -> str:
    """Return an annotated YAML document that ``load_settings`` takes as it is."""
    name, kind, keys = _FIRST_TARGET
    has_target = kind in target_models
    lines: list[str] = []
    for field_name, field in Settings.model_fields.items():
        lines += ["", *_comment(field, "")]
        if field_name == "version":
            lines.append("version: 1")
        elif field_name == "tenants":
            tenant = {"targets": [name]} if has_target else {}
            lines += ["tenants:", f"  {_FIRST_TENANT}:", *_section(_model(field), tenant, "    ", on=True)]
        elif field_name == "targets":
            lines += ["targets:" if has_target else "#targets:"]
            first = [(name, kind, keys)] if has_target else []
            others: list[tuple[str, str, dict[str, str]]] = [
                (other, other, {}) for other in sorted(target_models) if other != kind
            ]
            for target, its_kind, given in [*first, *others]:
                lines += _target(target, target_models[its_kind], {"kind": its_kind, **given}, on=(target == name))
        else:
            lines += [f"{field_name}:", *_choice(field, "  ", on=True)]
    return _HEAD + "\n".join(lines) + "\n"


def _model(field: FieldInfo) -> type[BaseModel]:
    return members_of(field.annotation)[0]


def _target(name: str, model: type[BaseModel], given: Mapping[str, Any], *, on: bool) -> list[str]:
    head = f"  {name}:" if on else f"  #{name}:"
    return [head, *_section(model, given, "    ", on=on), ""]


def _choice(field: FieldInfo, indent: str, *, on: bool) -> Iterator[str]:
    """Render a field that is a section; of a union the default member, the others behind it, switched off."""
    default = field.get_default(call_default_factory=True)
    chosen = type(default) if isinstance(default, BaseModel) else _model(field)
    yield from _section(chosen, dict(tags_of(chosen)) if len(members_of(field.annotation)) > 1 else {}, indent, on=on)
    for other in members_of(field.annotation):
        if other is not chosen:
            tags = dict(tags_of(other))
            yield f"{indent}# or, instead of the above: {', '.join(f'{k}: {v}' for k, v in tags.items())}"
            yield from _section(other, tags, indent, on=False)


def _section(model: type[BaseModel], given: Mapping[str, Any], indent: str, *, on: bool) -> Iterator[str]:
    """Render the fields of a model; those in ``given`` and required ones are switched on if the section is."""
    asked_for = {name for name, field in model.model_fields.items() if name in given or field.is_required()}
    asked_for |= set() if asked_for else set(list(model.model_fields)[:1])  # a section needs a key
    for name, field in sorted(model.model_fields.items(), key=lambda item: item[0] not in asked_for):
        switched_on = on and name in asked_for
        mark = "" if switched_on else "#"
        yield from _comment(field, indent)
        if members_of(field.annotation):
            yield f"{indent}{mark}{name}:"
            yield from _choice(field, indent + "  ", on=switched_on)
        else:
            value = given[name] if name in given else _value(name, field)
            yield f"{indent}{mark}{name}: {_yaml(value)}".rstrip()


def _comment(field: FieldInfo, indent: str) -> list[str]:
    prefix = f"{indent}# "
    return textwrap.wrap(
        field.description or "", _WIDTH, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False
    )


def _value(name: str, field: FieldInfo) -> Any:
    """Return the default; where there is none, an example."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if default is not None or not (field.is_required() or field.examples):
        return default
    if field.examples:
        return field.examples[0]
    if speaks_of(field.annotation, Secret):
        return f"secrets/{name.removesuffix('_file')}"
    return name if speaks_of(field.annotation, Path) else f"<{name}>"


def _yaml(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple | list):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    if isinstance(value, str | Path):
        text = str(value)
        plain = re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./:\-]*", text) and yaml.safe_load(text) == text
        return text if plain else f"'{text}'" if "'" not in text else json.dumps(text, ensure_ascii=False)
    return json.dumps(value, default=str)
