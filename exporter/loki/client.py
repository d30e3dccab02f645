"""Loki over HTTP: one client a process, its connections shared by all tenants.

Every request has an explicit window in nanoseconds, a cache-breaking nonce matcher, and gives either a whole, decoded
answer or an error of :mod:`exporter.errors`. What an answer proves is decided in :mod:`exporter.loki.proof`.
"""

from __future__ import annotations

import copy
import secrets
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar, cast

import httpx
from isal import isal_zlib

from exporter.domain.clock import Clock
from exporter.domain.windows import NS_PER_MS, NS_PER_SECOND, Window
from exporter.errors import BadAnswer, ExporterError, ShrinkPage, SplitWindow, Throttled
from exporter.loki.auth import Authorizer, TlsContext
from exporter.loki.decode import (
    Page,
    decode_cells,
    decode_count,
    decode_deletes,
    decode_has_data,
    decode_page,
    decode_series,
)
from exporter.loki.errors import ERROR_TEXT_BYTES, error_of_status, error_of_transport, is_closed
from exporter.loki.fairness import FairShare
from exporter.loki.limits import TenantLimits, parse_limits
from exporter.loki.selector import Matcher, with_matchers
from exporter.ops import metrics
from exporter.settings.model import LokiSettings

_Decoded = TypeVar("_Decoded")

#: A body may be this many times ``page_bytes``: JSON writes a control character as six bytes.
_BODY_FACTOR = 8
_CONNECT_TIMEOUT_SECONDS = 10.0
#: A connection that idled too long closes as soon as it is used. One that closes later was closed for the query's sake: too
#: slow, or an answer above 4 MiB between querier and frontend, which a real Loki does not tell but lets run into its
#: query_timeout (docs/loki-differences.md, fact 1). Repeating that would cost another minute.
_IDLE_CLOSE_SECONDS = 5.0
#: Longer queries go as a form; proxies commonly cut URLs at 8 KiB.
_MAX_URL_QUERY_BYTES = 4096
_USER_AGENT = "loki-siem-exporter"
#: 16 + MAX_WBITS: a gzip header is expected (zlib manual, inflateInit2).
_GZIP_WBITS = 16 + zlib.MAX_WBITS
#: Inflated in steps, so that a small answer cannot fill memory before the bound is looked at.
_INFLATE_BYTES = 1 << 20
_BROKEN_GZIP = cast("type[Exception]", isal_zlib.error)  # its stub says instance
#: What answers to an optional endpoint that a Loki or its gateway does not offer.
_NOT_OFFERED = frozenset({403, 404, 405, 501})


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    retry_after: str | None


