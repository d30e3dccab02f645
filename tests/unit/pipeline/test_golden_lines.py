"""Lines of every format through the whole pipeline, with labels as Promtail and Alloy set them: what leaves for a SIEM.

The samples are of our own making, after the formats' documentation; each event was read through before it was kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.domain.keys import ENVELOPE
from exporter.pipeline.normalise import Lines
from exporter.pipeline.normalise.source import has_required
from tests.support.pipelines import batch_of, events_of, pipeline_of, stream_of

FILES = sorted((Path(__file__).parents[2] / "golden" / "lines").glob("*.json"))
#: Members that every event of a stream shares; the rest is the line's own.
SHARED = set(ENVELOPE) - {"kind", "unmapped", "event.original", "metadata.is_truncated"}
#: Without packs, so that the samples show who and where; a redacted line is plain text to every parser
#: (masked.json).
PIPELINE = pipeline_of(redaction=[])


def own(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in SHARED}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path: Path):
    cases = json.loads(path.read_text("utf-8"))
    assert len(cases) >= 3
    for case in cases:
        metadata = [case["metadata"]] if "metadata" in case else None
        out = PIPELINE.process(batch_of(stream_of([case["line"]], case["labels"], metadata)))
        (event,) = map(own, events_of(out))
        assert event == case["event"], case["line"]
        assert out.counts["parse_declined"] == case["declined"]
        assert has_required(event["kind"], frozenset(event))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_many_lines_of_a_shape_become_what_one_becomes(path: Path):
    for case in json.loads(path.read_text("utf-8")):
        many = [case["line"]] * (Lines.COMPILE_AFTER + 2)
        metadata = [case["metadata"]] * len(many) if "metadata" in case else None
        out = PIPELINE.process(batch_of(stream_of(many, case["labels"], metadata)))
        assert all(own(event) == case["event"] for event in events_of(out))
