"""Running the command in this process and as a real one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from exporter.cli.app import build_app

CONFIG = """\
version: 1
loki: {{url: "{loki}"}}
service: {{listen: "127.0.0.1:{port}"}}
tenants:
  acme: {{selector: '{{job="a"}}', targets: [archive]}}
  beta: {{selector: '{{job="b"}}'}}
targets:
  archive: {{kind: file, directory: out}}
"""


def write_config(folder: Path, loki: str = "http://127.0.0.1:9", port: int = 9, extra: str = "") -> Path:
    """Write a small configuration with a file target; nothing listens on port 9 (discard) here."""
    path = folder / "c.yaml"
    path.write_text(CONFIG.format(loki=loki, port=port) + extra, encoding="utf-8")
    return path


def invoke(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(build_app(), [str(a) for a in arguments], input=stdin)


def run_process(
    *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    environment = {k: v for k, v in os.environ.items() if k not in {"FORCE_COLOR", "TTY_COMPATIBLE"}}
    return subprocess.run(
        [sys.executable, "-m", "exporter", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        timeout=50,
        check=False,
        env=environment,
    )
