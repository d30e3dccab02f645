"""The JSON Schema (2020-12) of a whole configuration, made from the models: for editors, and tested against the examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from exporter.settings.model import NAME_PATTERN, TENANT_PATTERN, Settings

DIALECT = GenerateJsonSchema.schema_dialect


def json_schema(target_models: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """Return the schema. ``target_models`` gives the settings model of each target kind, as for ``load_settings``.

    It is somewhat stricter than the loader: a number that comes from ``${env:NAME}`` is text to it.
    """
    schema = Settings.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    for kind, model in sorted(target_models.items()):
        _add_target(definitions, kind, model)
    properties = schema["properties"]
    properties["tenants"] |= {"minProperties": 1, "propertyNames": {"pattern": TENANT_PATTERN}}
    properties["targets"] |= {
        "propertyNames": {"pattern": NAME_PATTERN},
        "additionalProperties": _one_of_kinds(sorted(target_models)),
    }
    return {
        "$schema": DIALECT,
        **schema,
        "title": "Loki SIEM exporter",
        "description": "Configuration of loki-siem. Secrets are files (*_file) or ${env:NAME}, never literals.",
    }


def _one_of_kinds(kinds: list[str]) -> dict[str, Any]:
    """Choose by ``kind`` with conditions instead of oneOf: then an editor reports the faults of the kind that is meant."""
    return {
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": kinds}},
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/target.{kind}"},
            }
            for kind in kinds
        ],
    }


def _add_target(definitions: dict[str, Any], kind: str, model: type[BaseModel]) -> None:
    """Add a target's model under ``target.<kind>``, and its own definitions under names that cannot collide."""
    part = model.model_json_schema(ref_template=f"#/$defs/target.{kind}.{{model}}")
    for name, definition in part.pop("$defs", {}).items():
        definitions[f"target.{kind}.{name}"] = definition
    part["properties"]["kind"] = {"const": kind, "description": "Picks the connector."}
    definitions[f"target.{kind}"] = part
