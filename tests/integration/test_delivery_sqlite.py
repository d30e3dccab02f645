"""The real SQLite bus → engine → file target, with processes that are killed."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

from exporter.bus import create_bus
from exporter.bus.base import Commit
from exporter.domain.events import EncodedBatch
from exporter.settings.model import SqliteBus
from tests.support.events import events, number_of

TOTAL = 60_000

_DELIVERY = """
import asyncio, sys
from pathlib import Path
from connectors.base import ConnectorContext
from connectors.file.connector import FileConnector
from connectors.file.settings import FileSettings
from exporter.bus import create_bus
from exporter.delivery.engine import TargetEngine
from exporter.domain.clock import SystemClock
from exporter.settings.model import SqliteBus
root = Path(sys.argv[1])
settings = FileSettings(kind="file", directory=root / "out", rotate_bytes=100_000, batch_max_records=100, batch_linger_seconds=0)
connector = FileConnector(settings, ConnectorContext("archive", str(root / "state")))
engine = TargetEngine("archive", settings, connector, create_bus(SqliteBus(path=root / "bus.db", partitions=2)), ["acme"],
    worker="w" + sys.argv[2], clock=SystemClock(), memory_bytes=32_000_000, drain_deadline_seconds=5)
async def main():
    finish = asyncio.Event(); finish.set()
    print("ready", flush=True)
    await engine.run(asyncio.Event(), finish)
asyncio.run(main())
"""


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_killed_delivery_writes_every_event_once(tmp_path):
    bus = create_bus(SqliteBus(path=tmp_path / "bus.db", partitions=2))
    bus.prepare(["acme"], ["archive"])
    writer = bus.open_shard(0, "test")
    writer.checkpoints()
    for start in range(0, TOTAL, 3000):
        keys = [b"stream-%d" % (n % 7) for n in range(3000)]
        writer.commit(Commit([EncodedBatch("acme", "p", keys, events(3000, start=start))]))
    writer.close()
    (tmp_path / "state").mkdir()
    pause, killed = random.Random(11), 0
    for attempt in range(60):
        command = [sys.executable, "-c", _DELIVERY, str(tmp_path), str(attempt)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            deadline = time.monotonic() + (60.0 if killed >= 4 else pause.uniform(0.05, 0.3))
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            if process.poll() is None:
                process.kill()
                killed += 1
        if process.returncode == 0:
            break
    assert process.returncode == 0
    assert killed >= 3
    files = sorted((tmp_path / "out").rglob("*"))
    assert not [f for f in files if f.suffix == ".part"]
    found = [number_of(line) for f in files if f.is_file() for line in f.read_bytes().splitlines()]
    assert len(found) == TOTAL
    assert sorted(found) == list(range(TOTAL))
    assert all(p.lag == 0 for p in bus.positions(["archive"], ["acme"]))
    bus.close()
