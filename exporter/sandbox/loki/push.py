"""Taking pushes in: the two wire formats of ``/loki/api/v1/push``, and the distributor's and ingester's rules.

JSON: Loki documentation "Ingest logs". Protobuf: loki ``pkg/push/push.proto`` with labels as a selector-style string.
Rules: loki ``pkg/distributor/validator.go``, ``pkg/ingester/stream.go`` (``validateEntries``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from exporter.sandbox.http import BadRequest, Request
from exporter.sandbox.loki import protobuf, snappy
from exporter.sandbox.loki.levels import detected_level
from exporter.sandbox.loki.limits import LokiLimits, ns
from exporter.sandbox.loki.logql import ParseError, parse
from exporter.sandbox.loki.storage import Columns, Metadata, PushedEntry, Stream, Tenant, identity, label_string

PushedStream = tuple[dict[str, str], list[PushedEntry]]

#: Labels from which ``service_name`` is taken, in this order (loki ``pkg/validation/limits.go``).
_SERVICE_LABELS = (
    "service", "app", "application", "app_name", "name", "app_kubernetes_io_name", "container", "container_name",
    "k8s_container_name", "component", "workload", "job", "k8s_job_name",
)  # fmt: skip
#: Prometheus' rule (prometheus ``model.LabelName``).
_LABEL_NAME = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
#: Surrogates that do not stand for a byte (PEP 383 uses U+DC80..U+DCFF).
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


@dataclass(slots=True)
class PushResult:
    """What became of a push. ``errors`` are Loki's texts, one for each refused entry or stream; they name labels and
    times, never lines.
    """

    accepted: int = 0
    errors: list[str] = field(default_factory=list)


def decode_push(request: Request) -> list[PushedStream]:
    """Read a push request. Raises BadRequest (400, 415)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            return _not_none(_from_json(request.decoded_body()))
        if kind in {"application/x-protobuf", ""}:
            return _not_none(list(_from_protobuf(snappy.decompress(request.body))))
    except BadRequest:
        raise
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise BadRequest(400, "the push request cannot be read") from None
    raise BadRequest(415, "unsupported content type")


def _not_none(streams: list[PushedStream]) -> list[PushedStream]:
    if not streams:
        raise BadRequest(422, "error at least one valid stream is required for ingestion")
    return streams


def _from_json(body: bytes) -> list[PushedStream]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Loki's parser lets bytes that are not UTF-8 through and turns escaped lone surrogates into U+FFFD.
        document = json.loads(body.decode("utf-8", "surrogateescape"), object_hook=_without_lone_surrogates)
    return [
        (_labels(item["stream"]), [_json_entry(value) for value in item["values"]])
        for item in document.get("streams", [])
    ]


def _without_lone_surrogates(item: dict[str, Any]) -> dict[str, Any]:
    def mend(value: Any) -> Any:
        if isinstance(value, str):
            return _LONE.sub("\ufffd", value)
        return [mend(v) for v in value] if isinstance(value, list) else value

    return {key: mend(value) for key, value in item.items()}


