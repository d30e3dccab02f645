"""Loki's HTTP interface, as far as agents and readers use it (Loki documentation "Loki HTTP API")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from exporter.domain.windows import NS_PER_SECOND
from exporter.sandbox.http import BadRequest, Request, Response
from exporter.sandbox.loki import encode
from exporter.sandbox.loki.cache import ResultCache
from exporter.sandbox.loki.engine import Engine, LogResult, QueryError
from exporter.sandbox.loki.faults import Fault, Kind
from exporter.sandbox.loki.limits import ns
from exporter.sandbox.loki.logql import Query, parse
from exporter.sandbox.loki.params import Params, RangeParams
from exporter.sandbox.loki.pieces import Piece
from exporter.sandbox.loki.push import byte_length, decode_push
from exporter.sandbox.loki.storage import Columns, Hidden, Stream, Tenant
from exporter.sandbox.loki.tail import run_tail, tail_request
from exporter.sandbox.websocket import INTERNAL_ERROR, WebSocket, upgraded

if TYPE_CHECKING:
    from exporter.sandbox.loki.standin import StandInLoki

Route = Callable[[Request, str, Fault], Response]
_JSON = "application/json; charset=UTF-8"
_PROTOBUF = "application/vnd.google.protobuf"
#: Errors of a push that are told; the rest is only counted.
_TOLD_ERRORS = 10
_INTERNAL_LABELS = {"__aggregated_metric__", "__pattern__"}


def plain(status: int, text: str) -> Response:
    """Return an error as Loki writes it: plain text, no ``Retry-After``."""
    return Response(
        status,
        text.encode() + b"\n",
        {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"},
    )


class Api:
    """The routes. They raise BadRequest, ParseError or QueryError for what Loki refuses."""

    def __init__(self, loki: StandInLoki, engine: Engine) -> None:
        self._loki = loki
        self._engine = engine
        self._cache = ResultCache(loki.limits)
        self._answers = 0
        base = "/loki/api/v1"
        self._routes: dict[str, tuple[Route, Kind]] = {
            f"{base}/push": (self._push, "push"),
            f"{base}/query_range": (self._query_range, "query_range"),
            f"{base}/query": (self._query, "query"),
            f"{base}/tail": (self._tail, "tail"),
            f"{base}/series": (self._series, "series"),
            f"{base}/labels": (self._labels, "labels"),
            f"{base}/index/stats": (self._stats, "stats"),
            f"{base}/index/shards": (self._shards, "stats"),
            f"{base}/delete": (self._delete, "any"),
            f"{base}/status/buildinfo": (self._buildinfo, "ready"),
            "/config/tenant/v1/limits": (self._tenant_limits, "limits"),
            "/flush": (self._flush, "ready"),
            "/ready": (lambda *_: plain(200, "ready"), "ready"),
        }

    def route(self, path: str) -> tuple[Route | None, Kind]:
        """Return the route of a path and the kind under which faults know it."""
        if path.startswith("/loki/api/v1/label/") and path.endswith("/values"):
            return self._label_values, "labels"
        return self._routes.get(path, (None, "any"))

    # --- writing ----------------------------------------------------------------------------------------------------

    def _push(self, request: Request, tenant: str, _fault: Fault) -> Response:
        result = self._loki.take(tenant, decode_push(request))
        if not result.errors:
            return Response(204)
        told = result.errors[:_TOLD_ERRORS]
        rest = len(result.errors) - len(told)
        return plain(400, "\n".join(told) + (f"\nand {rest} more" if rest else ""))

    def _flush(self, _request: Request, _tenant: str, _fault: Fault) -> Response:
        self._loki.flush()
        return Response(204)

    def _delete(self, request: Request, tenant: str, _fault: Fault) -> Response:
        held = self._loki.tenant(tenant)
        params = Params(request)
        if request.method == "GET":
            listed = [
                {
                    "request_id": f"{number:08x}",
                    "start_time": d.start_ns / 1e9,
                    "end_time": d.end_ns / 1e9,
                    "status": "received",
                }
                for number, d in enumerate(held.deletes)
            ]
            return self._json(request, listed)
        now_ns = self._loki.clock.now_ns()
        start, end = params.time_ns("start", 0), params.time_ns("end", now_ns)
        effective = now_ns + ns(self._loki.limits.delete_cache_seconds)
        held.deletes.append(Hidden(parse(params.text("query")), start, end, effective))
        held.epoch += 1
        return Response(204)

    # --- log queries and counts -------------------------------------------------------------------------------------

    def _query_range(self, request: Request, tenant: str, fault: Fault) -> Response:
        now_ns = self._loki.clock.now_ns()
        params = Params(request).range(now_ns, self._loki.limits)
        query = parse(params.query)
        length = self._loki.limits.max_query_length_seconds
        if length and params.end_ns - params.start_ns > ns(length):
            took = (params.end_ns - params.start_ns) // NS_PER_SECOND
            raise BadRequest(
                400, f"the query time range exceeds the limit (query length: {took}s, limit: {length:.0f}s)"
            )
        held = self._loki.tenant(tenant)
        if query.function:
            return self._json(request, self._matrix(held, tenant, query, params, fault, request))
        return self._log_answer(request, self._log(held, tenant, query, params, fault, request), params, fault)

    def _log(
        self, held: Tenant, tenant: str, query: Query, params: RangeParams, fault: Fault, request: Request
    ) -> LogResult:
        now_ns = self._loki.clock.now_ns()
        start, end = params.start_ns, params.end_ns
        if any(m.name in _INTERNAL_LABELS for m in query.matchers):
            return LogResult()
        # Only filtered queries are cached; those by selector alone never are (finding 6).
        cacheable = bool(query.filters) and not self._cache.is_fresh(end, now_ns)
        if cacheable and not self._no_cache(request) and self._cache.known_empty(tenant, params.query, start, end):
            return LogResult()
        result = self._engine.log(
            held, query, (start, end), params.limit, forward=params.forward, now_ns=now_ns, effects=fault.effects
        )
        if cacheable and not result.count:
            self._cache.remember_empty(tenant, params.query, start, end)
        if params.interval_ns:
            result.pieces = _thinned(result.pieces, params.interval_ns, forward=params.forward)
        return result

    def _log_answer(self, request: Request, result: LogResult, params: RangeParams, fault: Fault) -> Response:
        if request.headers.get("accept", "") == _PROTOBUF:
            body = encode.log_protobuf(result, forward=params.forward)
            return self._sent(request, body, _PROTOBUF)
        flags = request.headers.get("x-loki-response-encoding-flags", "").replace(" ", "").split(",")
        document = encode.log_document(
            result,
            forward=params.forward,
            categorize="categorize-labels" in flags,
            statistics=not fault.without_stats,
        )
        if fault.warning:
            document["warnings"] = [fault.warning]
        body = encode.to_json(document)
        if self._engine.mode == "separate" and len(body) > self._loki.limits.frontend_message_bytes:
            return Response(close=True, delay_seconds=self._loki.limits.query_timeout_seconds)
        return self._sent(request, body, _JSON)

    def _tail(self, request: Request, tenant: str, _fault: Fault) -> Response:
        now_ns, limits = self._loki.clock.now_ns(), self._loki.limits
        asked, held = tail_request(request, now_ns), self._loki.tenant(tenant)

        async def session(socket: WebSocket) -> None:
            if len(held.tailers) >= limits.max_concurrent_tail_requests:
                await socket.close(INTERNAL_ERROR, "max concurrent tail requests limit exceeded")
                return
            window = (asked.start_ns, now_ns)
            history = self._engine.log(held, asked.query, window, asked.limit, forward=False, now_ns=now_ns)
            await run_tail(socket, asked, held, history, limits, self._loki.clock)

        return upgraded(request, session)

    def _matrix(
        self, held: Tenant, tenant: str, query: Query, params: RangeParams, fault: Fault, request: Request
    ) -> dict[str, Any]:
        """A range count. The splitter moves start down and end up to multiples of the step (with
        ``align_queries_with_step`` both down), whatever was asked; an offset below a millisecond makes the sharded path
        answer nothing (loki ``pkg/querier/queryrange/splitters.go``; seen on a real one).
        """
        step = params.step_ns
        start = params.start_ns // step * step
        aligned = self._loki.limits.align_queries_with_step
        end = params.end_ns // step * step if aligned else -(-params.end_ns // step) * step
        if query.offset_ns % 1_000_000:
            return encode.matrix_document([])
        times = range(start, end + 1, step)
        series = []
        for metric, streams in self._series_of(held, query):
            text = params.query + (streams[0].name if streams else "")
            values = {t: self._point(held, tenant, query, streams, (text, step, t, end), fault, request) for t in times}
            series.append((metric, values))
        return encode.matrix_document(series)

    def _point(
        self,
        held: Tenant,
        tenant: str,
        query: Query,
        streams: list[Stream] | None,
        at: tuple[str, int, int, int],
        fault: Fault,
        request: Request,
    ) -> int:
        text, step, time_ns, last = at
        now_ns = self._loki.clock.now_ns()
        fresh = self._cache.is_fresh(time_ns, now_ns)
        if not fresh and not self._no_cache(request):
            known = self._cache.point(tenant, text, step, time_ns)
            if known is not None:
                return known
        interval = ns(self._loki.limits.split_queries_by_interval_seconds)
        until = min(last, time_ns // interval * interval + interval) if interval else last
        value = self._engine.count(
            held, query, time_ns, asked_until_ns=until, now_ns=now_ns, effects=fault.effects, streams=streams
        )
        if not fresh:
            self._cache.remember_point(tenant, text, step, time_ns, value)
        return value

    def _query(self, request: Request, tenant: str, fault: Fault) -> Response:
        params = Params(request)
        now_ns = self._loki.clock.now_ns()
        params.limit(self._loki.limits)
        at = params.time_ns("time", now_ns)
        query = parse(params.text("query"))
        if not query.function:
            raise BadRequest(
                400,
                "log queries are not supported as an instant query type, please change your query to a range query type",
            )
        held = self._loki.tenant(tenant)
        samples: list[tuple[Mapping[str, str], int]] = []
        for metric, streams in self._series_of(held, query):
            value = self._engine.count(
                held, query, at, asked_until_ns=at, now_ns=now_ns, effects=fault.effects, streams=streams
            )
            samples.append((metric, value))
        return self._json(request, encode.vector_document(at, samples))

    def _series_of(self, held: Tenant, query: Query) -> list[tuple[Mapping[str, str], list[Stream] | None]]:
        """Return the series of a count with their streams; ``None`` is all that the selector selects."""
        if query.summed:
            return [({}, None)]
        streams = self._engine.select(held, query)
        most = self._loki.limits.max_query_series
        if len(streams) > most:
            raise BadRequest(
                400,
                f"maximum number of series ({most}) reached for a single query; consider reducing query "
                "cardinality by adding more specific stream selectors, reducing the time range, or aggregating results "
                "with functions like sum(), count() or topk()",
            )
        return [(s.labels, [s]) for s in streams]

    # --- the index --------------------------------------------------------------------------------------------------

    def _series(self, request: Request, tenant: str, _fault: Fault) -> Response:
        params = Params(request)
        window = params.window(self._loki.clock.now_ns())
        held = self._loki.tenant(tenant)
        found: dict[str, Mapping[str, str]] = {}
        for text in params.all("match[]", "match"):
            streams = self._engine.select(held, parse(text))
            found.update({s.name: s.labels for s in streams if self._places(s, *window)})
        return self._json(request, {"status": "success", "data": [found[name] for name in sorted(found)]})

    def _labels(self, request: Request, tenant: str, _fault: Fault) -> Response:
        return self._names(request, tenant, lambda stream: list(stream.labels))

    def _label_values(self, request: Request, tenant: str, _fault: Fault) -> Response:
        name = request.path.removeprefix("/loki/api/v1/label/").removesuffix("/values")
        return self._names(request, tenant, lambda stream: [stream.labels[name]] if name in stream.labels else [])

    def _names(self, request: Request, tenant: str, of: Callable[[Stream], list[str]]) -> Response:
        window = Params(request).window(self._loki.clock.now_ns())
        streams = self._loki.tenant(tenant).streams
        found = sorted({text for s in streams if self._places(s, *window) for text in of(s)})
        # An empty list is left out of the answer (loki pkg/logproto, LabelResponse).
        return self._json(request, {"status": "success", **({"data": found} if found else {})})

    def _places(self, stream: Stream, start: int, end: int, *, index_only: bool = False) -> list[Columns]:
        """Return the chunks that overlap a window: the index knows no single entries."""
        asked = not index_only and self._engine.ingesters_asked(end, self._loki.clock.now_ns())
        places = stream.places() if asked else iter(stream.chunks)
        return [p for p in places if p.times and p.times[0] < end and p.times[-1] >= start]

    def _stats(self, request: Request, tenant: str, _fault: Fault) -> Response:
        """Whole seconds, every replica counted, parts of chunks by proportion, cached without regard to no-cache. A single
        binary asks only the store (seen on a real one): what was not flushed does not exist for it.
        """
        params = Params(request)
        now_ns = self._loki.clock.now_ns()
        text = params.text("query")
        query = parse(text)
        if query.filters:
            raise BadRequest(400, "only label matchers are supported")
        start, end = (t // NS_PER_SECOND * NS_PER_SECOND for t in params.window(now_ns))
        known = self._cache.stats(tenant, text, start, end) if not self._cache.is_fresh(end, now_ns) else None
        if known is None:
            streams = self._engine.select(self._loki.tenant(tenant), query)
            found = [(s, self._places(s, start, end, index_only=self._engine.mode == "single")) for s in streams]
            parts = [(c, _share(c, start, end)) for _, places in found for c in places]
            known = {
                "streams": sum(bool(places) for _, places in found),
                "chunks": len(parts),
                "bytes": sum(round(share * sum(map(byte_length, c.lines))) for c, share in parts),
                "entries": sum(round(share * len(c.times)) for c, share in parts),
            }
            if not self._cache.is_fresh(end, now_ns):
                self._cache.remember_stats(tenant, text, start, end, known)
        return self._json(request, known)

    def _shards(self, _request: Request, _tenant: str, _fault: Fault) -> Response:
        raise QueryError(500, "rpc error: code = Unknown desc = unexpected response type")

    # --- the rest ---------------------------------------------------------------------------------------------------

    def _tenant_limits(self, _request: Request, _tenant: str, _fault: Fault) -> Response:
        if not self._loki.limits.publish_limits:
            return plain(404, "404 page not found")
        return Response(200, self._loki.limits.as_yaml().encode(), {"Content-Type": "text/plain; charset=utf-8"})

    def _buildinfo(self, request: Request, _tenant: str, _fault: Fault) -> Response:
        return self._json(request, {"version": "3.7.0-stand-in", "revision": "", "branch": "", "goVersion": ""})

    def _no_cache(self, request: Request) -> bool:
        return self._loki.limits.obey_no_cache and "no-cache" in request.headers.get("cache-control", "")

    def _json(self, request: Request, document: Any) -> Response:
        return self._sent(request, encode.to_json(document), _JSON)

    def _sent(self, request: Request, body: bytes, content_type: str) -> Response:
        limits = self._loki.limits
        if len(body) > limits.max_response_bytes:
            raise QueryError(
                413, f"response larger than the max message size ({len(body)} vs {limits.max_response_bytes})"
            )
        self._answers += 1
        response = Response(200, body, {"Content-Type": content_type})
        wanted = limits.compress_responses == "always" or (
            limits.compress_responses == "sometimes" and self._answers % 2 == 0
        )
        return response.gzipped() if wanted and request.accepts_gzip() else response


def _share(columns: Columns, start: int, end: int) -> float:
    """How much of a chunk's time lies in the window."""
    low, high = columns.times[0], columns.times[-1]
    if low >= start and high < end:
        return 1.0
    return min(1.0, (min(high, end) - max(low, start)) / max(1, high - low))


def _thinned(pieces: list[Piece], interval_ns: int, *, forward: bool) -> list[Piece]:
    """Keep entries at least an interval apart, over all streams together (loki ``pkg/logql/engine.go`` ``readStreams``)."""
    order = sorted(
        (
            (time_ns, index, position)
            for index, piece in enumerate(pieces)
            for position, time_ns in enumerate(piece.times)
        ),
        reverse=not forward,
    )
    last: int | None = None
    kept: list[Piece] = []
    for time_ns, index, position in order:
        if last is None or abs(time_ns - last) >= interval_ns:
            last = time_ns
            kept.append(pieces[index].part(position, position + 1))
    return kept
