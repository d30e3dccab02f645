"""Real Loki processes for tests: one binary with all roles, or a cell whose ingesters are processes of their own.

Only a cell shows what decides the reader's design: an ingester truncates its own answer, and one whose messages pass the
gRPC limit vanishes from a clean 200 (reference: loki ``pkg/ingester/instance.go``, ``pkg/iter/entry_iterator.go``). The
roles other than the ingester share one process, which loses nothing of that and saves two processes.

``LOKI_BIN`` names the binary (else ``loki`` on PATH). Everything listens on loopback only; usage reporting is off.
"""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.kafka import free_port

START_SECONDS = 60.0
STOP_SECONDS = 15.0
MISSING = "needs a real Loki: set LOKI_BIN or put a loki binary on PATH"
HOST = "127.0.0.1"
_FRONT = "distributor,query-scheduler,query-frontend,querier,compactor"


def loki_binary() -> str | None:
    """Return the path of a Loki binary, or None: then tests marked ``loki`` skip with :data:`MISSING`."""
    found = os.environ.get("LOKI_BIN") or shutil.which("loki")
    return found and str(Path(found).resolve())


class _Process:
    """One Loki process with its own ports, directory and log."""

    def __init__(self, name: str, target: str, store: Path) -> None:
        self.name, self.target, self.store, self.home = name, target, store, store / name
        self.http_port, self.grpc_port, self.gossip_port = free_port(), free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.http_port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log_path(self) -> Path:
        return self.home / "loki.log"

    def launch(self, binary: str, config: Mapping[str, Any]) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        config_path = self.home / "loki.yaml"
        config_path.write_text(yaml.safe_dump(dict(config)))
        command = [binary, f"-config.file={config_path}", f"-target={self.target}"]
        with self.log_path.open("ab") as log:
            # Newer releases ignore the configured directory of the store and take the working directory instead
            # (storage_config.use_thanos_objstore is on; older ones do not know that key), so both are the same.
            self._process = subprocess.Popen(
                [*command, f"-ingester.lifecycler.ID={self.name}"], stdout=log, stderr=log, cwd=self.store
            )

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """Kill -9; its write-ahead log stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            self._process = None


class RealLoki:
    """``ingesters=0``: a single binary (``target=all``). Otherwise a cell: that many ingesters and one process with all
    other roles. ``url`` takes pushes and queries. ``overrides`` is merged deeply into the configuration.

    The blocks of chunks are as small as wanted through ``block_bytes``: repeated pushes are stored twice only when a
    block was cut between them, which with Loki's default (256 KiB) needs much data.
    """

    def __init__(
        self,
        directory: Path,
        *,
        ingesters: int = 0,
        replication: int = 1,
        block_bytes: int = 262_144,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self._directory = directory = directory.resolve()
        self._settings = {"replication": replication, "block_bytes": block_bytes}
        self._overrides = overrides or {}
        self.front = _Process("front", _FRONT if ingesters else "all", directory)
        self.ingesters = [_Process(f"ingester-{n}", "ingester", directory) for n in range(ingesters)]

    @property
    def url(self) -> str:
        return self.front.url

    @property
    def processes(self) -> list[_Process]:
        return [*self.ingesters, self.front]

    def start(self) -> RealLoki:
        """Start and wait until every ingester is seen in the ring and queries are answered. Raises RuntimeError."""
        binary = loki_binary()
        if binary is None:
            raise RuntimeError(MISSING)
        try:
            for process in self.processes:
                self.launch(process)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def launch(self, process: _Process) -> None:
        """Start one process; also to bring it back after ``kill``."""
        binary = loki_binary()
        assert binary is not None
        process.launch(binary, self._config(process))

    def stop(self) -> None:
        for process in self.processes:
            process.stop()

    def flush(self) -> None:
        """Let every ingester write its chunks to the store."""
        for process in self.ingesters or [self.front]:
            httpx.post(f"{process.url}/flush", timeout=START_SECONDS).raise_for_status()

    def _config(self, process: _Process) -> dict[str, Any]:
        gossip = {"bind_addr": [HOST], "bind_port": process.gossip_port, "advertise_addr": HOST}
        rules = str(self._directory / "rules")
        scheduler = f"{HOST}:{self.front.grpc_port}"
        seeds = [f"{HOST}:{p.gossip_port}" for p in self.processes]
        config: dict[str, Any] = {
            "auth_enabled": True,
            "analytics": {"reporting_enabled": False},
            "server": {
                "http_listen_address": HOST,
                "http_listen_port": process.http_port,
                "grpc_listen_address": HOST,
                "grpc_listen_port": process.grpc_port,
                "log_level": "warn",
            },
            "common": {
                "path_prefix": str(process.home),
                "instance_addr": HOST,
                "compactor_address": self.front.url,
                "replication_factor": self._settings["replication"],
                "storage": {"filesystem": {"chunks_directory": str(self._directory), "rules_directory": rules}},
                "ring": {"kvstore": {"store": "memberlist" if self.ingesters else "inmemory"}},
            },
            "ingester": {
                "chunk_block_size": self._settings["block_bytes"],
                "lifecycler": {"min_ready_duration": "0s", "final_sleep": "0s"},
            },
            "schema_config": {"configs": [_SCHEMA]},
            "limits_config": copy.deepcopy(_LIMITS),
            "pattern_ingester": {"enabled": False},
            # Named by address: through its ring a scheduler is found only after ten seconds.
            "query_scheduler": {"use_scheduler_ring": False},
            "frontend": {"scheduler_address": scheduler},
            "frontend_worker": {"scheduler_address": scheduler},
        }
        if self.ingesters:
            config["memberlist"] = {**gossip, "advertise_port": process.gossip_port, "join_members": seeds}
        _merge(config, self._overrides)
        return config

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with httpx.Client(timeout=5) as client:
            while not (self._all_ready(client) and self._ring_is_whole(client)):
                dead = [p for p in self.processes if not p.alive]
                if dead or time.monotonic() > deadline:
                    name, log = (dead or self.processes)[0].name, (dead or self.processes)[0].log_path
                    raise RuntimeError(f"Loki did not start ({name}):\n{log.read_text()[-3000:]}")
                time.sleep(0.2)

    def _all_ready(self, client: httpx.Client) -> bool:
        try:
            return all(client.get(f"{p.url}/ready").status_code == 200 for p in self.processes)
        except httpx.TransportError:
            return False

    def _ring_is_whole(self, client: httpx.Client) -> bool:
        """The distributor must know all ingesters, or it would place streams on some of them only."""
        ring = client.get(f"{self.url}/ring", headers={"Accept": "application/json"}).json()
        active = sum(member["state"] == "ACTIVE" for member in ring["shards"])
        return active >= max(1, len(self.ingesters))


_SCHEMA = {
    "from": "2020-10-24",
    "store": "tsdb",
    "object_store": "filesystem",
    "schema": "v13",
    "index": {"prefix": "index_", "period": "24h"},
}
#: Rates far above what a test pushes; everything else is Loki's default, as that is what the reader meets. Streams are
#: not sharded by themselves, so that the labels pushed are the labels read.
_LIMITS = {
    "ingestion_rate_mb": 1024,
    "ingestion_burst_size_mb": 1024,
    "per_stream_rate_limit": "1GB",
    "per_stream_rate_limit_burst": "1GB",
    "shard_streams": {"enabled": False},
}


def _merge(into: dict[str, Any], extra: Mapping[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


@contextlib.contextmanager
def running_loki(directory: Path, **options: Any) -> Iterator[RealLoki]:
    """A started :class:`RealLoki` that is stopped at the end."""
    loki = RealLoki(directory, **options).start()
    try:
        yield loki
    finally:
        loki.stop()
