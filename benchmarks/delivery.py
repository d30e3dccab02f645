"""bus → engine → Splunk HEC (gzip): MB/s of canonical bytes and CPU per event of the delivery process, on one core.

``python -m benchmarks.delivery [--megabytes 600] [--lanes 4] [--outage SECONDS]``

The delivery process holds the SQLite reader, the engine and the connector; the bus is filled and the HEC stand-in runs in
processes of their own. CPU is taken from the kernel (all threads of the process), so "per core" is bytes over CPU seconds.
With ``--outage`` the stand-in is away for the first seconds while the whole backlog waits: the peak of resident memory
shows that it does not depend on the backlog.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import orjson

from connectors.base import ConnectorContext
from connectors.registry import factories
from exporter.bus import create_bus
from exporter.bus.base import Bus, Commit
from exporter.delivery.engine import TargetEngine
from exporter.domain.clock import SystemClock
from exporter.domain.events import EncodedBatch, encode_head
from exporter.domain.secrets import Secret
from exporter.ops.log import configure
from exporter.settings.model import SqliteBus

TENANT = "acme"
#: Kafka → Splunk HEC with gzip on the same machine and lines (design, "Peers"), in MB/s per core of 340-byte lines.
PEERS = {"Fluent Bit 5.1.1": (12.3, 28), "Vector 0.58": (16.6, 21)}
BATCH = 5000


def make_events(count: int, start: int) -> Iterator[bytes]:
    """Events of about 600 bytes that compress like real ones."""
    for n in range(start, start + count):
        mixed = (n * 2654435761) % 2**32
        yield encode_head(f"{mixed:08x}{n:024x}", 1_764_000_000_000_000_000 + n * 1_000_003) + (
            b'"tenant.id":"acme","kind":"http","loki.labels":{"job":"edge","app":"gateway","namespace":"prod",'
            b'"pod":"gateway-%d"},"loki.structured_metadata":{"trace_id":"%032x"},"late":false,"policy.id":"p-1f3a",'
            b'"http.request.method":"GET","url.path":"/api/v1/orders/%d/items","http.response.status_code":%d,'
            b'"client.address":"[ip:%08x]","user.email":"[email:%08x]","http.response.body.size":%d,'
            b'"user_agent.original":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0","duration_ms":%d.%d}'
            % (
                n % 37,
                mixed * 7919,
                mixed % 100_000,
                200 + n % 5,
                mixed,
                mixed ^ 0x5BD1E995,
                mixed % 50_000,
                n % 900,
                n % 10,
            )
        )


def fill(bus: Bus, megabytes: int) -> tuple[int, int]:
    """Write events to the bus; return their number and bytes."""
    bus.prepare([TENANT], ["soc"])
    writer = bus.open_shard(0, "bench")
    writer.checkpoints()
    count = size = 0
    while size < megabytes * 1_000_000:
        values = list(make_events(BATCH, count))
        keys = [b"stream-%02d" % (n % 64) for n in range(BATCH)]
        writer.commit(Commit([EncodedBatch(TENANT, "p-1f3a", keys, values)]))
        count += BATCH
        size += sum(map(len, values))
    writer.close()
    return count, size


def build(bus: Bus, url: str, token: Path, memory_bytes: int) -> TargetEngine:
    factory = factories()["splunk_hec"]
    settings = factory.settings(kind="splunk_hec", url=url, token_file=Secret(path=token), index="main")
    connector = factory.build(settings, ConnectorContext("soc", ""))
    return TargetEngine(
        "soc", settings, connector, bus, [TENANT],
        worker="bench", clock=SystemClock(), memory_bytes=memory_bytes, drain_deadline_seconds=25.0,
    )  # fmt: skip


async def deliver(engine: TargetEngine, outage_seconds: float) -> dict[str, object]:
    finish = asyncio.Event()
    running = asyncio.create_task(engine.run(asyncio.Event(), finish))
    await asyncio.sleep(outage_seconds)
    finish.set()
    await running
    return engine.snapshot()


def child(arguments: argparse.Namespace) -> None:
    """The measured process. Imports and the building of the parts are not measured."""
    configure("error")
    bus = create_bus(SqliteBus(path=arguments.path, partitions=arguments.lanes))
    engine = build(bus, arguments.url, arguments.token, arguments.memory_bytes)
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    snapshot = asyncio.run(deliver(engine, arguments.outage))
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result = {
        "cpu_seconds": cpu,
        "wall_seconds": time.perf_counter() - started,
        "events": snapshot["delivered"],
        "bytes": snapshot["delivered_bytes"],
        "peak_rss_mb": after.ru_maxrss / 1024,
    }
    sys.stdout.buffer.write(orjson.dumps(result))


def control(url: str, what: str, body: object = None) -> dict[str, object]:
    data = None if body is None else orjson.dumps(body)
    with urllib.request.urlopen(f"{url}/sandbox/{what}", data=data, timeout=10) as answer:
        return orjson.loads(answer.read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--memory-bytes", type=int, default=134_217_728)
    parser.add_argument("--outage", type=float, default=0.0)
    parser.add_argument("--path", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--token", type=Path)
    arguments = parser.parse_args()
    if arguments.url:
        child(arguments)
        return
    with tempfile.TemporaryDirectory() as directory:
        measure(arguments, Path(directory))


def measure(arguments: argparse.Namespace, directory: Path) -> None:
    path, token = directory / "bus.db", directory / "token"
    token.write_text("bench-token")
    bus = create_bus(SqliteBus(path=path, partitions=arguments.lanes, retention_bytes=50_000_000_000))
    count, size = fill(bus, arguments.megabytes)
    bus.close()
    print(f"backlog: {count:,} events, {size / 1e6:.0f} MB, {size / count:.0f} bytes each")
    command = [sys.executable, "-m", "exporter.sandbox.hec", "--token-file", str(token), "--fast"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as hec:
        assert hec.stdout is not None
        url = hec.stdout.readline().strip()
        if arguments.outage:
            control(url, "faults", [{"status": 503, "times": 1_000_000_000}])
        command = [
            sys.executable, "-m", "benchmarks.delivery", "--url", url, "--token", str(token), "--path", str(path),
            "--lanes", str(arguments.lanes), "--memory-bytes", str(arguments.memory_bytes), "--outage", str(arguments.outage),
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            if arguments.outage:
                time.sleep(arguments.outage)
                control(url, "faults/clear", [])
            output, _ = process.communicate()
        stats = control(url, "stats")
        hec.terminate()
    result = orjson.loads(output)
    assert stats["accepted"] == count, f"{stats['accepted']} of {count} events arrived"
    report(result, stats)


def report(result: dict[str, float], stats: dict[str, object]) -> None:
    micros = 1e6 * result["cpu_seconds"] / result["events"]
    rate = result["bytes"] / 1e6 / result["cpu_seconds"]
    print(f"delivery process: {rate:.0f} MB/s per core, {micros:.1f} µs CPU per event, "
          f"{result['wall_seconds']:.1f} s wall, peak memory {result['peak_rss_mb']:.0f} MB")  # fmt: skip
    print(f"on the wire: {stats['wire_bytes'] / 1e6:.0f} MB ({result['bytes'] / stats['wire_bytes']:.1f} : 1), "
          f"{stats['requests']} requests")  # fmt: skip
    for name, (peer_micros, peer_rate) in PEERS.items():
        print(f"  {name}: {peer_rate} MB/s per core, {peer_micros} µs per event (Kafka → HEC, 340-byte lines)")


if __name__ == "__main__":
    main()
