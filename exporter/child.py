"""A child process of the supervisor: one reader or one delivery process.

Started as ``python -m exporter.child``. It reports a heartbeat with its progress as JSON lines on an inherited pipe, finishes
its work on SIGUSR1 (drain), stops on SIGTERM, and stops as well when its standard input closes: then the supervisor is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import structlog

from exporter.app import DeliveryRole, ReaderRole, load
from exporter.bus import create_bus
from exporter.domain.checkpoints import LiveCheckpoint
from exporter.errors import ConfigurationError
from exporter.ops import log as logs
from exporter.settings.model import Settings

log = structlog.get_logger()

BEAT_SECONDS = 0.5


class _Reporter:
    """Writes heartbeats to the supervisor's pipe, from a thread, so that a slow supervisor never blocks the work."""

    def __init__(self, descriptor: int, state: Callable[[], Mapping[str, Any]]) -> None:
        self._pipe = os.fdopen(descriptor, "wb")
        self._state = state

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone; standard input tells us to stop
            self._pipe.write(line)
            self._pipe.flush()

    async def send(self) -> None:
        await asyncio.to_thread(self._write, orjson.dumps(self._state()) + b"\n")

    async def run(self) -> None:
        while True:
            await self.send()
            await asyncio.sleep(BEAT_SECONDS)


async def _watch_parent(stop: asyncio.Event) -> None:
    """Set ``stop`` when standard input ends, that is when the supervisor died without telling us."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    stop.set()


async def _run(arguments: argparse.Namespace, settings: Settings) -> int:
    stop, finish = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    logs.log_loop_errors(loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, finish.set)
    watcher = asyncio.create_task(_watch_parent(stop))
    bus = create_bus(settings.bus)
    changed: dict[str, Any] = {}
    try:
        if arguments.role == "reader":
            await _run_reader(arguments, settings, bus, stop, changed)
        else:
            await _run_delivery(arguments, settings, bus, stop, finish)
    finally:
        watcher.cancel()
        await asyncio.to_thread(bus.close)
    return 0


async def _run_reader(
    arguments: argparse.Namespace, settings: Any, bus: Any, stop: asyncio.Event, changed: dict[str, Any]
) -> None:
    def progress(live: LiveCheckpoint, done: bool) -> None:
        changed[live.tenant] = {
            "frontier_ns": live.frontier_ns,
            "events": live.events,
            "late": live.late,
            "held": live.held,
            "filtered": live.filtered,
            "troubles": len(live.troubles),
            "done": done or changed.get(live.tenant, {}).get("done", False),
        }

    stopped: dict[str, str] = {}
    role = ReaderRole(settings, bus, until_ns=arguments.until_ns, on_progress=progress, on_stopped=stopped.__setitem__)
    reporter = _Reporter(
        arguments.report_fd,
        lambda: {"shards": role.shards, "tenants": changed, "stopped": stopped, "ready": role.ready},
    )
    await _with_beats(role.run(stop), reporter)


async def _run_delivery(
    arguments: argparse.Namespace, settings: Any, bus: Any, stop: asyncio.Event, finish: asyncio.Event
) -> None:
    role = DeliveryRole(settings, bus, arguments.target)
    reporter = _Reporter(arguments.report_fd, lambda: {"targets": role.snapshots(), "ready": True})
    await _with_beats(role.run(stop, finish), reporter)


async def _with_beats(work: Any, reporter: _Reporter) -> None:
    beats = asyncio.create_task(reporter.run())
    try:
        await work
    finally:
        beats.cancel()
        await reporter.send()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--role", choices=("reader", "delivery"), required=True)
    parser.add_argument("--report-fd", type=int, required=True)
    parser.add_argument("--until-ns", type=int)
    parser.add_argument("--target", action="append", default=[])
    arguments = parser.parse_args()
    logs.configure()
    structlog.contextvars.bind_contextvars(role=arguments.role, pid=os.getpid())
    try:
        settings = load(arguments.config)
        logs.configure(settings.service.log_level, settings.service.log_format)
        code = asyncio.run(_run(arguments, settings))
    except ConfigurationError as error:
        log.error("configuration_refused", findings=[str(f) for f in error.findings])
        code = 2
    except BaseException as error:  # noqa: BLE001 - the text of a foreign exception may hold payload: log its type and place
        log.error("process_failed", **logs.describe(error))
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
