"""The supervisor: starts the reader and delivery processes, keeps them running, answers probes and metrics, drains.

One process per core carries the CPU work, because Python threads would share one core. A child that dies or whose heartbeat
stops is replaced; its shards and lanes are taken over through the bus, fenced, so a restart loses and repeats nothing there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from exporter.ops.health import HealthServer
from exporter.settings.model import Settings

log = structlog.get_logger()

#: A child whose loop has not turned for so long is stuck: it is killed and replaced. Longer than any blocking step of a
#: child (a page of the largest size takes well under a second).
STUCK_SECONDS = 60.0
#: A drain in which neither a frontier nor a delivery moved for so long has failed; what is left is printed.
DRAIN_STALL_SECONDS = 300.0
#: Beyond the drain deadline a child gets this long to write its last lines before it is killed.
KILL_MARGIN_SECONDS = 5.0
MAX_RESTART_DELAY_SECONDS = 30.0


class Child:
    """One supervised process and its last report."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name, self._arguments, self._environment = name, list(arguments), dict(environment)
        self.report: dict[str, Any] = {}
        #: Last states of targets of the processes that ended before this one; the totals of a drain need them.
        self.ended: list[Mapping[str, Mapping[str, Any]]] = []
        self.beat = time.monotonic()
        self.process: asyncio.subprocess.Process | None = None
        self.finished = self.told = False
        self.restarts = 0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def ready(self) -> bool:
        """Past its start, as it reported itself."""
        return self.alive and bool(self.report.get("ready"))

    async def run_once(self) -> int:
        """Start the process, follow its reports, return its exit code."""
        self.ended.append(self.report.pop("targets", {}))
        self.report["ready"] = self.told = False
        reading, writing = os.pipe()
        try:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "exporter.child",
                *self._arguments,
                "--report-fd",
                str(writing),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(writing,),
                env=self._environment,
            )
        finally:
            os.close(writing)
        self.beat = time.monotonic()
        follower = asyncio.create_task(self._follow(reading))
        code = await self.process.wait()
        await follower
        with contextlib.suppress(OSError):
            mark_process_dead(self.process.pid, self._environment["PROMETHEUS_MULTIPROC_DIR"])  # type: ignore[no-untyped-call]
        return code

    async def _follow(self, descriptor: int) -> None:
        reader = asyncio.StreamReader(limit=1 << 26)  # a report names every tenant
        with os.fdopen(descriptor, "rb") as pipe:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), pipe
            )
            while line := await reader.readline():
                self.beat = time.monotonic()
                with contextlib.suppress(orjson.JSONDecodeError):
                    self.report.update(orjson.loads(line))
            transport.close()

    def finish(self) -> None:
        """Tell the process once that nothing more will come. Before its start and in its end it has no ear for it: the
        signal would kill it.
        """
        if self.ready and not self.told:
            self.told = True
            self.signal(signal.SIGUSR1)

    def signal(self, number: int) -> None:
        if self.alive:
            assert self.process is not None
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Supervisor:
    """See the module docstring. Built by ``exporter.app.run_service``."""

    def __init__(
        self, settings: Settings, config_path: Path, *, role: str, targets: Sequence[str], drain: bool
    ) -> None:
        self._settings, self._role, self._drain = settings, role, drain
        self._targets = [t for t in (targets or settings.targets) if settings.tenants_of(t)]
        self._config_path = config_path
        self._until_ns = time.time_ns() if drain else None
        self._metrics_dir = settings.service.state_dir / "run" / str(os.getpid())
        self._stop = asyncio.Event()
        self._exit_code = 0
        self._children = self._plan()

    def _plan(self) -> list[Child]:
        service, cores = self._settings.service, os.cpu_count() or 1
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(self._metrics_dir)}
        base = ["--config", str(self._config_path)]
        children = []
        if self._role in ("all", "reader"):
            number = service.reader_processes or min(cores, len(self._settings.tenants))
            until = ["--until-ns", str(self._until_ns)] if self._until_ns is not None else []
            children += [Child(f"reader-{i}", [*base, "--role", "reader", *until], environment) for i in range(number)]
        if self._role in ("all", "delivery") and self._targets:
            number = service.delivery_processes or min(cores, len(self._targets))
            for i in range(number):
                mine = self._targets[i::number] or [self._targets[i % len(self._targets)]]
                arguments = [*base, "--role", "delivery", *(x for t in mine for x in ("--target", t))]
                children.append(Child(f"delivery-{i}", arguments, environment))
        return children

    def run(self) -> int:
        """Run to the end; return the exit code."""
        self._clean_old_runs()
        self._metrics_dir.mkdir(parents=True, exist_ok=True)
        health = None if self._drain else HealthServer(self._settings.service.listen, self._probes(), self._metrics)
        try:
            if health is not None:
                health.start()
                log.info("listening", port=health.port)
            return asyncio.run(self._run())
        finally:
            if health is not None:
                health.stop()
            shutil.rmtree(self._metrics_dir, ignore_errors=True)

    def _clean_old_runs(self) -> None:
        """Remove metric files of runs that died without cleaning up."""
        for directory in (self._settings.service.state_dir / "run").glob("*"):
            if directory.name.isdigit() and not Path(f"/proc/{directory.name}").exists():
                shutil.rmtree(directory, ignore_errors=True)

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        keepers = [asyncio.create_task(self._keep(child)) for child in self._children]
        watch = asyncio.create_task(self._replace_stuck())
        drain = asyncio.create_task(self._drain_all()) if self._drain else None
        stopping = asyncio.create_task(self._stop.wait())
        everything = asyncio.gather(*keepers)
        awaited: set[asyncio.Future[Any]] = {everything, stopping}
        if drain is not None:
            awaited.add(drain)
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        if drain is not None and drain.done():
            self._exit_code = self._exit_code or drain.result()
        self._stop.set()
        for child in self._children:
            child.signal(signal.SIGTERM)
        grace = self._settings.service.drain_deadline_seconds + KILL_MARGIN_SECONDS
        _, late = await asyncio.wait({everything}, timeout=grace)
        if late:
            for child in self._children:
                child.signal(signal.SIGKILL)
            await everything
        for task in (watch, stopping, drain):
            if task is not None:
                task.cancel()
        return self._exit_code

    async def _keep(self, child: Child) -> None:
        """Run a child until it is no longer wanted, with growing pauses between restarts."""
        delay = 1.0
        while not self._stop.is_set():
            started = time.monotonic()
            code = await child.run_once()
            # A process that was still starting has no handler for SIGTERM yet.
            if (code == 0 and self._drain) or (code in (0, -signal.SIGTERM) and self._stop.is_set()):
                child.finished = code == 0
                return
            if code == 2:  # a configuration error: another try cannot help
                self._exit_code = 2
                self._stop.set()
                return
            if self._stop.is_set():
                self._exit_code = self._exit_code or (1 if code else 0)
                return
            child.restarts += 1
            delay = 1.0 if time.monotonic() - started > 60 else min(delay * 2, MAX_RESTART_DELAY_SECONDS)
            log.warning("process_ended", process=child.name, code=code, restart_in_seconds=delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)

    async def _replace_stuck(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            for child in self._children:
                if child.alive and time.monotonic() - child.beat > STUCK_SECONDS:
                    log.error("process_stuck", process=child.name)
                    child.signal(signal.SIGKILL)

    # --- draining -----------------------------------------------------------------------------------------------------

    async def _drain_all(self) -> int:
        """Wait until all is read, then until all is delivered; print the totals. Returns the exit code."""
        if not await self._until(self._all_read):
            return self._fail_drain()
        if not await self._until(self._all_delivered):
            return self._fail_drain()
        self._print_totals()
        return 1 if self._unread() else 0

    async def _until(self, reached: Any) -> bool:
        """Poll a condition; False when nothing has moved for too long."""
        last, moved = None, time.monotonic()
        while not reached():
            state = orjson.dumps([c.report for c in self._children], default=str)
            if state != last:
                last, moved = state, time.monotonic()
            if time.monotonic() - moved > DRAIN_STALL_SECONDS:
                return False
            await asyncio.sleep(0.1)
        return True

    def _merged(self, key: str) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for child in self._children:
            merged.update(child.report.get(key, {}))
        return merged

    def _all_read(self) -> bool:
        if self._role == "delivery":
            return True
        return self._done() | set(self._merged("stopped")) >= set(self._settings.tenants)

    def _done(self) -> set[str]:
        return {t for c in self._children for t, s in c.report.get("tenants", {}).items() if s["done"]}

    def _unread(self) -> dict[str, str]:
        """Tenants that stopped and why, without those that another process read to the end later."""
        done = self._done()
        return {tenant: message for tenant, message in self._merged("stopped").items() if tenant not in done}

    def _all_delivered(self) -> bool:
        """Tell whether every delivery process is done; say to each new one that nothing more will come."""
        waiting = [c for c in self._children if c.name.startswith("delivery") and not c.finished]
        for child in waiting:
            child.finish()
        return not waiting

    def _fail_drain(self) -> int:
        print(f"drain: nothing moved for {DRAIN_STALL_SECONDS:.0f} s; see `loki-siem status`", file=sys.stderr)
        self._print_totals()
        return 1

    def _print_totals(self) -> None:
        for tenant, state in sorted(self._merged("tenants").items()):
            print(
                f"tenant {tenant}: events {state['events']}, late {state['late']}, held {state['held']}, "
                f"troubled windows {state['troubles']}"
            )
        for tenant, message in sorted(self._unread().items()):
            print(f"tenant {tenant}: not read: {message}")
        for target, delivered in sorted(self._delivered().items()):
            print(f"target {target}: delivered {delivered['delivered']}, dead letters {delivered['dead_letters']}")

    def _delivered(self) -> dict[str, dict[str, int]]:
        totals: dict[str, dict[str, int]] = {}
        reports = [r for c in self._children for r in (*c.ended, c.report.get("targets", {}))]
        for target, snapshot in (item for report in reports for item in report.items()):
            total = totals.setdefault(target, {"delivered": 0, "dead_letters": 0})
            for key in total:
                total[key] += int(snapshot.get(key, 0))
        return totals

    # --- probes and metrics -------------------------------------------------------------------------------------------

    def _metrics(self) -> tuple[bytes, str]:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._metrics_dir))  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def _probes(self) -> dict[str, Any]:
        def processes() -> dict[str, Any]:
            now = time.monotonic()
            return {
                "processes": {
                    c.name: {"alive": c.alive, "beat_age_seconds": round(now - c.beat, 1), "restarts": c.restarts}
                    for c in self._children
                }
            }

        def ready() -> tuple[bool, Mapping[str, Any]]:
            return all(c.ready for c in self._children), processes()

        def live() -> tuple[bool, Mapping[str, Any]]:
            now = time.monotonic()
            return all(not c.alive or now - c.beat < 2 * STUCK_SECONDS for c in self._children), processes()

        return {"startup": ready, "ready": ready, "live": live}
