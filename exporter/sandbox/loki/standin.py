"""The stand-in Loki: one cell with its HTTP interface, run in the process of a test or on its own.

It keeps the sixteen behaviours that make reading Loki completely hard (see ``docs/loki-differences.md`` for how they were
compared with a real one), and an independent record of every accepted entry, the truth that a reader is measured by.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping, Sequence

from exporter.domain.clock import Clock, SystemClock
from exporter.sandbox.http import BadRequest, Request, Response, Server
from exporter.sandbox.loki.api import Api, plain
from exporter.sandbox.loki.control import Control
from exporter.sandbox.loki.engine import Engine, Mode, QueryError
from exporter.sandbox.loki.faults import Fault, Faults
from exporter.sandbox.loki.limits import LokiLimits, ns
from exporter.sandbox.loki.logql import ParseError
from exporter.sandbox.loki.push import Intake, PushedStream, PushResult
from exporter.sandbox.loki.storage import Metadata, PushedEntry, Tenant, Truth

_TENANT = re.compile(r"[A-Za-z0-9!\-_.*'()]{1,150}")
#: Retention is applied every so many pushes; queries hide expired entries at once.
_PUSHES_PER_TRIM = 1000


class StandInLoki:
    """One Loki cell. ``mode``: ``separate`` roles with ``ingesters`` ingesters, each entry on ``replication`` of them, or
    one ``single`` binary. ``clock`` decides what is old. ``control`` adds ``/sandbox/…`` for other processes.
    """

    def __init__(
        self,
        *,
        ingesters: int = 3,
        replication: int = 1,
        mode: Mode = "separate",
        limits: LokiLimits | None = None,
        auth_enabled: bool = True,
        clock: Clock | None = None,
        control: bool = False,
    ) -> None:
        self.limits = limits if limits is not None else LokiLimits()
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.faults = Faults()
        self.ingesters = 1 if mode == "single" else ingesters
        self._replication = min(replication, self.ingesters)
        self._auth_enabled = auth_enabled
        self._intake = Intake(self.limits)
        self._engine = Engine(self.limits, self.ingesters, mode)
        self._pushes = 0
        self.tenants: dict[str, Tenant] = {}
        self._api = Api(self, self._engine)
        self._control = Control(self) if control else None
        self.server = Server(self._handle)

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Serve; port 0 takes a free one. Raises OSError when the address is in use."""
        await self.server.start(host, port, tls)

    async def stop(self) -> None:
        """Stop serving; what was pushed stays, and :meth:`start` serves it again."""
        await self.server.stop()

    @property
    def url(self) -> str:
        """Base URL, without ``/loki/api/v1``."""
        return self.server.url

    # --- data -------------------------------------------------------------------------------------------------------

    def push(
        self,
        tenant: str,
        labels: Mapping[str, str],
        entries: Iterable[tuple[int, str] | tuple[int, str, Metadata | None]],
        *,
        replicas: Sequence[int] | None = None,
    ) -> PushResult:
        """Take entries of one stream in under the same rules as a push over HTTP. ``replicas``: only these ingesters were
        up.
        """
        full: list[PushedEntry] = [entry if len(entry) == 3 else (*entry, None) for entry in entries]
        return self.take(tenant, [(dict(labels), full)], replicas)

    def take(self, tenant: str, streams: list[PushedStream], replicas: Sequence[int] | None = None) -> PushResult:
        """Take the streams of one push request in."""
        held = self.tenant(tenant)
        now_ns = self.clock.now_ns()
        self._pushes += 1
        if self.limits.retention_seconds and self._pushes % _PUSHES_PER_TRIM == 0:
            held.trim(now_ns - ns(self.limits.retention_seconds))
        return self._intake.push(held, streams, now_ns, replicas)

    def tenant(self, name: str) -> Tenant:
        """Return what is held for a tenant, made if need be."""
        if name not in self.tenants:
            self.tenants[name] = Tenant(self.ingesters, self._replication)
        return self.tenants[name]

    def truth(self, tenant: str) -> Truth:
        """Return the record of every accepted entry, in order of acceptance."""
        return self.tenant(tenant).truth

    def flush(self) -> None:
        """Move all memory to the store, as ``POST /flush`` does."""
        for tenant in self.tenants.values():
            tenant.flush(self.limits.block_bytes, with_metadata=self.limits.metadata_distinguishes)

    def cut_blocks(self) -> None:
        """Cut every ingester's block, so that a repeated push is stored a second time."""
        for tenant in self.tenants.values():
            for stream in tenant.streams:
                for place in stream.places():
                    place.cut_block()

    def lose_chunks(self, tenant: str) -> int:
        """Lose everything a tenant has in the store for good; returns the number of entries lost."""
        held = self.tenant(tenant)
        lost = sum(len(chunk.times) for stream in held.streams for chunk in stream.chunks)
        for stream in held.streams:
            stream.chunks.clear()
        held.epoch += 1
        return lost

    # --- requests ---------------------------------------------------------------------------------------------------

    async def _handle(self, request: Request) -> Response:
        if self._control is not None and request.path.startswith("/sandbox/"):
            return self._control.handle(request)
        try:
            return self._answer(request)
        except QueryError as error:
            response = plain(error.status, error.text)
            response.delay_seconds = error.delay_seconds
            return response
        except BadRequest as error:
            return plain(error.status, error.reason)
        except ParseError as error:
            return plain(400, str(error))

    def _answer(self, request: Request) -> Response:
        route, kind = self._api.route(request.path)
        if route is None:
            return plain(404, "404 page not found")
        tenant = request.headers.get("x-scope-orgid", "") if self._auth_enabled else "fake"
        fault = self.faults.take(kind, tenant, request)
        if fault is not None and fault.replaces_answer():
            return fault.answer()
        if kind != "ready":
            _check_tenant(tenant)
        response = route(request, tenant, fault if fault is not None else _NO_FAULT)
        return response if fault is None else fault.spoil(response)


_NO_FAULT = Fault(times=-1)


def _check_tenant(tenant: str) -> None:
    if not tenant:
        raise BadRequest(401, "no org id")
    if "|" in tenant:
        raise QueryError(500, "multiple org IDs present")
    if len(tenant) > 150:
        raise BadRequest(400, "tenant ID is too long: max 150 characters")
    if not _TENANT.fullmatch(tenant):
        raise BadRequest(400, "tenant ID contains unsupported character")
