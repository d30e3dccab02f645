"""Wiring: the one place that knows every part, and the order in which they start and stop.

:func:`run_service` is ``loki-siem run``: it prepares the bus and hands over to the supervisor. :func:`run_reader` and
:func:`run_delivery` are what a child process does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from connectors.base import Connector, ConnectorContext, TargetError
from connectors.registry import factories, settings_models
from connectors.schemas import build as build_schema
from exporter.bus import create_bus
from exporter.bus.base import Assignment, Bus
from exporter.delivery.engine import TargetEngine
from exporter.delivery.outgoing import OutgoingConnector
from exporter.domain.checkpoints import LiveCheckpoint
from exporter.domain.clock import Clock, SystemClock
from exporter.domain.tenants import shard_of
from exporter.errors import BusUnavailable, ConfigurationError, ExporterError, Finding
from exporter.loki.client import LokiClient
from exporter.ops import metrics
from exporter.ops.budget import ByteBudget
from exporter.ops.log import describe, trust_error_text
from exporter.pipeline import Pipeline, compile_pipeline
from exporter.pipeline.redact.policy import uses_pseudonyms
from exporter.pseudonyms.open import open_vaults
from exporter.settings.load import load_settings
from exporter.settings.model import Settings
from exporter.supervisor import Supervisor
from exporter.worker import ShardWorker, WorkerParts

log = structlog.get_logger()

#: Longest wait of one membership poll; also how quickly a stop is noticed.
MEMBERSHIP_POLL_SECONDS = 0.5
#: Event ids kept for late lines: 5 MB are 1,000 lines a second over the near horizon of five minutes.
NEAR_BYTES_PER_TENANT = 5_000_000
#: How long start-up waits for a bus that is still starting, before it gives up with the bus's own message.
BUS_WAIT_SECONDS = 60.0


def load(config_path: Path) -> Settings:
    """Load a configuration with the settings models of the connectors that it uses. Raises ConfigurationError."""
    return load_settings(config_path, settings_models())


def worker_name(role: str) -> str:
    """Return a name that no other process has, readable in logs."""
    return f"{socket.gethostname()}-{role}-{os.getpid()}-{secrets.token_hex(3)}"


def identity_key(settings: Settings) -> bytes:
    """Return the key of event ids (empty: plain digests). BLAKE2b takes at most 64 bytes."""
    secret = settings.service.identity_key_file
    return secret.reveal().encode()[:64] if secret is not None else b""


def compile_pipelines(settings: Settings, tenants: Sequence[str] | None = None) -> dict[str, Pipeline]:
    """Compile every tenant's pipeline. Raises ConfigurationError with the findings of all of them."""
    pipelines: dict[str, Pipeline] = {}
    findings: list[Finding] = []
    key = identity_key(settings)
    for name in settings.tenants if tenants is None else tenants:
        try:
            needed = [name] if uses_pseudonyms(settings.tenants[name].policy) else []
            vault = open_vaults(settings, needed).get(name)
            pipelines[name] = compile_pipeline(name, settings.tenants[name], identity_key=key, tokens=vault)
        except ConfigurationError as error:
            findings.extend(error.findings)
    if findings:
        raise ConfigurationError(findings)
    return pipelines


def prepare_bus(settings: Settings) -> Bus:
    """Create the bus and what it needs on its side, waiting a while for one that is just starting."""
    bus = create_bus(settings.bus)
    deadline = time.monotonic() + BUS_WAIT_SECONDS
    while True:
        try:
            # A target without tenants never reads, so events must not be kept for it.
            bus.prepare(list(settings.tenants), [t for t in settings.targets if settings.tenants_of(t)])
        except BusUnavailable as error:
            if time.monotonic() > deadline:
                raise
            log.warning("bus_not_ready", **describe(error))
            time.sleep(1.0)
        else:
            return bus


