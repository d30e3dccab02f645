"""The processes of the demo: stand-in Loki, stand-in HEC, and the real service between them."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from string import Template
from typing import Self

import httpx
import orjson

TENANTS = ("acme", "umbrella")
START_SECONDS = 120.0
STOP_SECONDS = 40.0

_CONFIG = Template("""\
version: 1
loki: {url: "$loki"}
bus: {kind: sqlite, path: state/bus.db}
service: {listen: "127.0.0.1:$port", state_dir: state, log_format: json}
tenants:
  acme:
    selector: '{job=~".+"}'
    data_class: security
    targets: [soc, archive]
  umbrella:
    selector: '{job=~".+"}'
    targets: [soc, archive]
targets:
  soc: {kind: splunk_hec, url: "$hec", token_file: secrets/hec}
  archive: {kind: file, directory: out}
""")


class DemoError(RuntimeError):
    """Something of the demo did not start or end; the message says which log to read."""


class Stack:
    """Everything below one directory, made anew. A context manager that ends what it started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.loki_url = self.hec_url = ""
        self.port = _free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def store(self) -> Path:
        """What the stand-in HEC accepted, one envelope a line."""
        return self.directory / "hec.ndjson"

    @property
    def archive(self) -> Path:
        return self.directory / "out"

    @property
    def config(self) -> Path:
        return self.directory / "config.yaml"

    def __enter__(self) -> Self:
        for name in ("state", "out", "secrets", "logs"):
            shutil.rmtree(self.directory / name, ignore_errors=True)
        self.store.unlink(missing_ok=True)
        for name in ("secrets", "logs"):
            (self.directory / name).mkdir(parents=True)
        token = self.directory / "secrets" / "hec"
        token.write_text(secrets.token_hex(16))
        token.chmod(0o600)
        self.loki_url = orjson.loads(self._start_standin("loki", ["--port", "0"]))["url"]
        hec = ["--port", "0", "--token-file", str(token), "--store", str(self.store)]
        self.hec_url = self._start_standin("hec", hec).decode().strip()
        self.config.write_text(_CONFIG.substitute(loki=self.loki_url, hec=self.hec_url, port=self.port))
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes.values()):
            if process.poll() is None:
                process.terminate()
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _spawn(self, name: str, arguments: list[str], stdout: int | None) -> subprocess.Popen[bytes]:
        with (self.directory / "logs" / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
                [sys.executable, "-m", *arguments],
                stdout=stdout if stdout is not None else log,
                stderr=log,
                env=os.environ,
            )
        self._processes[name] = process
        return process

    def _start_standin(self, name: str, arguments: list[str]) -> bytes:
        process = self._spawn(name, [f"exporter.sandbox.{name}", *arguments], subprocess.PIPE)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise DemoError(f"the stand-in {name} did not start; see {self.directory}/logs/{name}.log")
        return line

    def start_service(self) -> None:
        """Start ``loki-siem run`` and wait until it is ready. Raises DemoError."""
        process = self._spawn("service", ["exporter", "run", "-c", str(self.config)], None)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{self.port}/healthz/ready").status_code == 200:
                    return
            time.sleep(0.1)
        raise DemoError(f"the service did not become ready; see {self.directory}/logs/service.log")

    def stop_service(self) -> None:
        """Send SIGTERM and wait for the drain. Raises DemoError."""
        process = self._processes["service"]
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise DemoError("the service did not stop within its deadline") from None
        if code:
            raise DemoError(f"the service ended with {code}; see {self.directory}/logs/service.log")

    def metrics(self) -> str:
        """Return the service's metrics, or nothing while it cannot answer."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=10).text
        return ""

    def accepted_by_loki(self) -> dict[str, int]:
        """Return how many distinct entries the stand-in Loki accepted, by tenant."""
        return {
            tenant: int(
                httpx.get(f"{self.loki_url}/sandbox/truth", params={"tenant": tenant}, timeout=60).json()["count"]
            )
            for tenant in TENANTS
        }

    def ids_accepted_by_loki(self, tenant: str) -> list[str]:
        """Return the event ids that the exporter must have made of what the stand-in accepted."""
        answer = httpx.get(f"{self.loki_url}/sandbox/truth", params={"tenant": tenant, "ids": "1"}, timeout=60)
        ids: list[str] = answer.json()["ids"]
        return ids


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
