"""What the administrator is told to set up is what the connector sends; the example configuration loads."""

from __future__ import annotations

import json
import re
from pathlib import Path

from connectors.registry import factories
from connectors.sentinel.columns import DEFAULT_COLUMNS, TIME_GENERATED, parse_columns
from exporter.settings.load import load_settings

ROOT = Path(__file__).parents[3]
DOC = (ROOT / "docs/targets/sentinel.md").read_text("utf-8")
DECLARED = [(TIME_GENERATED, "datetime"), *((c.name, c.type) for c in parse_columns(DEFAULT_COLUMNS).values())]


def test_the_rule_in_the_documentation_declares_every_column():
    rule = json.loads(re.search(r"```json\n(.*?)```", DOC, re.DOTALL)[1])
    (columns,) = rule["properties"]["streamDeclarations"].values()
    assert sorted((c["name"], c["type"]) for c in columns["columns"]) == sorted(DECLARED)


def test_the_table_in_the_documentation_has_every_column():
    command = re.search(r"--columns \\\n(.*?)```", DOC, re.DOTALL)[1]
    assert sorted(tuple(word.split("=")) for word in re.findall(r"\w+=\w+", command)) == sorted(DECLARED)


def test_the_example_configuration_loads():
    models = {kind: factory.settings for kind, factory in factories().items()}
    settings = load_settings(ROOT / "config/sentinel.yaml", models)
    assert settings.targets["sentinel"].columns == {**DEFAULT_COLUMNS, "user_agent.original": "UserAgent"}
