"""What a sound configuration becomes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from exporter.domain.secrets import Secret
from exporter.settings.interpolate import interpolate
from exporter.settings.model import LokiSettings, Settings, SqliteBus
from tests.support.configs import VALID, FolderTarget, HttpTarget, load


def test_a_small_configuration_has_defaults_and_typed_targets(tmp_path: Path) -> None:
    settings = load(tmp_path, VALID)
    assert isinstance(settings, Settings)
    assert settings.version == 1
    assert isinstance(settings.bus, SqliteBus)
    assert settings.tenants["acme"].targets == ("archive",)
    assert settings.tenants_of("archive") == ("acme",)
    assert isinstance(settings.targets["archive"], FolderTarget)


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hec").write_text("value\n")
    text = VALID + "  soc: {kind: http, url: 'https://h', token_file: hec, ca_file: hec, extra_token_files: [hec]}\n"
    monkeypatch.chdir("/")
    settings = load(tmp_path, text)
    assert settings.bus.path == tmp_path / "state" / "bus.db"  # type: ignore[union-attr]
    assert settings.service.state_dir == tmp_path / "state"
    assert settings.targets["archive"].directory == tmp_path / "out"
    soc = settings.targets["soc"]
    assert isinstance(soc, HttpTarget)
    assert soc.ca_file == tmp_path / "hec"
    assert soc.token_file.reveal() == "value"
    assert soc.extra_token_files[0].reveal() == "value"


def test_absolute_paths_stay(tmp_path: Path) -> None:
    assert load(tmp_path, VALID.replace("out", "/srv/out")).targets["archive"].directory == Path("/srv/out")


def test_secrets_come_from_the_environment_and_are_read_at_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEC_TOKEN", "one")
    text = VALID + "  soc: {kind: http, url: 'https://h', token_file: '${env:HEC_TOKEN}'}\n"
    settings = load(tmp_path, text)
    assert settings.targets["soc"].token_file == Secret(env="HEC_TOKEN")
    monkeypatch.setenv("HEC_TOKEN", "two")
    assert settings.targets["soc"].token_file.reveal() == "two"


def test_a_list_of_secrets_may_name_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hec").write_text("value")
    monkeypatch.setenv("SECOND", "two")
    text = VALID + "  soc: {kind: http, url: 'https://h', token_file: hec, extra_token_files: [hec, '${env:SECOND}']}\n"
    assert [s.reveal() for s in load(tmp_path, text).targets["soc"].extra_token_files] == ["value", "two"]


def test_references_in_values_are_replaced_also_in_numbers_and_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text("x")
    monkeypatch.setenv("WHERE", "loki.example")
    monkeypatch.setenv("PAGE", "123")
    monkeypatch.setenv("CA", "ca.pem")
    loki = "loki: {url: 'http://${env:WHERE}:3100', page_entries: '${env:PAGE}', tls: {ca_file: '${env:CA}'}}"
    settings = load(tmp_path, VALID.replace('loki: {url: "http://127.0.0.1:3100"}', loki))
    assert settings.loki.url == "http://loki.example:3100"
    assert settings.loki.page_entries == 123
    assert settings.loki.tls.ca_file == tmp_path / "ca.pem"


def test_other_dollar_signs_are_left_alone() -> None:
    findings: list[object] = []
    text = '{job=~"a${b}$"}'
    assert interpolate({"selector": text}, findings) == {"selector": text}  # type: ignore[arg-type]
    assert not findings


def test_times_need_no_quotes(tmp_path: Path) -> None:
    settings = load(tmp_path, VALID.replace("targets: [archive]", "start: 2026-01-31T00:00:00+01:00"))
    assert settings.tenants["acme"].start == "2026-01-31T00:00:00+01:00"


def test_a_section_without_values_keeps_its_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, VALID + "bus:\nservice:\n  listen:\n")
    assert settings.service.listen == "127.0.0.1:9464"


def test_settings_are_frozen_and_do_not_echo_values() -> None:
    loki = LokiSettings(url="http://h")
    with pytest.raises(ValidationError):
        loki.url = "http://other"
    with pytest.raises(ValidationError) as caught:
        LokiSettings(url="geheim")
    assert "geheim" not in str(caught.value)
