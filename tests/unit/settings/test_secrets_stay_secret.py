"""No secret that somebody wrote in the wrong place comes back in a report (G11)."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.domain.secrets import Secret
from tests.support.configs import MODELS, VALID, findings

LITERALS = [
    "hunter2hunter2",
    "Splunk 6f2b0f4e-6d4c-4a6a-9a53-7f6a4a5b9d10",
    "6f2b0f4e-6d4c-4a6a-9a53-7f6a4a5b9d10",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "correct horse battery staple",
    "0123456789abcdef0123456789abcdef",
    "abc/def+ghi/jkl==",
]
PLACES = [
    "  soc: {kind: http, url: 'https://h', token_file: 'LITERAL'}\n",
    "  soc: {kind: http, url: 'https://h', token: 'LITERAL'}\n",
    "  soc: {kind: http, url: 'https://h', password: 'LITERAL'}\n",
    "  soc: {kind: http, url: 'https://me:LITERAL@h', token_file: x}\n",
    "  soc: {kind: http, url: 'LITERAL', token_file: x}\n",
    "  soc: {kind: http, url: 'https://h', token_file: x, batch_max_bytes: 'LITERAL'}\n",
    "  soc: {kind: http, url: 'https://h', token_file: x, ca_file: 'LITERAL'}\n",
    "  soc: {kind: http, url: 'https://h', token_file: [LITERAL]}\n",
    "loki: {auth: {type: bearer, token: 'LITERAL'}}\n",
    "service: {identity_key_file: 'LITERAL', log_level: 'LITERAL', memory_bytes: 'LITERAL'}\n",
    "bus: {kind: kafka, sasl_password_file: 'LITERAL', partitions: 'LITERAL', create_topics: 'LITERAL'}\n",
    "  soc: {kind: http, token_file: !LITERAL x}\n",
    "  soc: {kind: http, token_file: *LITERAL}\n",
    "  soc: {kind: http, token_file: @LITERAL}\n",
]


@pytest.mark.parametrize("place", range(len(PLACES)))
@pytest.mark.parametrize("literal", range(len(LITERALS)))
def test_a_literal_secret_is_refused_and_not_quoted(tmp_path: Path, place: int, literal: int) -> None:
    found = findings(tmp_path, VALID + PLACES[place].replace("LITERAL", LITERALS[literal]))
    report = "\n".join(str(f) for f in found)
    leaked = LITERALS[literal] in report or LITERALS[literal].split(" ")[-1] in report
    assert found
    assert not leaked, f"literal {literal} in place {place} came back"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=8, max_size=40))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_in_a_secret_key_stays_unquoted(tmp_path: Path, text: str) -> None:
    secret = f"Zq{text}qZ"
    document = yaml.safe_load(VALID)
    document["targets"]["soc"] = {"kind": "http", "url": "https://h", "token_file": secret}
    found = findings(tmp_path, yaml.safe_dump(document, allow_unicode=True))
    leaked = any(secret in str(f) for f in found)
    assert [f.path for f in found] == ["targets.soc.token_file"]
    assert not leaked


def test_what_looks_like_the_secret_itself_is_called_so(tmp_path: Path) -> None:
    text = VALID + f"  soc: {{kind: http, url: 'https://h', token_file: '{LITERALS[2]}'}}\n"
    (found,) = findings(tmp_path, text)
    assert "looks like the secret itself" in found.reason
    assert "token_file: ${env:NAME}" in found.cure


def test_empty_and_missing_places_are_findings(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    for value, reason in (("empty", "is empty"), ("${env:NO_SUCH_VARIABLE}", "not set or empty"), (".", "cannot be")):
        text = VALID + f"  soc: {{kind: http, url: 'https://h', token_file: '{value}'}}\n"
        (found,) = findings(tmp_path, text)
        assert reason in found.reason
        assert found.line == 7


def test_a_secret_shows_its_place_only(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("s3cr3t-value")
    model = MODELS["http"].model_validate(
        {"kind": "http", "url": "https://h", "token_file": "t"}, context={"base_dir": tmp_path}
    )
    secret = model.token_file  # type: ignore[attr-defined]
    assert secret.reveal() == "s3cr3t-value"
    shown = f"{model!r} {model} {model.model_dump()} {model.model_dump_json()} {secret!r} {copy.copy(secret)!r}"
    assert "s3cr3t-value" not in shown


def test_parse_takes_paths_and_references_only() -> None:
    assert Secret.parse("${env:A_1}") == Secret(env="A_1")
    assert Secret.parse("a/b", Path("/c")) == Secret(path=Path("/c/a/b"))
    assert Secret.parse("/a", Path("/c")) == Secret(path=Path("/a"))
    for text in ("", "  ", "a\0b"):
        with pytest.raises(ValueError, match="names no file"):
            Secret.parse(text)


def test_rotation_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "t"
    file.write_text("one")
    secret = Secret.parse("t", tmp_path)
    assert secret.reveal() == "one"
    other = tmp_path / "new"
    other.write_text("two")
    other.rename(file)
    assert secret.reveal() == "two"
