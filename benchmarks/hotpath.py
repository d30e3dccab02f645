"""Loki page → decode → ids → redact → parse → normalise → encode → exit scan → ledger: CPU microseconds per event, by stage.

``python -m benchmarks.hotpath [SCRIPT] [--events 40000] [--runs 5]``, or ``LINES=SCRIPT``.

SCRIPT makes the lines: ``SCRIPT N OUT [--sparse]`` writes N lines to OUT and what it planted to OUT.truth (a JSON list of
``[kind, text, line, place]``). Without one the sandbox's generator is used, whose lines are shorter and carry more.

CPU time of this process, best of several runs (a shared machine only ever makes a run slower). A fixed piece of work is timed
beside it, so that figures of different machines or loads can be compared. The leak check looks for every planted value in the
bytes of all events.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from exporter.custody.ledger import account_of
from exporter.domain.entries import EntryBatch, StreamEntries
from exporter.domain.events import EncodedBatch, time_ns_of
from exporter.domain.ids import StreamHasher
from exporter.domain.windows import Window
from exporter.loki.decode import Page, decode_page
from exporter.pipeline import Pipeline, compile_pipeline
from exporter.pipeline.encode import encode_body
from exporter.pipeline.normalise import Normaliser
from exporter.pipeline.parse.lines import LineParser
from exporter.pipeline.redact.engine import Redactor
from exporter.pipeline.redact.rules import load_rules
from exporter.sandbox.loglines import LogGenerator
from exporter.settings.model import TenantSettings

START_NS = 1_764_000_000_000_000_000
STEP_NS = 37_000_000
PAGE = 5000  # Loki's default max_entries_limit_per_query
STREAMS = 10
TENANT = "acme"
#: Budget of the design (sparse, dense), µs CPU per event; the sums of the issue's "must reach" are 14 and 22.
BUDGET = {
    "decode page": (0.9, 0.9),
    "scan": (1.0, 1.5),
    "spans, splice": (0.6, 3.5),
    "parse, map, ids, encode": (5.5, 6.0),
    "exit scan": (1.2, 1.5),
    "produce": (1.5, 1.5),
    "total": (14.0, 22.0),
}
#: The same job on the same lines (dense), whole-process CPU per event (design, "Peers"); to Kafka, without normalising.
PEERS = (
    ("Fluent Bit 5.1.1, parse + 6 redaction rules", 43.0),
    ("Vector 0.58, parse + 6 redaction rules", 28.7),
    ("Fluent Bit 5.1.1, all formats + 6 rules", 44.0),
    ("Vector 0.58, all formats + 6 rules", 42.0),
)
#: A fixed piece of work to compare runs by.
_CALIBRATION = orjson.dumps({f"key{i}": f"value {i}" * 2 for i in range(12)})

#: Extra stage at the end: events of a batch → CPU seconds it took, all threads included.
Produce = Callable[[Sequence[EncodedBatch]], float]


@dataclass(slots=True)
class Lines:
    """Lines of one density and what was planted in them."""

    name: str
    lines: list[str]
    planted: list[tuple[int, str]]  # line number, value


def from_script(script: str, events: int, *, sparse: bool) -> Lines:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lines.log"
        command = [sys.executable, script, str(events), str(out), *(["--sparse"] if sparse else [])]
        subprocess.run(command, check=True, timeout=300)
        truth = json.loads(Path(f"{out}.truth").read_text("utf-8"))
        lines = out.read_text("utf-8").splitlines()
    return Lines("sparse" if sparse else "dense", lines, [(item[2], item[1]) for item in truth])


def from_sandbox(events: int, *, sparse: bool) -> Lines:
    generator = LogGenerator(20261124, tenant=TENANT, pii_share=0.09 if sparse else 0.95)
    entries = list(generator.entries(events, START_NS, STEP_NS))
    planted = [
        (number, p.value) for number, entry in enumerate(entries) for p in entry.planted if p.value in entry.line
    ]
    return Lines("sparse" if sparse else "dense", [entry.line for entry in entries], planted)


def pages_of(lines: Sequence[str]) -> list[bytes]:
    """Return the answers that Loki would give for these lines."""
    pages = []
    for first in range(0, len(lines), PAGE):
        chunk = lines[first : first + PAGE]
        streams = [
            {
                "stream": {"job": "shop", "namespace": "prod", "pod": f"shop-{number}"},
                "values": [
                    [str(START_NS + (first + i) * STEP_NS), chunk[i], {}] for i in range(number, len(chunk), STREAMS)
                ],
            }
            for number in range(min(STREAMS, len(chunk)))
        ]
        stats = {"ingester": {"totalLinesSent": len(chunk)}}
        data = {"resultType": "streams", "result": streams, "stats": stats, "encodingFlags": ["categorize-labels"]}
        pages.append(orjson.dumps({"status": "success", "data": data}))
    return pages


def batch_of(page: Page) -> EntryBatch:
    streams = []
    for stream in page.streams:
        ids = StreamHasher(TENANT, stream.labels).event_ids(stream.times_ns, stream.lines, stream.metadata)
        streams.append(StreamEntries(stream.labels, stream.times_ns, stream.lines, ids, stream.metadata))
    return EntryBatch(TENANT, streams)


def cpu(work: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """Return the least CPU seconds of some runs, and what the last one returned. Without garbage collection, as the decoder
    and the pipeline run.
    """
    best, result = float("inf"), None
    for _ in range(runs):
        result = None
        gc.collect()
        gc.disable()
        before = time.process_time()
        result = work()
        best = min(best, time.process_time() - before)
        gc.enable()
    return best, result


@dataclass(slots=True)
class Stages:
    """CPU seconds by stage, and what came out."""

    seconds: dict[str, float]
    batches: list[EncodedBatch]


def measure(pipeline: Pipeline, settings: TenantSettings, lines: Lines, runs: int, produce: Produce | None) -> Stages:
    pages = pages_of(lines.lines)
    window = Window(START_NS, START_NS + len(lines.lines) * STEP_NS + 1)
    seconds: dict[str, float] = {}
    seconds["decode page"], decoded = cpu(lambda: [decode_page(page, window) for page in pages], runs)
    seconds["event ids"], batches = cpu(lambda: [batch_of(page) for page in decoded], runs)
    whole, out = cpu(lambda: [pipeline.process(batch) for batch in batches], runs)
    seconds.update(_inside(settings, batches, runs))
    parts = ("scan", "spans, splice", "parse", "map", "encode", "exit scan")
    seconds["ledger"], _ = cpu(lambda: [account_of(batch.values) for batch in out], runs)
    seconds["heads, joins"] = max(0.0, whole - sum(seconds[part] for part in parts))
    if produce is not None:
        seconds["produce"] = produce(out)
    # Not the sum of the parts: those are timed apart, on columns that have left the cache.
    produced = seconds.get("produce", 0.0)
    seconds["total"] = seconds["decode page"] + seconds["event ids"] + whole + seconds["ledger"] + produced
    return Stages(seconds, out)


def _inside(settings: TenantSettings, batches: list[EntryBatch], runs: int) -> dict[str, float]:
    """Time the steps of the pipeline apart, each on the outcome of the one before, page by page."""
    rules, _, _ = load_rules(settings.redaction, "")
    redactor = Redactor(rules)
    parser, normaliser = LineParser(settings.format), Normaliser()
    to_event = normaliser.mapper(frozenset(("k8s.namespace.name", "k8s.pod.name")))
    seconds = dict.fromkeys(("scan", "spans, splice", "parse", "map", "encode", "exit scan"), 0.0)
    for batch in batches:
        texts = [line for stream in batch.streams for line in stream.lines]
        block = "\n".join(texts).encode()
        scan, _ = cpu(lambda block=block: redactor.scanner.scan(block), runs)
        redact, done = cpu(lambda texts=texts: redactor.redact(texts, {}), runs)
        parse, parsed = cpu(lambda done=done: [parser.parse(text) for text in done.texts], runs)
        pairs = [(p, t) for p, t in zip(parsed, done.texts, strict=True)]
        mapping, events = cpu(
            lambda pairs=pairs: [to_event(*p) if p else {"kind": "log", "message": t} for p, t in pairs], runs
        )
        encode, bodies = cpu(lambda events=events: [encode_body(event) for event in events], runs)
        leave, _ = cpu(lambda bodies=bodies: redactor.spans(b"\n".join(bodies), b"\n"), runs)
        for name, spent in zip(seconds, (scan, redact - scan, parse, mapping, encode, leave), strict=True):
            seconds[name] += max(0.0, spent)
    return seconds


def leaks(lines: Lines, batches: Sequence[EncodedBatch]) -> int:
    """Return how many planted values stand in the event of their line."""
    values = {(time_ns_of(value) - START_NS) // STEP_NS: value for batch in batches for value in batch.values}
    return sum(text.encode() in values[number] for number, text in lines.planted)


def report(results: dict[str, tuple[Lines, Stages]]) -> None:
    names = list(results)
    print(f"{'stage':28}" + "".join(f"{n + ' µs':>12}{'budget':>8}" for n in names))
    stages = list(next(iter(results.values()))[1].seconds)
    for stage in stages:
        cells = ""
        for column, name in enumerate(names):
            lines, measured = results[name]
            budget = BUDGET.get(stage)
            cells += f"{measured.seconds[stage] / len(lines.lines) * 1e6:12.2f}{budget[column] if budget else '':>8}"
        print(f"{stage:28}{cells}")
    print("\npeers on the dense lines, whole process, µs CPU per event:")
    for name, value in PEERS:
        print(f"  {name:48}{value:6.1f}")
    calibrated, _ = cpu(lambda: [orjson.loads(_CALIBRATION) for _ in range(10_000)], 7)
    print(f"\ncalibration: orjson.loads of {len(_CALIBRATION)} bytes {calibrated / 10_000 * 1e6:.2f} µs now")


def main(produce: Produce | None = None, arguments: Sequence[str] | None = None) -> int:
    """Run and print; ``produce`` is the caller's stage that hands events to a bus. Returns 1 when something leaked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", nargs="?", default=os.environ.get("LINES", ""))
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args(arguments)
    settings = TenantSettings(selector='{job=~".+"}')
    pipeline = compile_pipeline(TENANT, settings)
    results: dict[str, tuple[Lines, Stages]] = {}
    leaked = 0
    for sparse in (True, False):
        if options.script:
            lines = from_script(options.script, options.events, sparse=sparse)
        else:
            lines = from_sandbox(options.events, sparse=sparse)
        measured = measure(pipeline, settings, lines, options.runs, produce)
        results[lines.name] = (lines, measured)
        counts = {key: sum(b.counts[key] for b in measured.batches) for key in measured.batches[0].counts}
        size = sum(b.size_bytes for b in measured.batches) / max(1, counts["out"])
        found = leaks(lines, measured.batches)
        leaked += found
        raw = sum(map(len, lines.lines)) / len(lines.lines)
        print(
            f"{lines.name}: {raw:.0f} bytes a line, {size:.0f} an event, {counts}; planted values left: {found} of {len(lines.planted)}"
        )
    print()
    report(results)
    return 1 if leaked else 0


if __name__ == "__main__":
    sys.exit(main())
