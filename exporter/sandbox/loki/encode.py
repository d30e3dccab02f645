"""Answers in Loki's JSON and protobuf, with their peculiarities.

JSON: loki ``pkg/util/marshal/query.go``. ``<``, ``>``, ``&`` and U+2028/9 are escaped, bytes of a line that are not UTF-8
become U+FFFD (labels and metadata are written as they are and can make the JSON itself invalid). Protobuf: loki
``pkg/querier/queryrange/codec.go``, which keeps every byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import repeat
from typing import Any

import orjson

from exporter.sandbox.loki import protobuf
from exporter.sandbox.loki.engine import LogResult
from exporter.sandbox.loki.pieces import Piece
from exporter.sandbox.loki.storage import Metadata, label_string, repaired

_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)
_NOTHING: Mapping[str, Any] = {}


def to_json(document: Any) -> bytes:
    """Write JSON with Go's escapes for HTML."""
    try:
        body = orjson.dumps(document)
    except (TypeError, orjson.JSONEncodeError):  # surrogates: bytes that are not UTF-8
        body = json.dumps(_lists(document), ensure_ascii=False).encode("utf-8", "surrogateescape")
    for plain, escaped in _ESCAPES:
        body = body.replace(plain, escaped)  # these bytes occur only inside strings
    return body


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def log_document(result: LogResult, *, forward: bool, categorize: bool, statistics: bool) -> dict[str, Any]:
    """Return the answer to a log query, its streams sorted by label string."""
    pieces = sorted(result.pieces, key=lambda piece: piece.stream.name)
    found: list[dict[str, Any]]
    if categorize:
        found = [{"stream": p.stream.labels, "values": _values(p, forward=forward)} for p in pieces]
    else:
        folded = [item for p in pieces for item in _folded(p, forward=forward)]
        found = sorted(folded, key=lambda item: label_string(item["stream"]))
    data: dict[str, Any] = {"resultType": "streams", "result": found}
    if categorize:
        data["encodingFlags"] = ["categorize-labels"]
    if statistics:
        data["stats"] = stats_document(result)
    return {"status": "success", "data": data}


def _lines(piece: Piece) -> Iterable[str]:
    if all(map(str.isascii, piece.lines)):
        return piece.lines
    return map(repaired, piece.lines)


def _values(piece: Piece, *, forward: bool) -> list[tuple[str, str, Mapping[str, Any]]]:
    extras: Iterable[Mapping[str, Any]] = repeat(_NOTHING)
    if piece.metadata is not None:
        extras = [{"structuredMetadata": m} if m else _NOTHING for m in piece.metadata]
    values = list(zip(map(str, piece.times), _lines(piece), extras, strict=False))
    return values if forward else values[::-1]


def _folded(piece: Piece, *, forward: bool) -> list[dict[str, Any]]:
    """Without ``categorize-labels``: metadata becomes labels, and every combination a stream object of its own."""
    labels = piece.stream.labels
    values = list(zip(map(str, piece.times), _lines(piece), strict=True))
    if piece.metadata is None:
        return [{"stream": labels, "values": values if forward else values[::-1]}]
    groups: dict[str, dict[str, Any]] = {}
    for value, metadata in zip(values, piece.metadata, strict=True):
        merged = _merged_labels(labels, metadata)
        groups.setdefault(label_string(merged), {"stream": merged, "values": []})["values"].append(value)
    for group in groups.values():
        if not forward:
            group["values"].reverse()
    return list(groups.values())


def _merged_labels(labels: Mapping[str, str], metadata: Metadata | None) -> dict[str, str]:
    extra = {(f"{name}_extracted" if name in labels else name): value for name, value in (metadata or {}).items()}
    return dict(sorted({**labels, **extra}.items()))


def stats_document(result: LogResult) -> dict[str, Any]:
    """Return the part of ``stats`` that readers and logcli look at (loki ``pkg/logqlmodel/stats/stats.proto``)."""
    count = result.count
    return {
        "summary": {
            "bytesProcessedPerSecond": 0,
            "linesProcessedPerSecond": 0,
            "totalBytesProcessed": 0,
            "totalLinesProcessed": result.lines_sent,
            "execTime": 0.001,
            "queueTime": 0.0,
            "subqueries": 0,
            "totalEntriesReturned": count,
            "splits": 1,
            "shards": 0,
        },
        "querier": {
            "store": {
                "totalChunksRef": result.chunks,
                "totalChunksDownloaded": result.chunks,
                "chunk": {"totalDuplicates": result.duplicates},
            }
        },
        "ingester": {
            "totalReached": result.reached,
            "totalChunksMatched": 0,
            "totalBatches": result.batches,
            "totalLinesSent": result.lines_sent,
            "store": {"totalChunksRef": 0, "totalChunksDownloaded": 0},
        },
    }


def log_protobuf(result: LogResult, *, forward: bool) -> bytes:
    """Return ``QueryResponse`` with a ``LokiResponse`` (field 6), bytes of lines untouched."""
    streams = b"".join(
        protobuf.encode_bytes(2, _stream_protobuf(p, forward=forward))
        for p in sorted(result.pieces, key=lambda piece: piece.stream.name)
    )
    ingester = (
        protobuf.encode_int(1, result.reached)
        + protobuf.encode_int(3, result.batches)
        + protobuf.encode_int(4, result.lines_sent)
    )
    data = protobuf.encode_bytes(1, b"streams") + streams
    response = (
        protobuf.encode_bytes(1, b"success")
        + protobuf.encode_bytes(2, data)
        + protobuf.encode_bytes(8, protobuf.encode_bytes(3, ingester))
    )
    return protobuf.encode_bytes(6, response)


def _stream_protobuf(piece: Piece, *, forward: bool) -> bytes:
    entries = [protobuf.encode_bytes(2, _entry_protobuf(*row)) for row in piece.rows()]
    if not forward:
        entries.reverse()
    return protobuf.encode_bytes(1, piece.stream.name.encode("utf-8", "surrogateescape")) + b"".join(entries)


def _entry_protobuf(time_ns: int, line: str, metadata: Metadata | None) -> bytes:
    pairs = b"".join(
        protobuf.encode_bytes(
            3,
            protobuf.encode_bytes(1, name.encode("utf-8", "surrogateescape"))
            + protobuf.encode_bytes(2, value.encode("utf-8", "surrogateescape")),
        )
        for name, value in (metadata or {}).items()
    )
    return (
        protobuf.encode_timestamp(1, time_ns)
        + protobuf.encode_bytes(2, line.encode("utf-8", "surrogateescape"))
        + pairs
    )


def vector_document(time_ns: int, samples: Iterable[tuple[Mapping[str, str], int]]) -> dict[str, Any]:
    """Return the answer to an instant count; series without samples are absent."""
    found = [{"metric": dict(m), "value": [time_ns / 1e9, str(value)]} for m, value in samples if value]
    return {
        "status": "success",
        "data": {"resultType": "vector", "result": found, "stats": stats_document(LogResult())},
    }


def matrix_document(series: Iterable[tuple[Mapping[str, str], Mapping[int, int]]]) -> dict[str, Any]:
    """Return the answer to a range count: time in ns → value; times without samples are absent."""
    found = []
    for metric, values in series:
        points = [[_seconds(t), str(value)] for t, value in sorted(values.items()) if value]
        if points:
            found.append({"metric": dict(metric), "values": points})
    return {
        "status": "success",
        "data": {"resultType": "matrix", "result": found, "stats": stats_document(LogResult())},
    }


def _seconds(time_ns: int) -> int | float:
    whole, rest = divmod(time_ns, 10**9)
    return whole if not rest else time_ns / 1e9
