"""Build batches for the pipeline and read what came out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from exporter.domain.entries import EntryBatch, StreamEntries
from exporter.domain.events import EncodedBatch
from exporter.domain.ids import StreamHasher
from exporter.pipeline import Pipeline, compile_pipeline
from exporter.settings.model import TenantSettings

TENANT = "acme"
NOW_NS = 1_764_000_000_000_000_000
LABELS = {"job": "shop"}


def settings_of(**changes: Any) -> TenantSettings:
    return TenantSettings.model_validate({"selector": '{job=~".+"}', **changes})


def pipeline_of(**changes: Any) -> Pipeline:
    return compile_pipeline(TENANT, settings_of(**changes))


def stream_of(
    lines: Sequence[str],
    labels: Mapping[str, str] = LABELS,
    metadata: list[Mapping[str, str]] | None = None,
) -> StreamEntries:
    times = [NOW_NS + i for i in range(len(lines))]
    ids = StreamHasher(TENANT, labels).event_ids(times, lines, metadata)
    return StreamEntries(labels, times, list(lines), ids, metadata)


def batch_of(*streams: StreamEntries, late: bool = False) -> EntryBatch:
    return EntryBatch(TENANT, list(streams), late)


def events_of(out: EncodedBatch) -> list[dict[str, Any]]:
    return [json.loads(value) for value in out.values]


def leaked(planted: Sequence[str], *outputs: bytes) -> int:
    """Return how many planted values stand in the outputs; a number, so that a failing test prints none of them."""
    return sum(any(value.encode() in output for output in outputs) for value in planted)