class LokiClient:
    """One per process; an async context manager. ``transport`` replaces the network in tests.

    ``tenant`` arguments are the tenant's name in our configuration, for metrics only; by default the org id.
    """

    def __init__(
        self, settings: LokiSettings, *, clock: Clock, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Raises TenantStopped when the TLS files cannot be used."""
        self._settings, self._clock = settings, clock
        self._tls = TlsContext(settings.tls)
        self._body_limit_bytes = _BODY_FACTOR * settings.page_bytes
        self.share = FairShare(settings.max_concurrent_requests, settings.max_concurrent_requests_per_tenant)
        self._http = httpx.AsyncClient(
            transport=transport,
            verify=self._tls.context,
            timeout=httpx.Timeout(settings.request_timeout_seconds, connect=_CONNECT_TIMEOUT_SECONDS),
            limits=httpx.Limits(
                max_connections=settings.max_concurrent_requests + 1,  # one more for the token endpoint
                max_keepalive_connections=settings.max_concurrent_requests,
                keepalive_expiry=30.0,
            ),
            # Settings alone decide where we connect: no proxy or netrc credentials from the environment.
            trust_env=False,
            headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "gzip", "Cache-Control": "no-cache"},
        )
        self._auth = Authorizer(settings, self._http, clock)
        self._base = settings.url.rstrip("/")
        self._background = False

    def in_background(self) -> LokiClient:
        """Return this client for questions that wait until the live reading leaves a place. It shares everything, so only the
        original is closed.
        """
        client = copy.copy(self)
        client._background = True  # noqa: SLF001 - of its own kind
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def query_range(
        self,
        org_id: str,
        selector: str,
        window: Window,
        limit: int,
        *,
        filters: str = "",
        direction: str = "forward",
        tenant: str | None = None,
    ) -> Page:
        """Ask for the entries of ``window``. ``filters`` are line filters that follow the selector."""
        parameters = {
            "query": _with_nonce(selector) + filters,
            "start": str(window.start_ns),
            "end": str(window.end_ns),
            "limit": str(limit),
            "direction": direction,
        }
        return await self._ask(
            "page", "/loki/api/v1/query_range", org_id, tenant, parameters, lambda body: decode_page(body, window)
        )

    async def count(self, org_id: str, selector: str, window: Window, *, tenant: str | None = None) -> int:
        """Ask how many entries Loki counts in ``window``, whose length must be whole milliseconds (LogQL knows no
        nanosecond ranges). A range vector is ``(t - range, t]``, so the instant one nanosecond before the end gives
        exactly ``[start, end)``.
        """
        return await self._instant("count_over_time", org_id, selector, window, tenant)

    async def line_bytes(self, org_id: str, selector: str, window: Window, *, tenant: str | None = None) -> int:
        """Ask how many bytes of lines Loki counts in ``window``, repetitions included, structured metadata not."""
        return await self._instant("bytes_over_time", org_id, selector, window, tenant)

    async def _instant(self, function: str, org_id: str, selector: str, window: Window, tenant: str | None) -> int:
        if window.duration_ns % NS_PER_MS:
            raise ValueError("Loki counts whole milliseconds only")
        milliseconds = window.duration_ns // NS_PER_MS
        parameters = {
            "query": f"sum({function}({_with_nonce(selector)}[{milliseconds}ms]))",
            "time": str(window.end_ns - 1),
        }
        return await self._ask("count", "/loki/api/v1/query", org_id, tenant, parameters, decode_count)

    async def count_cells(
        self,
        org_id: str,
        selector: str,
        first_end_ns: int,
        last_end_ns: int,
        *,
        seconds: int = 1,
        tenant: str | None = None,
    ) -> dict[int, int]:
        """Ask for Loki's counts of the right-closed cells of ``seconds`` that end at ``first_end_ns`` … ``last_end_ns`` (both
        multiples of their length); a cell without entries is absent. Start, end and step are aligned, so no cache or splitter
        shifts them.
        """
        if first_end_ns % (seconds * NS_PER_SECOND) or last_end_ns % (seconds * NS_PER_SECOND):
            raise ValueError("cells end at multiples of their length")
        parameters = {
            "query": f"sum(count_over_time({_with_nonce(selector)}[{seconds}s]))",
            "start": str(first_end_ns),
            "end": str(last_end_ns),
            "step": f"{seconds}s",
        }
        return await self._ask("cells", "/loki/api/v1/query_range", org_id, tenant, parameters, decode_cells)

    async def series(
        self, org_id: str, selector: str, window: Window, *, tenant: str | None = None
    ) -> list[dict[str, str]]:
        """Ask for the label sets of the streams that may have entries in ``window``."""
        parameters = {"match[]": _with_nonce(selector), "start": str(window.start_ns), "end": str(window.end_ns)}
        return await self._ask("series", "/loki/api/v1/series", org_id, tenant, parameters, decode_series)

    async def has_data(self, org_id: str, selector: str, window: Window, *, tenant: str | None = None) -> bool | None:
        """Ask the index whether ``window`` may hold entries; ``None`` when this Loki does not offer the endpoint."""
        parameters = {"query": _with_nonce(selector), "start": str(window.start_ns), "end": str(window.end_ns)}
        return await self._ask_optional(
            "stats", "/loki/api/v1/index/stats", org_id, tenant, parameters, decode_has_data
        )

    async def delete_requests(self, org_id: str, *, tenant: str | None = None) -> list[Window] | None:
        """Ask what of a tenant's lines was asked to be deleted; ``None`` when this Loki deletes nothing."""
        return await self._ask_optional("deletes", "/loki/api/v1/delete", org_id, tenant, {}, decode_deletes)

    async def limits(self, org_id: str, *, tenant: str | None = None) -> TenantLimits:
        """Ask for the tenant's limits; Loki's defaults where it does not publish them."""
        found = await self._ask_optional(
            "limits",
            "/config/tenant/v1/limits",
            org_id,
            tenant,
            {},
            lambda body: parse_limits(body.decode("utf-8", "replace")),
        )
        return found or TenantLimits()

    # --- one request --------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        kind: str,
        path: str,
        org_id: str,
        tenant: str | None,
        parameters: Mapping[str, str],
        decode: Callable[[bytes], _Decoded],
    ) -> _Decoded:
        """Send, classify, decode, count. Raises the errors of :mod:`exporter.errors`."""
        decoded = await self._ask_optional(kind, path, org_id, tenant, parameters, decode, not_offered=frozenset())
        assert decoded is not None
        return decoded

    async def _ask_optional(
        self,
        kind: str,
        path: str,
        org_id: str,
        tenant: str | None,
        parameters: Mapping[str, str],
        decode: Callable[[bytes], _Decoded],
        *,
        not_offered: frozenset[int] = _NOT_OFFERED,
    ) -> _Decoded | None:
        """Like ``_ask``; ``None`` when the answer's status says that the endpoint is not offered."""
        name = tenant or org_id
        started = self._clock.monotonic()
        try:
            async with self.share.background_place(org_id) if self._background else self.share.place(org_id):
                answer = await self._send(path, org_id, parameters)
            if answer.status in not_offered:
                metrics.LOKI_REQUESTS.labels(name, kind, "not_offered").inc()
                return None
            if answer.status != 200:
                text = answer.body[:ERROR_TEXT_BYTES].decode("utf-8", "replace")
                raise error_of_status(answer.status, text, answer.retry_after)
            decoded = decode(answer.body)
        except ExporterError as error:
            if isinstance(error, Throttled):
                self.share.throttled(org_id)
            metrics.LOKI_REQUESTS.labels(name, kind, type(error).__name__).inc()
            raise
        self.share.succeeded(org_id)
        metrics.LOKI_REQUESTS.labels(name, kind, "ok").inc()
        metrics.LOKI_REQUEST_SECONDS.labels(kind).observe(self._clock.monotonic() - started)
        return decoded

    async def _send(self, path: str, org_id: str, parameters: Mapping[str, str]) -> _Answer:
        """Send once, and once more when the connection closed under us or a token was refused."""
        started = self._clock.monotonic()
        try:
            answer = await self._send_once(path, org_id, parameters)
            if answer.status == 401 and self._auth.refused():
                return await self._send_once(path, org_id, parameters)
        except httpx.TransportError as error:
            if not is_closed(error):
                raise error_of_transport(error) from None
            if self._clock.monotonic() - started > _IDLE_CLOSE_SECONDS:
                raise SplitWindow("Loki worked on the answer and closed the connection without one") from None
        else:
            return answer
        try:
            # A restart of Loki or an idle connection would not close a second time; a too heavy query would.
            return await self._send_once(path, org_id, parameters)
        except httpx.TransportError as error:
            if is_closed(error):
                raise SplitWindow("Loki closed the connection before its answer was complete") from None
            raise error_of_transport(error) from None

    async def _send_once(self, path: str, org_id: str, parameters: Mapping[str, str]) -> _Answer:
        self._tls.refresh()
        headers = await self._auth.headers()
        headers["X-Loki-Response-Encoding-Flags"] = "categorize-labels"
        if self._settings.send_org_id:
            headers["X-Scope-OrgID"] = org_id
        if sum(map(len, parameters.values())) > _MAX_URL_QUERY_BYTES:
            request = self._http.build_request("POST", self._base + path, data=dict(parameters), headers=headers)
        else:
            request = self._http.build_request("GET", self._base + path, params=dict(parameters), headers=headers)
        response = await self._http.send(request, stream=True)
        try:
            body = await self._read(response)
        finally:
            await response.aclose()
        return _Answer(response.status_code, body, response.headers.get("Retry-After"))

    async def _read(self, response: httpx.Response) -> bytes:
        """Read the body, refusing one that is too large while it comes; of an error only the start is kept."""
        limit = self._body_limit_bytes if response.status_code == 200 else ERROR_TEXT_BYTES
        parts: list[bytes] = []
        size = 0
        async for part in _decompressed(response):
            parts.append(part)
            size += len(part)
            if size > limit:
                if response.status_code != 200:
                    break
                raise ShrinkPage(f"Loki's answer is larger than {limit} bytes")
        return b"".join(parts)


async def _decompressed(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the body's bytes; gzip is inflated by ISA-L, which is several times faster than zlib."""
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        async for part in response.aiter_raw():
            yield part
        return
    if encoding != "gzip":
        raise BadAnswer("Loki's answer has a content encoding that we did not ask for")
    inflater = isal_zlib.decompressobj(_GZIP_WBITS)
    async for part in response.aiter_raw():
        rest = part
        while rest:
            try:
                inflated = inflater.decompress(rest, _INFLATE_BYTES)
            except _BROKEN_GZIP:
                raise BadAnswer("Loki's answer is broken gzip") from None
            yield inflated
            rest = inflater.unconsumed_tail
    yield inflater.flush()
    if not inflater.eof:
        raise BadAnswer("Loki's answer is cut off within its gzip stream")


def _with_nonce(selector: str) -> str:
    """Add a matcher that selects the same streams and changes every cache key: Loki caches empty answers, which outlive
    the arrival of late lines, and ignores ``no-cache`` in several releases (finding 6).
    """
    return with_matchers(selector, [Matcher(f"nonce_{secrets.token_hex(6)}", "=", "")])
