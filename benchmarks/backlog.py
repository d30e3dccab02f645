"""Memory of the service while a backlog waits in Loki: every process's peak of resident memory.

``python -m benchmarks.backlog [--seconds 45] [--events 10000000] [--bus-megabytes 200]``

The Loki is synthetic: its lines are computed from their number when asked for, so that 10 million (3.4 GB) cost no memory.
The bus is SQLite, bounded, and the only target is a HEC that nobody serves: the bus fills, reading pauses, Loki
keeps the rest. Peaks come from the kernel (``VmHWM``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import yaml

from exporter.sandbox.http import Request, Response, Server

#: One line a millisecond: windows and counts are arithmetic.
STEP_NS = 1_000_000
#: The backlog ends this long ago, so that nothing is late or hot.
_AGE_NS = 1800 * 10**9
_RANGE = re.compile(r"\[(\d+)(ms|s)\]")
_STREAMS = 8


class SyntheticLoki:
    """Answers what the reader asks, for lines ``0 … events - 1`` at ``start_ns + n * STEP_NS``."""

    def __init__(self, events: int) -> None:
        self._events = events
        self._start_ns = (time.time_ns() - _AGE_NS - events * STEP_NS) // 10**9 * 10**9

    def _span(self, start_ns: int, end_ns: int) -> range:
        low = -(-(start_ns - self._start_ns) // STEP_NS)
        high = -(-(end_ns - self._start_ns) // STEP_NS)
        return range(max(0, low), max(0, low, min(self._events, high)))

    async def handle(self, request: Request) -> Response:
        def number(name: str) -> int:
            return int(request.first(name) or 0)

        query = request.first("query") or ""
        if request.path.endswith("/query"):
            width_ns = int(_RANGE.findall(query)[0][0]) * 1_000_000
            end_ns = number("time") + 1
            count = len(self._span(end_ns - width_ns, end_ns)) * (340 if "bytes_over" in query else 1)
            return _answer("vector", [{"metric": {}, "value": [end_ns / 1e9, str(count)]}] if count else [])
        if request.path.endswith("/query_range"):
            if query.startswith("sum("):
                ends = range(number("start"), number("end") + 1, 10**9)
                cells = [[end // 10**9, str(len(self._span(end - 10**9 + 1, end + 1)))] for end in ends]
                return _answer("matrix", [{"metric": {}, "values": [c for c in cells if c[1] != "0"]}])
            return self._page(self._span(number("start"), number("end"))[: number("limit")])
        if request.path.endswith("/index/stats"):
            found = len(self._span(number("start"), number("end")))
            return _json(
                {"streams": min(found, _STREAMS), "chunks": min(found, 1), "bytes": found * 340, "entries": found}
            )
        return Response(404, b"404 page not found\n")

    def _page(self, numbers: range) -> Response:
        values: list[list[list[object]]] = [[] for _ in range(_STREAMS)]
        for n in numbers:
            values[n % _STREAMS].append([str(self._start_ns + n * STEP_NS), line(n), {}])
        streams = [{"stream": {"job": "bench", "pod": f"p-{i}"}, "values": v} for i, v in enumerate(values) if v]
        return _answer("streams", streams, encodingFlags=["categorize-labels"])


def line(n: int) -> str:
    """Return line ``n``: about 340 bytes of JSON, some of them personal."""
    mixed = (n * 2654435761) % 2**32
    return (
        f'{{"level":"info","msg":"request served","method":"GET","path":"/api/v1/orders/{mixed}/items","status":200,'
        f'"duration_ms":{n % 900},"trace_id":"{mixed * 7919:032x}","user":"user{mixed}@example.org","client":"10.'
        f'{n % 250}.{n % 200}.{n % 150}","agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0",'
        f'"n":{n}}}'
    )


def _answer(kind: str, result: Sequence[Mapping[str, object]], **more: object) -> Response:
    stats = {"ingester": {"totalLinesSent": 0}}
    return _json({"status": "success", "data": {"resultType": kind, "result": result, "stats": stats, **more}})


def _json(document: object) -> Response:
    return Response(200, orjson.dumps(document), {"Content-Type": "application/json"})


async def serve(events: int) -> None:
    """Serve until ended; the first line of output is the address."""
    server = Server(SyntheticLoki(events).handle)
    await server.start()
    print(server.url, flush=True)
    await asyncio.Event().wait()


def measure(url: str, directory: Path, seconds: float, bus_bytes: int) -> dict[str, int]:
    """Run the service and return the peak in bytes of each of its processes, by role."""
    with socket.socket() as free:  # bound and never listening: every connection is refused
        free.bind(("127.0.0.1", 0))
        (directory / "token").write_text("00000000-0000-0000-0000-000000000000")
        (directory / "token").chmod(0o600)
        configuration = {
            "version": 1,
            "loki": {"url": url},
            "bus": {"kind": "sqlite", "path": str(directory / "bus.db"), "retention_bytes": bus_bytes},
            "service": {"state_dir": str(directory / "state"), "listen": "127.0.0.1:0", "log_format": "json"},
            "tenants": {"bench": {"selector": '{job=~".+"}', "start": "earliest", "redaction": ["eu-pii", "secrets"],
                                  "data_class": "security", "targets": ["soc"]}},
            "targets": {"soc": {"kind": "splunk_hec", "url": f"http://127.0.0.1:{free.getsockname()[1]}",
                                "token_file": str(directory / "token"), "index": "main"}},
        }  # fmt: skip
        path = directory / "config.yaml"
        path.write_text(yaml.safe_dump(configuration))
        command = [sys.executable, "-m", "exporter", "run", "-c", str(path)]
        peaks: dict[str, int] = {}
        with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            ends = time.monotonic() + seconds
            while time.monotonic() < ends and process.poll() is None:
                for pid in _tree(process.pid):
                    peaks[str(pid)] = max(peaks.get(str(pid), 0), _peak_bytes(pid))
                time.sleep(0.5)
            process.terminate()
        return peaks


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(found for child in children for found in _tree(int(child)))]


def _peak_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--bus-megabytes", type=int, default=200)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.events))
        return
    command = [sys.executable, "-m", "benchmarks.backlog", "--serve", "--events", str(arguments.events)]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        directory = Path(folder)
        peaks = measure(url, directory, arguments.seconds, arguments.bus_megabytes * 1_000_000)
        server.terminate()
        size = sum(f.stat().st_size for f in directory.glob("bus.db*"))
        names = {json.loads(x).get("event") for x in (directory / "log").read_text().splitlines() if x.startswith("{")}
        print(
            f"backlog {arguments.events:,} lines; bus files {size / 1e6:,.0f} MB; log events {sorted(map(str, names))}"
        )
        for pid, peak in peaks.items():
            print(f"process {pid}: peak {peak / 1e6:,.0f} MB resident")


if __name__ == "__main__":
    main()