def _labels(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise TypeError
    return value


def _json_entry(value: list[Any]) -> PushedEntry:
    time, line = value[0], value[1]
    if not isinstance(time, str) or not isinstance(line, str):
        raise TypeError
    metadata = _labels(value[2]) if len(value) > 2 else None
    return int(time), line, metadata or None


def _from_protobuf(body: bytes) -> Iterator[PushedStream]:
    for number, stream in protobuf.fields(body):
        if number != 1:
            continue
        labels: dict[str, str] = {}
        entries: list[PushedEntry] = []
        for part, value in protobuf.fields(protobuf.raw(stream)):
            if part == 1:
                labels = parse_label_string(_text(value))
            elif part == 2:
                entries.append(_protobuf_entry(protobuf.raw(value)))
        yield labels, entries


def _protobuf_entry(data: bytes) -> PushedEntry:
    time_ns, line, metadata = 0, "", {}
    for number, value in protobuf.fields(data):
        if number == 1:
            time_ns = protobuf.timestamp_ns(protobuf.raw(value))
        elif number == 2:
            line = _text(value)
        elif number == 3:
            pair = dict(protobuf.fields(protobuf.raw(value)))
            metadata[_text(pair[1])] = _text(pair.get(2, b""))
    return time_ns, line, metadata or None


def _text(value: int | bytes) -> str:
    return protobuf.raw(value).decode("utf-8", "surrogateescape")


def parse_label_string(text: str) -> dict[str, str]:
    """Read ``{a="x", b="y"}``. Raises ValueError (ParseError is one)."""
    matchers = parse(text).matchers
    if any(m.operator != "=" for m in matchers):
        raise ParseError("only equalities name a stream")
    return {m.name: m.value for m in matchers}


class Intake:
    """Applies the rules of distributor and ingester and writes what passes."""

    def __init__(self, limits: LokiLimits) -> None:
        self._limits = limits
        self._turn = 0

    def push(
        self, tenant: Tenant, streams: Sequence[PushedStream], now_ns: int, replicas: Sequence[int] | None = None
    ) -> PushResult:
        """Take streams in. Valid entries are stored even when others of the same push are refused, as in Loki.
        ``replicas``: only these ingesters take it (the others were down); default all owners.
        """
        result = PushResult()
        for labels, entries in streams:
            problem = self._label_problem(labels)
            if problem:
                result.errors.append(problem)
                continue
            full, prepared = self._prepare(labels, entries)
            valid = self._valid(full, prepared, now_ns, result.errors)
            for part_labels, part in self._shards(full, valid, now_ns):
                stream = tenant.stream(part_labels)
                result.accepted += self._store(tenant, stream, part, result.errors, replicas)
        return result

    def _label_problem(self, labels: Mapping[str, str]) -> str:
        if not labels:
            return "error at least one label pair is required per stream"
        if not all(map(_LABEL_NAME.fullmatch, labels)):
            return "couldn't parse labels: parse error: unexpected character inside braces"
        if len(labels) > self._limits.max_label_names_per_series:
            limit = self._limits.max_label_names_per_series
            return f"entry for stream '{label_string(labels)}' has {len(labels)} label names; limit {limit}"
        return ""

    def _prepare(self, labels: dict[str, str], entries: Sequence[PushedEntry]) -> PushedStream:
        """Add what Loki adds at ingest."""
        limits = self._limits
        if limits.discover_service_name and "service_name" not in labels:
            found = next((labels[name] for name in _SERVICE_LABELS if labels.get(name)), "unknown_service")
            labels = {**labels, "service_name": found}
        if limits.discover_log_levels:
            entries = [(t, line, _with_level(labels, line, metadata)) for t, line, metadata in entries]
        return labels, list(entries)

    def _valid(
        self, labels: Mapping[str, str], entries: list[PushedEntry], now_ns: int, errors: list[str]
    ) -> list[PushedEntry]:
        limits = self._limits
        max_age = ns(limits.reject_old_samples_max_age_seconds)
        oldest = now_ns - max_age if max_age else -(1 << 63)
        newest = now_ns + ns(limits.creation_grace_period_seconds)
        longest = limits.max_line_size_bytes
        valid: list[PushedEntry] = []
        for entry in entries:
            time_ns, line, _ = entry
            if time_ns < oldest:
                errors.append(f"entry for stream '{label_string(labels)}' has timestamp too old: {time_ns}")
            elif time_ns > newest:
                errors.append(f"entry for stream '{label_string(labels)}' has timestamp too new: {time_ns}")
            elif longest and len(line) * 4 > longest and byte_length(line) > longest:
                errors.append(
                    f"max entry size '{longest}' bytes exceeded for stream '{label_string(labels)}' "
                    f"while adding an entry with length '{byte_length(line)}' bytes"
                )
            else:
                valid.append(entry)
        return valid

    def _shards(self, labels: dict[str, str], entries: list[PushedEntry], now_ns: int) -> Iterator[PushedStream]:
        """Deal entries out over ``__stream_shard__`` and ``__time_shard__`` labels (loki ``pkg/distributor/shardstreams``)."""
        limits = self._limits
        if limits.time_shard_seconds:
            width = ns(limits.time_shard_seconds)
            old = [e for e in entries if e[0] < now_ns - width]
            entries = [e for e in entries if e[0] >= now_ns - width]
            for start in sorted({e[0] // width for e in old}):
                name = f"{start * width // 10**9}_{(start + 1) * width // 10**9}"
                yield {**labels, "__time_shard__": name}, [e for e in old if e[0] // width == start]
        if limits.stream_shards <= 1:
            yield labels, entries
            return
        for _ in range(min(limits.stream_shards, len(entries))):
            self._turn = (self._turn + 1) % limits.stream_shards
            part = entries[self._turn :: limits.stream_shards]
            if part:
                yield {**labels, "__stream_shard__": str(self._turn)}, part

    def _store(
        self,
        tenant: Tenant,
        stream: Stream,
        entries: list[PushedEntry],
        errors: list[str],
        replicas: Sequence[int] | None,
    ) -> int:
        if not entries:
            return 0
        places = [c for i, c in enumerate(stream.memory) if c is not None and (replicas is None or i in replicas)]
        tenant.touch(entries)
        times = [entry[0] for entry in entries]
        # The usual push is newer than the stream and rising, so that nothing in it can repeat or be late.
        if times[0] > stream.highest_ns and all(map(int.__lt__, times, times[1:])):
            for columns in places:
                columns.extend(entries, self._limits.block_bytes)
            tenant.accept(stream, entries)
            last = entries[-1]
            stream.highest_ns = last[0]
            stream.last = (last[0], self._identity(last))
            return len(entries)
        held = _Held(self._limits)
        return sum(self._store_one(tenant, stream, entry, errors, places, held) for entry in entries)

    def _store_one(
        self,
        tenant: Tenant,
        stream: Stream,
        entry: PushedEntry,
        errors: list[str],
        places: list[Columns],
        held: _Held,
    ) -> int:
        time_ns, line, metadata = entry
        wanted = self._identity(entry)
        if (time_ns, wanted) == stream.last:
            return 1  # taken and dropped: the repetition of the last line
        behind = ns(self._limits.too_far_behind_seconds)
        cutoff = stream.highest_ns - behind
        if stream.highest_ns >= 0 and time_ns < cutoff and "__time_shard__" not in stream.labels:
            errors.append(
                f"entry with timestamp {time_ns} ignored, reason: 'entry too far behind, entry timestamp is: {time_ns}, "
                f"oldest acceptable timestamp is: {cutoff}', stream: {stream.name}"
            )
            return 0
        if not any(wanted in held.blocks(place, time_ns) for place in stream.places()):
            tenant.accept(stream, [entry])
        for columns in places:
            blocks = held.blocks(columns, time_ns)
            if blocks.get(wanted) == columns.block:
                continue  # the head block recognises it
            columns.repeats = columns.repeats or wanted in blocks
            blocks[wanted] = columns.block
            columns.add(time_ns, line, metadata, self._limits.block_bytes)
        stream.last = (time_ns, wanted)
        stream.highest_ns = max(stream.highest_ns, time_ns)
        return 1

    def _identity(self, entry: PushedEntry) -> tuple[str, ...]:
        return identity(entry[1], entry[2], with_metadata=self._limits.metadata_distinguishes)


class _Held:
    """Which entries a stream holds at the nanoseconds of one push, and in which block last: looked up once, so that many
    entries of one nanosecond do not cost the square of their number.
    """

    def __init__(self, limits: LokiLimits) -> None:
        self._with_metadata = limits.metadata_distinguishes
        self._known: dict[tuple[int, int], dict[tuple[str, ...], int]] = {}

    def blocks(self, columns: Columns, time_ns: int) -> dict[tuple[str, ...], int]:
        """Return identity → newest block of the entries of one nanosecond."""
        key = (id(columns), time_ns)
        if key not in self._known:
            self._known[key] = {
                identity(columns.lines[i], columns.metadata[i], with_metadata=self._with_metadata): columns.blocks[i]
                for i in columns.positions_at(time_ns)
            }
        return self._known[key]


def _with_level(labels: Mapping[str, str], line: str, metadata: Metadata | None) -> Metadata:
    found = metadata or {}
    return {**found, "detected_level": detected_level(labels, found, line)}


def byte_length(line: str) -> int:
    """Length of a line in the bytes it was pushed with."""
    return len(line) if line.isascii() else len(line.encode("utf-8", "surrogateescape"))
