"""The whole service for tests: a configuration in a folder and what runs by it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from pydantic import TypeAdapter

from exporter.bus import create_bus
from exporter.domain.checkpoints import LiveCheckpoint
from exporter.errors import ExporterError
from exporter.settings.model import BusSettings
from tests.support.bus_contents import BusContents, kafka_contents, sqlite_contents
from tests.support.feed import Feed
from tests.support.kafka import free_port
from tests.support.programs import PATIENCE_SECONDS, ROOT, Processes, Program, stored_ids, wait_until


@dataclass
class Installation:
    """A configuration and what runs by it. ``tenants`` and ``targets`` are written as they are; tenants get the usual selector."""

    running: Processes
    loki_url: str
    bus: dict[str, Any]
    tenants: dict[str, dict[str, Any]]
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    loki: dict[str, Any] = field(default_factory=dict)
    service: dict[str, Any] = field(default_factory=dict)
    name: str = "service"

    @property
    def directory(self) -> Path:
        return self.running.directory

    @property
    def config_path(self) -> Path:
        return self.directory / f"{self.name}.yaml"

    def write(self, **service: Any) -> Path:
        """Write the configuration; ``service`` overrides keys of that section."""
        document = {
            "version": 1,
            "loki": {"url": self.loki_url, **self.loki},
            "bus": self.bus,
            "service": {"state_dir": "state", "log_format": "json", **self.service, **service},
            "tenants": {name: {"selector": '{job=~".+"}', **keys} for name, keys in self.tenants.items()},
            "targets": self.targets,
        }
        self.config_path.write_text(yaml.safe_dump(document))
        return self.config_path

    def start(self, name: str, *arguments: str, **service: Any) -> Program:
        """Start ``run`` with a free port for its probes (``port`` of the program)."""
        service.setdefault("listen", f"127.0.0.1:{free_port()}")
        path = self.write(**service).rename(self.directory / f"{name}.yaml")
        return self.running.start(name, [sys.executable, "-m", "exporter", "run", "-c", str(path), *arguments])

    def drain(self, *arguments: str, seconds: float = PATIENCE_SECONDS, **service: Any) -> tuple[int, str]:
        """Run ``run --drain`` to its end; return the exit code and what it printed."""
        program = self.start("drain", "--drain", *arguments, **service)
        before = program.out.stat().st_size
        code = program.wait(seconds)
        return code, program.out.read_bytes()[before:].decode()

    def command(self, *arguments: str, configuration: str | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run another command of the CLI with the configuration of a started program, or a fresh one."""
        path = self.directory / f"{configuration}.yaml" if configuration else self.write()
        return subprocess.run(
            [sys.executable, "-m", "exporter", *arguments, "-c", str(path)],
            check=False,
            capture_output=True,
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=PATIENCE_SECONDS,
        )

    def probe(self, name: str, path: str) -> httpx.Response | None:
        """Ask the probes of a started program; None while nothing listens."""
        listen = yaml.safe_load((self.directory / f"{name}.yaml").read_text())["service"]["listen"]
        try:
            return httpx.get(f"http://{listen}{path}", timeout=5)
        except httpx.TransportError:
            return None

    def wait_ready(self, *names: str) -> None:
        for name in names:
            wait_until(
                lambda n=name: (answer := self.probe(n, "/healthz/ready")) is not None and answer.status_code == 200,
                f"{name} is ready",
            )

    def wait_stored(self, feed: Feed, directory: Path) -> None:
        """Wait until every line that Loki took stands in the files of a file target."""
        expected = {event_id for tenant in feed.tenants for event_id in feed.ids(tenant)}
        wait_until(lambda: expected <= set(stored_ids(directory)), "all lines are in the files")

    def wait_logged(self, program: Program, name: str) -> None:
        wait_until(lambda: program.logged(name), f"{program.name} logs {name}")

    def contents(self) -> BusContents:
        """Everything committed on the bus."""
        if self.bus["kind"] == "kafka":
            return kafka_contents(self.bus["bootstrap_servers"], self.bus["topic_prefix"], list(self.tenants))
        return sqlite_contents(self.directory / self.bus["path"])

    def lives(self) -> dict[str, LiveCheckpoint]:
        """Live checkpoints by tenant as a bus client sees them; cheaper than all contents. Empty before the bus exists."""
        bus = create_bus(TypeAdapter(BusSettings).validate_python(self.bus | self._anchored()))
        try:
            raw = [value for key, value in bus.all_checkpoints().items() if key.startswith("live/")]
        except ExporterError:
            return {}
        finally:
            bus.close()
        return {live.tenant: live for live in map(LiveCheckpoint.decode, raw)}

    def _anchored(self) -> dict[str, Any]:
        return {"path": self.directory / self.bus["path"]} if self.bus["kind"] == "sqlite" else {}

    def owners(self) -> set[int]:
        """Pids of the readers that committed last for some tenant."""
        return {pid_of(live.worker) for live in self.lives().values()}


def pid_of(worker: str) -> int:
    """The pid in a worker's name (``exporter.app.worker_name``)."""
    return int(worker.split("-reader-")[1].split("-", maxsplit=1)[0])


SQLITE_BUS: dict[str, Any] = {"kind": "sqlite", "path": "state/bus.db"}


def kafka_bus(bootstrap_servers: str, prefix: str, **keys: Any) -> dict[str, Any]:
    """A Kafka section for a single broker."""
    return {
        "kind": "kafka",
        "bootstrap_servers": bootstrap_servers,
        "topic_prefix": prefix,
        "shard_count": 8,
        "partitions": 2,
        "replication_factor": 1,
        "min_insync_replicas": 1,
        **keys,
    }
