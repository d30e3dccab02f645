"""Target models and a writer of configuration files for tests of the settings and of the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from connectors.base import TargetSettings
from exporter.domain.secrets import Secret
from exporter.errors import ConfigurationError, Finding
from exporter.settings.load import Check, load_settings
from exporter.settings.model import Settings


class HttpTarget(TargetSettings):
    kind: Literal["http"]
    url: str = Field(description="Address of the collector.", pattern="^https?://", examples=["https://siem:8088"])
    token_file: Secret = Field(description="File with the token.")
    ca_file: Path | None = None
    extra_token_files: tuple[Secret, ...] = ()


class FolderTarget(TargetSettings):
    kind: Literal["file"]
    directory: Path


MODELS = {"http": HttpTarget, "file": FolderTarget}

VALID = """\
version: 1
loki: {url: "http://127.0.0.1:3100"}
tenants:
  acme: {selector: '{job="a"}', targets: [archive]}
targets:
  archive: {kind: file, directory: out}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "loki-siem.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str, checks: tuple[Check, ...] = ()) -> Settings:
    return load_settings(write(folder, text), MODELS, checks)


def findings(folder: Path, text: str, checks: tuple[Check, ...] = ()) -> list[Finding]:
    """Return what is wrong with a configuration; empty when nothing is."""
    try:
        load(folder, text, checks)
    except ConfigurationError as error:
        return list(error.findings)
    return []
