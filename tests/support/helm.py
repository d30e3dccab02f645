"""The real helm for the tests of the chart: ``HELM_BIN``, one on PATH, or built once with Go by
``python -m tests.support.helm fetch`` (two minutes). Without any of them these tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".services" / "helm"
CHART = ROOT / "deploy" / "helm" / "loki-siem-exporter"
MODULE = "helm.sh/helm/v3/cmd/helm@v3.22.0"
BUILD_SECONDS = 900.0


def helm_path() -> str | None:
    """Return the helm that there is."""
    built = HOME / "helm"
    return os.environ.get("HELM_BIN") or shutil.which("helm") or (str(built) if built.exists() else None)


def fetch() -> None:
    """Build helm unless there is one. Prints why it cannot; never fails, for only the chart's tests need it."""
    if helm_path() is not None:
        return
    if shutil.which("go") is None:
        print("no helm and no go to build it with: the chart's tests will be skipped", file=sys.stderr)
        return
    HOME.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"GOBIN": str(HOME), "GOFLAGS": ""}
    command = ["go", "install", MODULE]
    try:
        subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS)
    except subprocess.CalledProcessError as error:
        print(f"helm could not be built, the chart's tests will be skipped:\n{error.stderr[-1000:]}", file=sys.stderr)
    except subprocess.TimeoutExpired:
        print("building helm took too long, the chart's tests will be skipped", file=sys.stderr)


def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm; the caller looks at the outcome."""
    path = helm_path()
    assert path is not None
    return subprocess.run(
        [path, *arguments], check=False, capture_output=True, text=True, timeout=60, input=stdin, cwd=ROOT
    )


def render(
    values: dict[str, Any] | Path, *options: str, kube_version: str = "1.34.0"
) -> subprocess.CompletedProcess[str]:
    """Run ``helm template`` with these values."""
    # A helm that is not an official build takes Kubernetes 1.20 for granted.
    command = ["template", "rel", str(CHART), "-n", "siem", "--kube-version", kube_version, *options]
    if isinstance(values, Path):
        return run(*command, "-f", str(values))
    return run(*command, "-f", "-", stdin=yaml.safe_dump(values))


def documents(values: dict[str, Any] | Path, *options: str, kube_version: str = "1.34.0") -> list[dict[str, Any]]:
    """Return the objects that these values make."""
    done = render(values, *options, kube_version=kube_version)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


if __name__ == "__main__":
    fetch()
