"""A reader process that stops itself, as SIGSTOP from outside would, at the one instant that a test can hardly hit: with its events
read and redacted, right before the bus commits them.

``python -m tests.support.zombie CONFIG DIRECTORY``. It runs the service's own ``ReaderRole``; only the bus handed to it is wrapped.
The first commit of events after ``DIRECTORY/sleep`` appeared stops the whole process; after SIGCONT it goes on into the real
commit. Until that writer is closed the membership stays silent, as with a group coordinator slower than the transaction's: safety
must come from the fence alone. What the bus answered is appended to ``DIRECTORY/outcomes``, and in the end the commits by outcome
as the service counts them to ``DIRECTORY/counted``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from exporter.app import ReaderRole, load
from exporter.bus import create_bus
from exporter.bus.base import Assignment, Bus, Commit, Membership, ShardWriter
from exporter.ops import log as logs
from exporter.ops import metrics


class Sleep:
    """The wish to sleep, given by a file, and the one commit that slept."""

    def __init__(self, directory: Path) -> None:
        self._wish, self._outcomes = directory / "sleep", directory / "outcomes"
        self._lock = threading.Lock()
        self.under_way: ShardWriter | None = None

    def commit(self, writer: ShardWriter, commit: Commit) -> None:
        with self._lock:
            sleeps = bool(commit.batches) and self._wish.exists()
            if sleeps:
                self._wish.unlink()
                self.under_way = writer
        if not sleeps:
            writer.commit(commit)
            return
        outcome = "committed"
        try:
            os.kill(os.getpid(), signal.SIGSTOP)
            writer.commit(commit)
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            with self._outcomes.open("a") as file:
                file.write(f"{outcome}\n")

    def end(self, writer: ShardWriter) -> None:
        if self.under_way is writer:
            self.under_way = None


class _Wrapped:
    """Hands on everything that it does not have itself."""

    def __init__(self, wrapped: Any, sleep: Sleep) -> None:
        self._wrapped, self._sleep = wrapped, sleep

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


class SleepingWriter(_Wrapped):
    def commit(self, commit: Commit) -> None:
        self._sleep.commit(self._wrapped, commit)

    def close(self) -> None:
        self._wrapped.close()
        self._sleep.end(self._wrapped)


class SilentMembership(_Wrapped):
    def poll(self, timeout_seconds: float) -> Assignment:
        change: Assignment = self._wrapped.poll(timeout_seconds)
        while self._sleep.under_way is not None:  # also where the stop came in the middle of a poll
            time.sleep(0.05)
        return change


class SleepingBus(_Wrapped):
    def open_shard(self, shard: int, worker: str) -> ShardWriter:
        return SleepingWriter(self._wrapped.open_shard(shard, worker), self._sleep)

    def membership(self, worker: str) -> Membership:
        return SilentMembership(self._wrapped.membership(worker), self._sleep)


async def _run(config: Path, directory: Path) -> None:
    settings = load(config)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    bus: Bus = SleepingBus(create_bus(settings.bus), Sleep(directory))
    bus.prepare(list(settings.tenants), [])
    nothing = lambda *_: None  # noqa: E731
    try:
        await ReaderRole(settings, bus, until_ns=None, on_progress=nothing, on_stopped=nothing).run(stop)
    finally:
        await asyncio.to_thread(bus.close)
    samples = [sample for metric in metrics.COMMITS.collect() for sample in metric.samples]
    counted = {s.labels["outcome"]: s.value for s in samples if s.name.endswith("_total")}
    (directory / "counted").write_text(json.dumps(counted))


if __name__ == "__main__":
    logs.configure("info", "json")
    asyncio.run(_run(Path(sys.argv[1]), Path(sys.argv[2])))
