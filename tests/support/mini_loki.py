"""A Loki in the process, for tests of the reader: an HTTP transport with the traits that make complete reading hard.

Small on purpose and apart from the stand-in that ships, so that an error in one does not excuse an error in the other.
Every source (ingester) cuts at the limit before duplicates are removed, ties come in arbitrary order, a source whose
message is too large vanishes from the answer, and counts see all copies. ``fault`` scripts one answer.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import httpx
import orjson

from exporter.loki.selector import _parse

BATCH_ENTRIES = 128


@dataclass(slots=True)
class Line:
    labels: dict[str, str]
    time_ns: int
    line: str
    metadata: dict[str, str] = field(default_factory=dict)
    source: int = 0

    @property
    def identity(self) -> tuple:
        return (tuple(sorted(self.labels.items())), self.time_ns, self.line, tuple(sorted(self.metadata.items())))


Fault = Callable[[httpx.Request, dict[str, str]], httpx.Response | Exception | None]


class MiniLoki(httpx.AsyncBaseTransport):
    def __init__(self, *, max_entries: int = 5000, message_bytes: int = 4_194_304, seed: int = 1) -> None:
        self.max_entries, self.message_bytes = max_entries, message_bytes
        self.lines: list[Line] = []
        self.random = random.Random(seed)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.faults: list[Fault] = []
        self.limits_yaml: str | None = None
        self.has_index = True
        self.indexed_before_ns: int | None = (
            None  # what is younger was not flushed, and a single binary's index lacks it
        )
        self.replicas = 1  # above 1: counts are of distinct entries, as replicas are merged
        self.after: Callable[[str], None] = lambda path: None

    def push(self, labels: dict[str, str], time_ns: int, line: str, *, source: int = 0, **metadata: str) -> None:
        self.lines.append(Line(labels, time_ns, line, metadata, source))

    def truth(self) -> set[tuple]:
        return {line.identity for line in self.lines}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        raw = body.decode() if request.method == "POST" else request.url.query.decode()
        parameters = {key: values[0] for key, values in parse_qs(raw, keep_blank_values=True).items()}
        path = request.url.path
        self.requests.append((path, parameters))
        return streamed(self._respond(request, path, parameters))

    def _respond(self, request: httpx.Request, path: str, parameters: dict[str, str]) -> httpx.Response:
        for fault in list(self.faults):
            answer = fault(request, parameters)
            if isinstance(answer, Exception):
                raise answer
            if answer is not None:
                return answer
        answer = self._answer(path, parameters)
        self.after(path)
        return answer

    def _answer(self, path: str, parameters: dict[str, str]) -> httpx.Response:
        answers = {
            "/loki/api/v1/query_range": self._range,
            "/loki/api/v1/query": self._count,
            "/loki/api/v1/series": self._series,
        }
        if self.has_index:
            answers["/loki/api/v1/index/stats"] = self._stats
        if self.limits_yaml is not None:
            answers["/config/tenant/v1/limits"] = lambda _: httpx.Response(200, text=self.limits_yaml)
        answer = answers.get(path)
        return httpx.Response(404, text="404 page not found\n") if answer is None else answer(parameters)

    def _range(self, parameters: dict[str, str]) -> httpx.Response:
        return self._cells(parameters) if parameters["query"].startswith("sum(") else self._page(parameters)

    def _series(self, parameters: dict[str, str]) -> httpx.Response:
        found = self._select(parameters["match[]"], int(parameters["start"]), int(parameters["end"]))
        streams = sorted({tuple(sorted(x.labels.items())) for x in found})
        return _json({"status": "success", "data": [dict(labels) for labels in streams]})

    def _stats(self, parameters: dict[str, str]) -> httpx.Response:
        found = self._select(parameters["query"], int(parameters["start"]), int(parameters["end"]))
        if self.indexed_before_ns is not None:
            found = [x for x in found if x.time_ns < self.indexed_before_ns]
        streams = len({tuple(sorted(x.labels.items())) for x in found})
        return _json({"streams": streams, "chunks": streams, "bytes": 1, "entries": len(found)})

    def _select(self, selector: str, start_ns: int, end_ns: int) -> list[Line]:
        matchers, end = _parse(selector[: selector.index("}", _last_matcher(selector)) + 1])
        filters = re.findall(r' (\|~|!~) ("(?:[^"\\]|\\.)*")', selector[end + 1 :])
        found = [
            x for x in self.lines if start_ns <= x.time_ns < end_ns and all(_matches(m, x.labels) for m in matchers)
        ]
        for operator, quoted in filters:
            pattern = re.compile(
                re.sub(r"\\x\{([0-9a-f]+)\}", lambda m: f"\\u{int(m[1], 16):04x}", orjson.loads(quoted))
            )
            found = [x for x in found if (pattern.search(x.line) is not None) == (operator == "|~")]
        return found

    def select_page(self, parameters: dict[str, str]) -> list[Line]:
        """The lines that a whole answer to a log query would hold."""
        found = self._select(parameters["query"], int(parameters["start"]), int(parameters["end"]))
        found.sort(key=lambda x: x.time_ns, reverse=parameters["direction"] != "forward")
        return found[: int(parameters["limit"])]

    def _page(self, parameters: dict[str, str]) -> httpx.Response:
        limit, forward = int(parameters["limit"]), parameters["direction"] == "forward"
        if limit > self.max_entries:
            return httpx.Response(
                400,
                text=f"max entries limit per query exceeded, limit > max_entries_limit ({limit} > {self.max_entries})",
            )
        found = self._select(parameters["query"], int(parameters["start"]), int(parameters["end"]))
        sent: list[Line] = []
        for source in sorted({x.source for x in found}):
            mine = [x for x in found if x.source == source]
            self.random.shuffle(mine)  # ties in no order
            mine.sort(key=lambda x: x.time_ns, reverse=not forward)
            mine = mine[:limit]
            batches = [mine[i : i + BATCH_ENTRIES] for i in range(0, len(mine), BATCH_ENTRIES)]
            if any(sum(len(x.line.encode()) for x in batch) >= self.message_bytes for batch in batches):
                continue  # finding 11: the ingester vanishes, statistics and all
            sent += mine
        unique: dict[tuple, Line] = {}
        for x in sorted(sent, key=lambda x: x.time_ns, reverse=not forward):
            unique.setdefault(x.identity, x)
        streams: dict[tuple, dict] = {}
        for x in list(unique.values())[:limit]:
            stream = streams.setdefault(tuple(sorted(x.labels.items())), {"stream": x.labels, "values": []})
            stream["values"].append([str(x.time_ns), x.line, {"structuredMetadata": x.metadata} if x.metadata else {}])
        return _json({"status": "success", "data": {
            "resultType": "streams", "encodingFlags": ["categorize-labels"], "result": list(streams.values()),
            "stats": {"ingester": {"totalLinesSent": len(sent)}},
        }})  # fmt: skip

    def _count(self, parameters: dict[str, str]) -> httpx.Response:
        match = re.fullmatch(r"sum\((count|bytes)_over_time\((.*)\[(\d+)ms\]\)\)", parameters["query"], re.DOTALL)
        assert match is not None, "a count Loki would not parse"
        end_ns = int(parameters["time"]) + 1
        found = self._select(match[2], end_ns - int(match[3]) * 1_000_000, end_ns)
        count = self._counted(found) if match[1] == "count" else sum(len(x.line.encode()) for x in found)
        result = [{"metric": {}, "value": [end_ns / 1e9, str(count)]}] if count else []
        return _json({"status": "success", "data": {"resultType": "vector", "result": result, "stats": {}}})

    def _counted(self, lines: list[Line]) -> int:
        return len(lines) if self.replicas == 1 else len({line.identity for line in lines})

    def _cells(self, parameters: dict[str, str]) -> httpx.Response:
        match = re.fullmatch(r"sum\(count_over_time\((.*)\[(\d+)s\]\)\)", parameters["query"], re.DOTALL)
        assert match is not None
        assert parameters["step"] == f"{match[2]}s"
        second = int(match[2]) * 1_000_000_000
        values = []
        for end in range(int(parameters["start"]), int(parameters["end"]) + 1, second):
            count = self._counted(self._select(match[1], end - second + 1, end + 1))
            if count:
                values.append([end // 1_000_000_000, str(count)])
        result = [{"metric": {}, "values": values}] if values else []
        return _json({"status": "success", "data": {"resultType": "matrix", "result": result, "stats": {}}})


def _last_matcher(selector: str) -> int:
    """Where the nonce stands: the closing brace of the selector is the first one after it."""
    return selector.index("nonce_")


def _matches(matcher, labels: dict[str, str]) -> bool:
    value = labels.get(matcher.name, "")
    if matcher.operator in {"=", "!="}:
        return (value == matcher.value) == (matcher.operator == "=")
    return (re.fullmatch(matcher.value, value) is not None) == (matcher.operator == "=~")


def streamed(response: httpx.Response) -> httpx.Response:
    """The same answer as it would come from a socket: unread."""
    headers = {k: v for k, v in response.headers.items() if k.lower() != "content-length"}
    return httpx.Response(response.status_code, headers=headers, stream=httpx.ByteStream(response.content))


def _json(document: object) -> httpx.Response:
    return httpx.Response(200, content=orjson.dumps(document), headers={"Content-Type": "application/json"})