class ReaderRole:
    """What a reader process runs: membership, and a worker for each shard that it is given."""

    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        *,
        until_ns: int | None,
        on_progress: Callable[[LiveCheckpoint, bool], None],
        on_stopped: Callable[[str, str], None],
        clock: Clock | None = None,
    ) -> None:
        self._settings, self._bus, self._until_ns = settings, bus, until_ns
        self._on_progress, self._on_stopped = on_progress, on_stopped
        self.ready = False
        self._clock = clock or SystemClock()
        self._name = worker_name("reader")
        self._workers: dict[int, tuple[ShardWorker, asyncio.Task[None]]] = {}
        self._handing_over: set[asyncio.Task[None]] = set()
        self._tenants_of: dict[int, list[str]] = {}
        for tenant in settings.tenants:
            self._tenants_of.setdefault(shard_of(tenant, bus.shard_count), []).append(tenant)

    @property
    def shards(self) -> int:
        return len(self._workers)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop``; then commit what is read and leave within the drain deadline."""
        settings = self._settings
        pipelines = await asyncio.to_thread(compile_pipelines, settings)
        try:
            await self._run_with(pipelines, stop)
        finally:
            for pipeline in pipelines.values():
                await asyncio.to_thread(pipeline.close)

    async def _run_with(self, pipelines: Mapping[str, Pipeline], stop: asyncio.Event) -> None:
        settings = self._settings
        async with LokiClient(settings.loki, clock=self._clock) as client:
            parts = WorkerParts(
                settings=settings,
                bus=self._bus,
                client=client,
                pipelines=pipelines,
                clock=self._clock,
                budget=ByteBudget(settings.service.memory_bytes // 2),
                read_ahead=ByteBudget(settings.service.memory_bytes // 4),
                near_bytes_per_tenant=min(
                    NEAR_BYTES_PER_TENANT, settings.service.memory_bytes // 4 // len(settings.tenants)
                ),
                worker=self._name,
                identity_key=identity_key(settings),
                on_progress=self._on_progress,
                on_stopped=self._on_stopped,
            )
            while not stop.is_set():
                try:
                    await self._be_member(parts, stop)
                except BusUnavailable as error:
                    log.warning("membership_unavailable", **describe(error))
                    await self._clock.sleep(1.0)

    async def _be_member(self, parts: WorkerParts, stop: asyncio.Event) -> None:
        """Join, and run what is assigned until ``stop``. Raises BusUnavailable when the membership is over: join anew."""
        membership = await asyncio.to_thread(self._bus.membership, self._name)
        self.ready = True
        try:
            while not stop.is_set():
                assignment = await asyncio.to_thread(membership.poll, MEMBERSHIP_POLL_SECONDS)
                self._follow(assignment, parts, membership.owns, membership.released)
        finally:
            await self._stop_all()
            await asyncio.to_thread(membership.close)

    def _follow(
        self,
        assignment: Assignment,
        parts: WorkerParts,
        owns: Callable[[int], bool],
        released: Callable[[int], None],
    ) -> None:
        for shard in assignment.lost:
            if (running := self._workers.pop(shard, None)) is not None:
                running[1].cancel()
        for shard in assignment.revoked:
            # Finishing takes a commit; polling must go on meanwhile or the group throws us out.
            task = asyncio.create_task(self._hand_over(shard, released))
            self._handing_over.add(task)
            task.add_done_callback(self._handing_over.discard)
        for shard in assignment.gained:
            tenants = self._tenants_of.get(shard)
            if tenants and shard not in self._workers:
                worker = ShardWorker(shard, tenants, parts, owns, self._until_ns)
                self._workers[shard] = (worker, asyncio.create_task(worker.run(), name=f"shard-{shard}"))
        metrics.SHARDS_OWNED.set(len(self._workers))

    async def _hand_over(self, shard: int, released: Callable[[int], None]) -> None:
        if (running := self._workers.pop(shard, None)) is not None:
            worker, task = running
            worker.stop()
            await _within(task, self._settings.service.drain_deadline_seconds)
        await asyncio.to_thread(released, shard)

    async def _stop_all(self) -> None:
        for worker, _ in self._workers.values():
            worker.stop()
        tasks = [*(task for _, task in self._workers.values()), *self._handing_over]
        if tasks:
            await asyncio.gather(*(_within(t, self._settings.service.drain_deadline_seconds) for t in tasks))
        self._workers.clear()


async def _within(task: asyncio.Task[None], seconds: float) -> None:
    """Wait for a task, at most so long; then cancel it. Its errors are logged, not raised."""
    _, late = await asyncio.wait({task}, timeout=seconds)
    if late:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        try:
            await task
        except Exception as error:  # noqa: BLE001 - a failed worker must not keep others from stopping
            log.error("shard_failed", **describe(error))


def build_connector(settings: Settings, name: str, state_dir: Path) -> Connector:
    """Build the connector of a target; one whose target has a schema of its own maps and scans on the way. Called by the
    delivery and by ``dlq redrive``. Raises ConfigurationError.
    """
    target = settings.targets[name]
    context = ConnectorContext(target=name, state_dir=str(state_dir))
    connector = factories()[target.kind].build(target, context)
    encoder = build_schema(target.schema, target.schema_version)
    if encoder is None:
        return connector
    pipelines = compile_pipelines(settings)  # of all tenants: dead letters may be of one that has left the target
    guards = {tenant: pipeline.guard() for tenant, pipeline in pipelines.items()}
    return OutgoingConnector(name, connector, encoder, guards)


class DeliveryRole:
    """What a delivery process runs: one engine per target given to it."""

    def __init__(self, settings: Settings, bus: Bus, targets: Sequence[str], *, clock: Clock | None = None) -> None:
        trust_error_text(TargetError)
        self._settings = settings
        clock = clock or SystemClock()
        share = settings.service.memory_bytes // max(1, len(targets))
        self._engines: dict[str, TargetEngine] = {}
        for name in targets:
            tenants = settings.tenants_of(name)
            if not tenants:
                continue
            target = settings.targets[name]
            directory = settings.service.state_dir / "targets" / name
            directory.mkdir(parents=True, exist_ok=True)
            connector = build_connector(settings, name, directory)
            self._engines[name] = TargetEngine(
                name,
                target,
                connector,
                bus,
                tenants,
                worker=worker_name("delivery"),
                clock=clock,
                memory_bytes=share,
                drain_deadline_seconds=settings.service.drain_deadline_seconds,
            )

    def snapshots(self) -> dict[str, Mapping[str, Any]]:
        """Return each engine's state for the supervisor."""
        return {name: engine.snapshot() for name, engine in self._engines.items()}

    async def run(self, stop: asyncio.Event, finish: asyncio.Event) -> None:
        """Run all engines until ``stop``, or until all is delivered once ``finish`` is set."""
        async with asyncio.TaskGroup() as group:
            for name, engine in self._engines.items():
                group.create_task(self._run_engine(name, engine, stop, finish), name=f"target-{name}")

    async def _run_engine(self, name: str, engine: TargetEngine, stop: asyncio.Event, finish: asyncio.Event) -> None:
        """Run one engine; a fault of it is logged and it starts anew, so one target never takes others down (G7)."""
        while not stop.is_set():
            try:
                await engine.run(stop, finish)
            except Exception as error:  # noqa: BLE001
                level = log.warning if isinstance(error, ExporterError | TargetError) else log.error
                level("target_restarts", target=name, **describe(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 5.0)
            else:
                return


def run_service(
    settings: Settings,
    config_path: Path,
    *,
    role: str = "all",
    targets: Sequence[str] = (),
    drain: bool = False,
) -> int:
    """Run the service until a signal (or, draining, until everything is delivered); return the exit code."""
    compile_pipelines(settings)
    prepare_bus(settings).close()
    return Supervisor(settings, config_path, role=role, targets=targets, drain=drain).run()
