"""Running a tenant's own ``tests``: examples of lines and what its policy has to make of them.

Called by ``check``, ``policy test`` and at the start of the service. Reports name tests and fields; they quote neither the
line nor what came out, since a failed test may be one that shows a leak.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from exporter.domain.entries import EntryBatch, StreamEntries
from exporter.domain.ids import StreamHasher
from exporter.errors import Finding
from exporter.pipeline.filters.values import as_text, at_path
from exporter.pipeline.pipeline import Pipeline
from exporter.settings.filters import PolicyTest

#: Any moment does; a fixed one gives a test the same event id, and so the same sampling, every time.
_TIME_NS = 1_700_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one test. ``faults``: reason of each expectation that was not met; none: it passed."""

    tenant: str
    name: str
    faults: tuple[str, ...]


def run_tests(pipeline: Pipeline, tests: tuple[PolicyTest, ...]) -> list[Verdict]:
    """Run tests, each in a batch of its own."""
    return [Verdict(pipeline.tenant, test.name, tuple(_faults(pipeline, test))) for test in tests]


def failed_findings(results: list[Verdict]) -> Iterator[Finding]:
    """Yield failed tests as configuration errors."""
    for index, result in enumerate(results):
        for fault in result.faults:
            cure = "Correct the policy, or what the test expects."
            yield Finding(f"tenants.{result.tenant}.tests[{index}]", f"test `{result.name}`: {fault}", cure)


def _faults(pipeline: Pipeline, test: PolicyTest) -> Iterator[str]:
    hasher = StreamHasher(pipeline.tenant, test.labels)
    stream = StreamEntries(test.labels, [_TIME_NS], [test.line], hasher.event_ids([_TIME_NS], [test.line], None))
    out = pipeline.process(EntryBatch(pipeline.tenant, [stream]))
    outcome = "held back" if out.held_ids else "kept" if out.values else "dropped"
    if outcome != test.expect.outcome:
        by = f" by {next(iter(out.filtered))}" if out.filtered else ""
        yield f"the event is {outcome}{by}, expected {test.expect.outcome}"
        return
    if not out.values:
        return
    event: Mapping[str, Any] = json.loads(out.values[0])
    for name, expected in test.expect.fields.items():
        value = at_path(event, name)
        if value is None:
            yield f"the event has no field {name}"
        elif as_text(value) != as_text(expected):
            yield f"field {name} is not as expected"
    standing = "\n".join(_texts(event))
    for number, text in enumerate(test.expect.absent, start=1):
        if text in standing:
            yield f"text {number} of `absent` stands in the event"


def _texts(value: Any) -> Iterator[str]:
    """Yield every key and every scalar, decoded, so that an escape cannot hide one."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None:
        yield as_text(value) or ""
