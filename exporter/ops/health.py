"""``/healthz/startup``, ``/healthz/live``, ``/healthz/ready`` and ``/metrics`` over HTTP, for Kubernetes and Prometheus.

Liveness says that the processes' loops turn, nothing about Loki, the bus or targets: a restart cannot mend those.
Readiness gates roll-outs: configuration loaded, every process up and past its start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from exporter.errors import ConfigurationError, Finding

#: name of the probe → (healthy?, details shown to the operator)
Probe = Callable[[], tuple[bool, Mapping[str, Any]]]
MetricsText = Callable[[], tuple[bytes, str]]


class HealthServer:
    """A small threaded server; requests are few, answers small. Started by the supervisor before any child."""

    def __init__(self, listen: str, probes: Mapping[str, Probe], metrics: MetricsText) -> None:
        host, _, port = listen.rpartition(":")
        handler = _handler(probes, metrics)
        try:
            self._server = ThreadingHTTPServer((host.strip("[]") or "0.0.0.0", int(port)), handler)  # noqa: S104
        except OSError as error:
            raise ConfigurationError(
                [Finding("service.listen", f"cannot listen on {listen} ({error.strerror})", "Choose a free host:port.")]
            ) from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def _handler(probes: Mapping[str, Probe], metrics: MetricsText) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds; a client that sends nothing must not hold a thread
        server_version = "loki-siem"
        sys_version = ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                body, kind = metrics()
                self._answer(200, body, kind)
            elif path.startswith("/healthz/") and (probe := probes.get(path.removeprefix("/healthz/"))):
                healthy, details = probe()
                self._answer(
                    200 if healthy else 503, orjson.dumps({"ok": healthy, **details}) + b"\n", "application/json"
                )
            else:
                self._answer(404, b"not found\n", "text/plain")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Probes every few seconds are no news."""

    return Handler
