"""`init`, `schema`, `check` and usage errors, in this process."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.support.cli import invoke, write_config

SHIPPED = Path(__file__).parents[3] / "config"
EXAMPLES = sorted(SHIPPED.glob("*.yaml"))


def test_schema_prints_what_is_shipped() -> None:
    result = invoke("schema")
    assert result.exit_code == 0
    shipped = json.loads((SHIPPED / "schema.json").read_text())
    assert json.loads(result.stdout) == shipped, "run `loki-siem schema > config/schema.json`"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_fit_the_schema_and_load(example: Path, tmp_path: Path) -> None:
    text = example.read_text()
    jsonschema.validate(
        yaml.safe_load(text.replace("2026-01-01T00:00:00Z", "'2026-01-01T00:00:00Z'")),
        json.loads((SHIPPED / "schema.json").read_text()),
        jsonschema.Draft202012Validator,
    )
    copy = tmp_path / example.name
    copy.write_text(text)
    (tmp_path / "secrets").mkdir()
    for name in {"hec", "loki", "kafka", "identity", *re.findall(r"secrets/([\w.-]+)", text)}:
        (tmp_path / "secrets" / name).write_text("value")
    result = invoke("check", "-c", copy)
    assert result.exit_code == 0, result.output
    assert "configuration is sound" in result.stdout


def test_there_is_an_example_for_either_bus() -> None:
    kinds = {yaml.safe_load(path.read_text())["bus"]["kind"] for path in EXAMPLES}
    assert kinds == {"sqlite", "kafka"}


def test_init_writes_a_configuration_that_check_accepts(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    assert invoke("init", path).exit_code == 0
    assert invoke("check", "-c", path).exit_code == 0
    assert invoke("init", "-").stdout == path.read_text()


def test_init_does_not_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text("mine")
    refused = invoke("init", path)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert path.read_text() == "mine"
    assert invoke("init", "--force", path).exit_code == 0
    assert path.read_text() != "mine"


def test_check_reports_everything_for_people_and_machines(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    path.write_text(
        path.read_text()
        .replace("directory: out", "dir: out")
        .replace('{job="a"}', '{job="a"} |= "x"')
        .replace("targets: [archive]}", "redaction: [eu-pi]}")
    )
    people = invoke("check", "-c", path)
    assert people.exit_code == 2
    assert people.stdout == ""
    machine = invoke("check", "-c", path, "--json")
    assert machine.exit_code == 2
    report = json.loads(machine.stdout)
    assert report["ok"] is False
    places = {finding["path"]: finding["line"] for finding in report["findings"]}
    assert places == {
        "tenants.acme.selector": 5,
        "tenants.acme.redaction": 5,
        "targets.archive.dir": 8,
        "targets.archive.directory": 8,
    }
    for finding in report["findings"]:
        assert finding["path"] in people.stderr
        assert finding["reason"] in people.stderr
        assert finding["cure"] in people.stderr
    assert "4 configuration errors" in people.stderr


def test_check_of_a_sound_file(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    result = invoke("check", "-c", path)
    assert (result.exit_code, result.stdout) == (0, "configuration is sound: 2 tenants, 1 target\n")
    assert json.loads(invoke("check", "-c", path, "--json").stdout) == {"ok": True, "findings": [], "reached": []}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.yaml"], "check writes nothing"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such"],
        ["no-such"],
        ["check"],
        ["check", "-c"],
        ["run", "-c", "CONFIG", "--role", "boss"],
        ["run", "-c", "CONFIG", "--target", "archve"],
        ["run", "-c", "CONFIG", "--target", "archive", "--role", "reader"],
        ["dlq", "list", "-c", "CONFIG"],
        ["dlq", "list", "-c", "CONFIG", "--target", "nothing"],
        ["policy", "try", "-c", "CONFIG", "--tenant", "acmee"],
        ["policy", "try", "-c", "CONFIG"],
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(tmp_path: Path, arguments: list[str]) -> None:
    path = write_config(tmp_path)
    result = invoke(*(path if a == "CONFIG" else a for a in arguments))
    assert result.exit_code == 2
    assert result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["check"], ["status"], ["dlq", "list", "--target", "x"], ["policy", "try", "--tenant", "x"]],
)
def test_every_command_refuses_a_missing_file_alike(tmp_path: Path, arguments: list[str]) -> None:
    result = invoke(*arguments, "-c", tmp_path / "nothing.yaml")
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_policy_try_redacts(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    lines = [
        b"user anna@example.com logged in",
        b'{"mail":"anna@example.com"}',
        b"nothing here",
        b"caf\xe9 anna@example.com",
    ]
    result = invoke("policy", "try", "-c", path, "--tenant", "acme", stdin=b"\n".join(lines) + b"\n")
    assert result.exit_code == 0
    out = result.stdout_bytes.split(b"\n")
    leaked = b"anna" in result.output_bytes
    assert not leaked
    assert len(out) == len(lines) + 1
    assert out[2] == lines[2]
