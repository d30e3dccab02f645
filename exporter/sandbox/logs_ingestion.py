"""A strict stand-in for Azure Monitor's Logs Ingestion API with the endpoints that give its tokens.

There is no official emulator. It keeps to what Microsoft documents and users measured: API version, audience and end of tokens,
403 until a role is in effect, 1 MiB on the wire, 50 MiB plain, quotas with ``Retry-After``, and silent changes (``logs_rules``).
Faults are scripted through :class:`Fault` or, over HTTP, ``POST /sandbox/faults``.

As a process: ``python -m exporter.sandbox.logs_ingestion --directory DIR --client-secret-file F``: it writes ``ca.pem`` there,
speaks TLS (Microsoft's identity library accepts nothing else) and prints its address; counts under ``/sandbox/stats``.
``--fast`` checks only the framing of our own rows, so that it costs less than what it measures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from isal import isal_zlib

from exporter.sandbox.certificates import self_signed
from exporter.sandbox.entra import Entra
from exporter.sandbox.http import Request, Response, Server
from exporter.sandbox.logs_rules import MAX_PLAIN_BYTES, MAX_WIRE_BYTES, STREAM_COLUMNS, Quota, Refused, Table
from exporter.sandbox.scripted import Faults, ScriptedFault, Store, json_answer, serve_until_signalled

AUDIENCE = "https://monitor.azure.com"
DCR_ID, STREAM = "dcr-0123456789abcdef0123456789abcdef", "Custom-LokiEvents"
API_VERSIONS = frozenset({"2021-11-01-preview", "2023-01-01"})
_PATH = re.compile(r"/dataCollectionRules/([^/]+)/streams/([^/]+)")
_HTML = b"<!doctype html><html><head><title>%d</title></head><body><h1>Error</h1></body></html>"


@dataclass(slots=True, kw_only=True)
class Fault(ScriptedFault):
    """``status`` with ``code``: this answer in Azure's form; ``html``: in a proxy's instead."""

    status: int = 503
    code: str = ""
    html: bool = False


@dataclass(slots=True)
class Stats:
    requests: int = 0
    probes: int = 0
    accepted: int = 0
    accepted_bytes: int = 0
    wire_bytes: int = 0
    largest_wire_bytes: int = 0
    largest_plain_bytes: int = 0
    answers: dict[str, int] = field(default_factory=dict)


class StandInLogs:
    """The server: one data collection rule with one stream. ``accepted`` lists the ``EventId`` of stored rows in order, ``rows``
    themselves if kept; ``stored_by`` the request ids with the number of rows of each.
    """

    def __init__(
        self,
        *,
        columns: Mapping[str, str] | None = None,
        entra: Entra | None = None,
        fast: bool = False,
        keep_rows: bool = False,
        store: Path | None = None,
        role_after_seconds: float = 0.0,
        max_wire_bytes: int = MAX_WIRE_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.table = Table(columns or STREAM_COLUMNS)
        self.entra = entra or Entra()
        self.quota = Quota()
        self.fast, self.max_wire_bytes = fast, max_wire_bytes
        self.stats = Stats()
        self.accepted: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.stored_by: dict[str, int] = {}
        self.faults: Faults[Fault] = Faults()
        #: The role is in effect from then on.
        self.role_from = now() + role_after_seconds
        self.max_plain_bytes = MAX_PLAIN_BYTES
        self._now, self._keep_rows = now, keep_rows
        self._store = Store(store)
        self._server = Server(self._handle, max_body_bytes=64 * 1_048_576)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def failures(self) -> list[str]:
        return self._server.failures

    async def start(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        await self._server.start(port=port, tls=tls)

    async def stop(self) -> None:
        await self._server.stop()
        self._store.close()

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def _handle(self, request: Request) -> Response:
        if request.path.startswith("/sandbox/"):
            return self._control(request)
        if (answer := self.entra.handle(request, self.url)) is not None:
            return answer
        try:
            return self._ingest(request)
        except Refused as refused:
            return self._refuse(refused.status, refused.code, refused.retry_after)

    def _ingest(self, request: Request) -> Response:
        place = _PATH.fullmatch(request.path)
        if place is None:
            raise Refused(404, "ResourceNotFound")
        if request.method != "POST":
            raise Refused(405, "MethodNotAllowed")
        self.stats.requests += 1
        self.stats.wire_bytes += len(request.body)
        self.stats.largest_wire_bytes = max(self.stats.largest_wire_bytes, len(request.body))
        self._check_caller(request)
        if place[1] != DCR_ID:
            raise Refused(404, "NotFound")
        if place[2] != STREAM:
            raise Refused(400, "InvalidStream")
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise Refused(415, "UnsupportedContentType")
        if len(request.body) > self.max_wire_bytes:
            raise Refused(413, "ContentLengthLimitExceeded")
        body = self._plain(request)
        if body == b"[]":
            self.stats.probes += 1
            return self._count(Response(204))
        self.quota.use(len(body), self._now())
        request_id = _guid_of(request.headers.get("x-ms-client-request-id", ""))
        fault = self.faults.next()
        return self._go_wrong(fault, body, request_id) if fault is not None else self._take(body, request_id)

    def _check_caller(self, request: Request) -> None:
        version = request.first("api-version")
        if version not in API_VERSIONS:
            raise Refused(400, "MissingApiVersionParameter" if version is None else "UnsupportedApiVersion")
        issued = self.entra.token_of(request.headers.get("authorization", ""))
        if issued is None or issued.audience != AUDIENCE:
            raise Refused(401, "InvalidToken")
        if self._now() < self.role_from:
            raise Refused(403, "OperationFailed")

    def _plain(self, request: Request) -> bytes:
        coding = request.headers.get("content-encoding", "").strip().lower()
        if coding not in {"", "identity", "gzip"}:
            raise Refused(415, "UnsupportedContentEncoding")
        body = request.body
        if coding == "gzip":
            inflater = isal_zlib.decompressobj(wbits=31)
            try:
                body = inflater.decompress(body, self.max_plain_bytes + 1)
            except isal_zlib.error:  # type: ignore[misc]  # an exception, whatever its stub says
                raise Refused(400, "InvalidPayload") from None
            if not inflater.eof and len(body) <= self.max_plain_bytes:
                raise Refused(400, "InvalidPayload")
        self.stats.largest_plain_bytes = max(self.stats.largest_plain_bytes, len(body))
        if len(body) > self.max_plain_bytes:
            raise Refused(413, "PayloadSizeLimitExceeded")
        return body

    def _count(self, response: Response) -> Response:
        name = str(response.status)
        self.stats.answers[name] = self.stats.answers.get(name, 0) + 1
        return response

    def _refuse(self, status: int, code: str, retry_after: str | None = None) -> Response:
        error = {"error": {"code": code, "message": "Refused by the stand-in."}} if code else None
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if retry_after is not None:
            headers["Retry-After"] = retry_after
        return self._count(Response(status, orjson.dumps(error) if error else b"", headers))

    # --- records ------------------------------------------------------------------------------------------------------

    def _take(self, body: bytes, request_id: str) -> Response:
        if self.fast:
            count = self._frame(body)
        else:
            rows = self.table.take(body, self._now())
            count = len(rows)
            self.accepted += [str(row.get("EventId", "")) for row in rows]
            if self._keep_rows:
                self.rows += rows
            self._store.write(b"".join([orjson.dumps(row) + b"\n" for row in rows]))
        self.stats.accepted += count
        self.stats.accepted_bytes += len(body)
        if request_id:
            self.stored_by[request_id] = self.stored_by.get(request_id, 0) + count
        return self._count(Response(204))

    def _frame(self, body: bytes) -> int:
        """Count rows by their framing; enough for our own encoder, whose output the strict mode tests."""
        count = body.count(b'{"TimeGenerated":"')
        if not count or not (body.startswith(b'[{"TimeGenerated":"') and body.endswith(b"}]")):
            raise Refused(400, "InvalidPayload")
        self._store.write(body)
        return count

    # --- faults -------------------------------------------------------------------------------------------------------

    def _go_wrong(self, fault: Fault, body: bytes, request_id: str) -> Response:
        if fault.store or fault.slow_seconds:
            answer = self._take(body, request_id)
            if fault.slow_seconds:
                answer.delay_seconds = fault.slow_seconds
                return answer
        if (unanswered := fault.unanswered()) is not None:
            return unanswered
        if fault.html:
            return self._count(Response(fault.status, _HTML % fault.status, {"Content-Type": "text/html"}))
        return self._refuse(fault.status, fault.code, fault.retry_after)

    def _control(self, request: Request) -> Response:
        if (answer := self.faults.control(request, Fault)) is not None:
            return answer
        what = request.path.removeprefix("/sandbox/")
        if what == "stats":
            silent = asdict(self.table.silent) | {"dropped_names": sorted(self.table.silent.dropped_names)}
            counts = {"ids": len(self.accepted), "distinct": len(set(self.accepted))}
            return json_answer(asdict(self.stats) | counts | {"silent": silent, "tokens": self.entra.requests})
        if what == "ids":
            return json_answer(self.accepted)
        return Response(404)


def _guid_of(text: str) -> str:
    """Return a request id if it is one; the service ignores others."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return ""


async def _serve(arguments: argparse.Namespace) -> None:
    entra = Entra(secrets={arguments.client_secret_file.read_text("utf-8").strip()})
    logs = StandInLogs(
        entra=entra, fast=arguments.fast, store=arguments.store, role_after_seconds=arguments.role_after_seconds
    )
    tls, _ = self_signed(arguments.directory)
    await logs.start(arguments.port, tls=tls)
    await serve_until_signalled(logs)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m exporter.sandbox.logs_ingestion", description="Strict stand-in for the Logs Ingestion API."
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one, printed at start")
    parser.add_argument("--directory", type=Path, required=True, help="its certificate is written there as ca.pem")
    parser.add_argument("--client-secret-file", type=Path, required=True)
    parser.add_argument("--store", type=Path, help="append accepted rows to this file")
    parser.add_argument("--role-after-seconds", type=float, default=0.0, help="answer 403 that long")
    parser.add_argument("--fast", action="store_true", help="check framing only; keeps no ids")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
