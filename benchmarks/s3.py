"""bus → engine → S3 (ndjson.gz): MB/s of canonical bytes and CPU per event of the delivery process, on one core.

``python -m benchmarks.s3 [--megabytes 600] [--lanes 4] [--outage SECONDS]``

As ``benchmarks.delivery``: the delivery process holds the SQLite reader, the engine and the connector; the bus is filled
and the S3 stand-in runs in processes of their own, and CPU is what the kernel counts for all threads of the process. The
stand-in takes the bytes and nothing else; its own CPU is printed. At the end what it holds is unpacked and counted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import ClassVar

import orjson

from benchmarks.delivery import TENANT, deliver, fill
from connectors.base import ConnectorContext
from connectors.registry import factories
from connectors.s3.encode import decode
from exporter.bus import create_bus
from exporter.delivery.engine import TargetEngine
from exporter.domain.clock import SystemClock
from exporter.domain.secrets import Secret
from exporter.ops.log import configure
from exporter.settings.model import SqliteBus

MUST_REACH_MB_S = 120
_LIST = b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>'
_EXISTS = b"<?xml version='1.0'?><Error><Code>PreconditionFailed</Code></Error>"


class StandIn(asyncio.Protocol):
    """Keeps what is PUT; answers a listing with nothing, ``/stats`` with counts."""

    objects: ClassVar[dict[bytes, bytes]] = {}
    away_until: ClassVar[float] = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._parts, self._size, self._need = transport, [], 0, 0

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size < self._need:
            return
        received = b"".join(self._parts)
        end = received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head = received[:end]
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if self._size < end + length:
            self._need, self._parts = end + length, [received]
            if b"100-continue" in head.lower() and len(received) == end:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        self._parts, self._size, self._need = [], 0, 0
        self._answer(head, received[end:])

    def _answer(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        status, reply = b"200 OK", b""
        if path == b"/stats":
            cpu = time.process_time()
            lines = sum(len(decode(v)) for k, v in self.objects.items() if k.endswith(b".gz"))
            wire = sum(map(len, self.objects.values()))
            reply = orjson.dumps({"lines": lines, "wire_bytes": wire, "objects": len(self.objects) - 1, "cpu": cpu})
        elif time.monotonic() < StandIn.away_until:
            status = b"503 Slow Down"
        elif method == b"PUT" and path in self.objects:
            status, reply = b"412 Precondition Failed", _EXISTS
        elif method == b"PUT":
            self.objects[path] = body
        else:
            reply = self.objects.get(path, _LIST)
        self._transport.write(b'HTTP/1.1 %b\r\nETag: "0"\r\nContent-Length: %d\r\n\r\n%b' % (status, len(reply), reply))


async def serve(outage_seconds: float) -> None:
    StandIn.away_until = time.monotonic() + outage_seconds
    server = await asyncio.get_running_loop().create_server(StandIn, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def child(arguments: argparse.Namespace) -> None:
    """The measured process. Imports and the building of the parts are not measured."""
    configure("error")
    bus = create_bus(SqliteBus(path=arguments.path, partitions=arguments.lanes))
    factory = factories()["s3"]
    settings = factory.settings(
        kind="s3", bucket="bench", endpoint_url=arguments.url, path_style=True, access_key_id="bench",
        secret_access_key_file=Secret(path=arguments.secret), retry_max_seconds=2,
        batch_linger_seconds=arguments.linger,
    )  # fmt: skip
    connector = factory.build(settings, ConnectorContext("archive", ""))
    engine = TargetEngine(
        "archive", settings, connector, bus, [TENANT],
        worker="bench", clock=SystemClock(), memory_bytes=arguments.memory_bytes, drain_deadline_seconds=25.0,
    )  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    snapshot = asyncio.run(deliver(engine, arguments.outage))
    after = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "wall_seconds": time.perf_counter() - started,
        "events": snapshot["delivered"],
        "bytes": snapshot["delivered_bytes"],
        "peak_rss_mb": after.ru_maxrss / 1024,
    }
    sys.stdout.buffer.write(orjson.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--memory-bytes", type=int, default=134_217_728)
    parser.add_argument("--outage", type=float, default=0.0)
    # Shorter than as shipped, or the wall clock would show how long the last, unfilled batch waits.
    parser.add_argument("--linger", type=float, default=0.5)
    parser.add_argument("--path", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--secret", type=Path)
    parser.add_argument("--serve", action="store_true")
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.outage))
    elif arguments.url:
        child(arguments)
    else:
        with tempfile.TemporaryDirectory() as directory:
            measure(arguments, Path(directory))


def measure(arguments: argparse.Namespace, directory: Path) -> None:
    path, secret = directory / "bus.db", directory / "secret"
    secret.write_text("bench")
    bus = create_bus(SqliteBus(path=path, partitions=arguments.lanes, retention_bytes=50_000_000_000))
    count, size = fill(bus, arguments.megabytes)
    bus.close()
    print(f"backlog: {count:,} events, {size / 1e6:.0f} MB, {size / count:.0f} bytes each")
    program, outage = [sys.executable, "-m", "benchmarks.s3"], ["--outage", str(arguments.outage)]
    with subprocess.Popen([*program, "--serve", *outage], stdout=subprocess.PIPE, text=True) as store:
        assert store.stdout is not None
        url = store.stdout.readline().strip()
        command = [
            *program, *outage, "--url", url, "--secret", str(secret), "--path", str(path),
            "--lanes", str(arguments.lanes), "--memory-bytes", str(arguments.memory_bytes), "--linger", str(arguments.linger),
        ]  # fmt: skip
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        output = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment).stdout
        with urllib.request.urlopen(f"{url}/stats", timeout=60) as answer:
            stats = orjson.loads(answer.read())
        store.terminate()
    assert stats["lines"] == count, f"{stats['lines']} of {count} events arrived"
    report(orjson.loads(output), stats)


def report(result: dict[str, float], stats: dict[str, float]) -> None:
    micros = 1e6 * result["cpu_seconds"] / result["events"]
    rate = result["bytes"] / 1e6 / result["cpu_seconds"]
    print(f"delivery process: {rate:.0f} MB/s per core (must reach {MUST_REACH_MB_S}), {micros:.1f} µs CPU per event, "
          f"{result['wall_seconds']:.1f} s wall, peak memory {result['peak_rss_mb']:.0f} MB")  # fmt: skip
    print(f"stored: {stats['objects']} objects, {stats['wire_bytes'] / 1e6:.0f} MB "
          f"({result['bytes'] / stats['wire_bytes']:.1f} : 1); the stand-in used {stats['cpu']:.1f} s CPU")  # fmt: skip


if __name__ == "__main__":
    main()
