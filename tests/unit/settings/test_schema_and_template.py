"""The JSON Schema, the shipped examples and the first configuration all say what the loader says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from exporter.settings.load import load_settings
from exporter.settings.model import KafkaBus, LokiSettings, ServiceSettings, Settings, SqliteBus, TenantSettings
from exporter.settings.schema import json_schema
from exporter.settings.template import first_configuration
from tests.support.configs import MODELS, VALID, FolderTarget, HttpTarget, load


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json_schema(MODELS)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def errors(validator: Any, text: str) -> list[str]:
    return sorted(".".join(map(str, e.absolute_path)) for e in validator.iter_errors(yaml.safe_load(text)))


def test_a_sound_configuration_fits(validator: Any) -> None:
    assert errors(validator, VALID) == []
    assert errors(validator, VALID + "  soc: {kind: http, url: 'https://h', token_file: t}\n") == []
    assert errors(validator, VALID + "bus: {kind: kafka, bootstrap_servers: 'h:1', partitions: 3}\n") == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("version: 1", "version: 2", "version"),
        ("version: 1", "", ""),
        ("loki:", "lokki:", ""),
        ("acme:", "'a/b':", "tenants"),
        ("targets: [archive]", "targets: archive", "tenants.acme.targets"),
        ("targets: [archive]", "targts: []", "tenants.acme"),
        ("kind: file", "kind: fiel", "targets.archive.kind"),
        ("kind: file, ", "", "targets.archive"),
        ("directory: out", "directory: out, dir: x", "targets.archive"),
        ("directory: out", "x: 1", "targets.archive"),
        ('3100"', '3100", auth: {type: basci}', "loki.auth"),
        ('3100"', '3100", page_entries: 0', "loki.page_entries"),
        ("{selector: '{job=\"a\"}', ", "{", "tenants.acme"),
    ],
)
def test_a_wrong_one_does_not(validator: Any, old: str, new: str, path: str) -> None:
    assert path in errors(validator, VALID.replace(old, new))


def test_every_key_is_described() -> None:
    for model in (Settings, LokiSettings, ServiceSettings, TenantSettings, SqliteBus, KafkaBus):
        undescribed = [name for name, field in model.model_fields.items() if not field.description]
        assert undescribed == [], model.__name__


def test_the_schema_is_plain_json_and_names_each_kind() -> None:
    schema = json.loads(json.dumps(json_schema(MODELS)))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"target.file", "target.http"} <= set(schema["$defs"])
    assert "environment" not in json.dumps(schema["$defs"]["target.http"]["properties"]["kind"])


def test_the_first_configuration_loads_as_it_is(tmp_path: Path, validator: Any) -> None:
    text = first_configuration(MODELS)
    settings = load(tmp_path, text)
    assert settings.tenants["my-tenant"].targets == ("archive",)
    assert isinstance(settings.targets["archive"], FolderTarget)
    assert errors(validator, text) == []
    assert max(map(len, text.splitlines())) <= 120


def test_without_connectors_it_loads_too(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(first_configuration({}))
    assert load_settings(path, {}).targets == {}


def test_it_names_every_key_of_every_model() -> None:
    text = first_configuration(MODELS)
    for model in (LokiSettings, ServiceSettings, TenantSettings, SqliteBus, KafkaBus, HttpTarget, FolderTarget):
        for name in model.model_fields:
            assert re.search(rf"^ +#?{name}:", text, re.MULTILINE), (model.__name__, name)


@pytest.mark.parametrize("section", ["loki", "service"])
def test_switching_the_defaults_on_changes_nothing(tmp_path: Path, section: str) -> None:
    """Removing one # gives the key in its place with its default."""
    text = first_configuration(MODELS)
    block = re.search(rf"^{section}:\n(?:[ #].*\n)+", text, re.MULTILINE)
    assert block
    on = re.sub(r"^(  )#(\w+: ?\S.*)$", r"\1\2", block[0], flags=re.MULTILINE)
    assert on != block[0]
    changed = load(tmp_path, text.replace(block[0], on))
    assert getattr(changed, section) == getattr(load(tmp_path, text), section)
