"""``pseudonyms``: usage errors say what to do, and no value shows anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exporter.pseudonyms.keys import Sealer
from exporter.pseudonyms.sqlite import SqliteSaltStore
from exporter.pseudonyms.vault import Vault
from tests.support.cli import invoke

CONFIG = """\
version: 1
loki: {url: "http://127.0.0.1:9"}
service: {pseudonym_key_file: key}
tenants:
  acme: {selector: '{job="a"}', policy: security}
"""
NOW_NS = 1_764_000_000_000_000_000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("k" * 40)
    (tmp_path / "c.yaml").write_text(CONFIG)
    return tmp_path / "c.yaml"


def remember(config: Path, kind: str, value: bytes) -> str:
    store = SqliteSaltStore(config.parent / "state" / "pseudonyms" / "acme.db")
    vault = Vault(store, Sealer([b"k" * 40], "acme"), "month")
    vault.begin(NOW_NS)
    token = vault.letters(kind, value)
    store.close()
    return token


def test_look_up_forget_and_shred(config: Path):
    token = remember(config, "email", b"zebulon@example.com")
    plain = invoke("pseudonyms", "tokens", "-c", config, "--tenant", "acme", stdin=b"Zebulon@Example.com\n")
    assert (plain.exit_code, token in plain.stdout, "zebulon" in plain.output.lower()) == (0, True, False)
    epochs = invoke("pseudonyms", "epochs", "-c", config, "--tenant", "acme", "--json")
    assert json.loads(epochs.stdout)["epochs"] == [{"epoch": "2025-11", "values": 1}]
    done = invoke("pseudonyms", "forget", "-c", config, "--tenant", "acme", "--yes", stdin=b"zebulon@example.com")
    assert done.stdout == "forgotten: 1\n"
    done = invoke("pseudonyms", "shred", "-c", config, "--tenant", "acme", "--epoch", "2025-11", "--yes")
    assert done.stdout == "shredded: 1\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["tokens", "--tenant", "acne"], b"x", "Did you mean acme?"),
        (["tokens", "--tenant", "acme"], b"", "exactly one value"),
        (["tokens", "--tenant", "acme"], b"hunter2\nsecond", "exactly one value"),
        (["forget", "--tenant", "acme"], b"hunter2", "--yes"),
        (["shred", "--tenant", "acme", "--epoch", "2031-01"], b"", "has no epoch"),
        (["shred", "--tenant", "acme", "--epoch", "../x"], b"", "looks like"),
    ],
)
def test_usage_errors(config: Path, arguments: list[str], stdin: bytes, said: str):
    result = invoke("pseudonyms", *arguments, "-c", config, stdin=stdin)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())
    assert "hunter2" not in result.output


def test_an_unknown_kind_is_said(config: Path):
    result = invoke("pseudonyms", "tokens", "-c", config, "--tenant", "acme", "--kind", "emial", stdin=b"x")
    assert result.exit_code == 0
    assert "Did you mean email?" in result.output


def test_check_wants_the_key_of_a_policy_that_needs_it(config: Path):
    config.write_text(CONFIG.replace("service: {pseudonym_key_file: key}\n", ""))
    result = invoke("check", "-c", config)
    assert result.exit_code == 2
    assert "service.pseudonym_key_file" in result.output
    assert "openssl rand" in result.output


def test_a_trial_makes_tokens_of_its_own(config: Path):
    tokens = {
        invoke("policy", "try", "-c", config, "--tenant", "acme", stdin=b"a@b.example A@b.example\n").stdout
        for _ in range(2)
    }
    assert len(tokens) == 2
    assert all(len(set(text.split())) == 1 and text.startswith("[redacted-email-") for text in tokens)
    assert not (config.parent / "state").exists()
