"""bus → engine → Sentinel (gzip, TLS): MB/s of canonical bytes and CPU per event of the delivery process, on one core.

``python -m benchmarks.sentinel [--megabytes 400] [--lanes 4]``

As ``benchmarks.delivery``: the bus is filled and the stand-in runs in processes of their own, CPU is taken from the kernel. The
connector does all of its work: token from the stand-in's Entra, rows of the default columns, gzip, TLS, quota limiter (with
the highest share: a rule's 2 GB a minute are 33 MB/s, below what is measured here).
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import orjson

from benchmarks.delivery import TENANT, fill
from connectors.base import Connector, ConnectorContext
from connectors.registry import factories
from exporter.bus import create_bus
from exporter.delivery.engine import TargetEngine
from exporter.domain.clock import SystemClock
from exporter.domain.secrets import Secret
from exporter.ops.log import configure
from exporter.sandbox.entra import Entra
from exporter.sandbox.logs_ingestion import DCR_ID, STREAM
from exporter.settings.model import SqliteBus

MUST_REACH = 60


def child(arguments: argparse.Namespace) -> None:
    """The measured process. Imports and the building of the parts are not measured."""
    configure("error")
    entra, directory = Entra(), arguments.directory
    bus = create_bus(SqliteBus(path=directory / "bus.db", partitions=arguments.lanes))
    factory = factories()["sentinel"]
    settings = factory.settings(
        kind="sentinel", endpoint=arguments.url, authority=arguments.url, ca_file=directory / "ca.pem", dcr_id=DCR_ID,
        stream=STREAM, auth="client_secret", tenant_id=entra.tenant_id, client_id=entra.client_id,
        client_secret_file=Secret(path=directory / "secret"), quota_share=16,
    )  # fmt: skip
    connector = factory.build(settings, ConnectorContext("sentinel", ""))
    engine = TargetEngine(
        "soc", settings, connector, bus, [TENANT],
        worker="bench", clock=SystemClock(), memory_bytes=134_217_728, drain_deadline_seconds=25.0,
    )  # fmt: skip
    asyncio.run(warm_up(factory.build(settings, ConnectorContext("sentinel", ""))))
    finish = asyncio.Event()
    finish.set()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    asyncio.run(engine.run(asyncio.Event(), finish))
    after, snapshot = resource.getrusage(resource.RUSAGE_SELF), engine.snapshot()
    result = {
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "wall_seconds": time.perf_counter() - started,
        "events": snapshot["delivered"],
        "bytes": snapshot["delivered_bytes"],
        "peak_rss_mb": after.ru_maxrss / 1024,
    }
    sys.stdout.buffer.write(orjson.dumps(result))


async def warm_up(connector: Connector) -> None:
    """Let Microsoft's and our HTTP libraries import what they import at their first request, half a second's worth."""
    await connector.open()
    await connector.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--url")
    arguments = parser.parse_args()
    if arguments.url:
        child(arguments)
        return
    with tempfile.TemporaryDirectory() as directory:
        arguments.directory = Path(directory)
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    directory = arguments.directory
    (directory / "secret").write_text("secret-of-the-benchmark")
    bus = create_bus(SqliteBus(path=directory / "bus.db", partitions=arguments.lanes))
    count, size = fill(bus, arguments.megabytes)
    bus.close()
    print(f"backlog: {count:,} events, {size / 1e6:.0f} MB, {size / count:.0f} bytes each")
    command = [
        sys.executable, "-m", "exporter.sandbox.logs_ingestion", "--directory", str(directory), "--client-secret-file",
        str(directory / "secret"), "--fast",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as logs:
        assert logs.stdout is not None
        url = logs.stdout.readline().strip()
        command = [
            sys.executable, "-m", "benchmarks.sentinel", "--url", url, "--directory", str(directory), "--lanes",
            str(arguments.lanes),
        ]  # fmt: skip
        output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        context = ssl.create_default_context(cafile=directory / "ca.pem")
        with urllib.request.urlopen(f"{url}/sandbox/stats", timeout=10, context=context) as answer:
            stats = orjson.loads(answer.read())
        cost = Path(f"/proc/{logs.pid}/stat").read_text("ascii").split() if Path("/proc").is_dir() else None
        logs.terminate()
    result = orjson.loads(output)
    assert stats["accepted"] == count, f"{stats['accepted']} of {count} events arrived"
    report(result, stats)
    if cost is not None:
        print(
            f"  the stand-in used {(int(cost[13]) + int(cost[14])) / 100:.1f} s CPU, we {result['cpu_seconds']:.1f} s"
        )


def report(result: dict[str, float], stats: dict[str, object]) -> None:
    micros = 1e6 * result["cpu_seconds"] / result["events"]
    rate = result["bytes"] / 1e6 / result["cpu_seconds"]
    print(f"delivery process: {rate:.0f} MB/s per core (must reach {MUST_REACH}), {micros:.1f} µs CPU per event, "
          f"{result['wall_seconds']:.1f} s wall, peak memory {result['peak_rss_mb']:.0f} MB")  # fmt: skip
    print(f"on the wire: {stats['wire_bytes'] / 1e6:.0f} MB ({result['bytes'] / stats['wire_bytes']:.1f} : 1), "
          f"{stats['requests']} requests, largest {stats['largest_wire_bytes']:,} bytes")  # fmt: skip


if __name__ == "__main__":
    main()
