"""Fuzz of all parsers and of the whole pipeline: ``python -m tests.support.fuzz_parsers --lines N [--seed S] [--part P]``.

Mutates known lines of every format (cut, double, splice, swap characters, repeat a part). Each is parsed as ``auto`` and in one
forced format, and in batches goes through a pipeline with both packs, where each line must leave as one event. Fails on any
exception but OverBound, on keys and values of unequal number, on a line that is lost or held, and on a line that takes longer than
the bound on CPU. Reports growth of CPU time with the length of hostile lines. Prints counts only, never a line.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import get_args

from exporter.pipeline import Pipeline
from exporter.pipeline.parse import OverBound
from exporter.pipeline.parse.lines import LineParser
from exporter.settings.model import LineFormat
from tests.support.parser_samples import HOSTILE, SAMPLES
from tests.support.pipelines import batch_of, pipeline_of, stream_of

#: CPU for one line of at most 64 KiB in all formats; a backtracking pattern takes seconds.
LINE_SECONDS = 0.5
#: CPU of a line of 64 KiB over that of one of 16 KiB: 4 where it grows with the length, 16 with its square.
MAX_GROWTH = 8.0
BATCH = 500
_SIZES = (16_000, 64_000)
_ALPHABET = "\"'\\=|[]{}<>:;,. \t\n\x00\x1d\x7f\ufeff\ud800é-%/*@#(abAB019"
_LABELS = ({"job": "fuzz"}, {"unit": "ssh.service"}, {"app": "sudo"}, {"job": "filterlog"})


def mutated(random_: random.Random, lines: list[str]) -> str:
    """Return a line made of known ones."""
    line = random_.choice(lines)
    for _ in range(random_.randint(1, 4)):
        at = random_.randint(0, len(line))
        end = min(len(line), at + random_.randint(0, 12))
        choice = random_.randrange(6)
        if choice == 0:
            line = line[:at] + line[end:]
        elif choice == 1:
            line = line[:at] + random_.choice(_ALPHABET) + line[at:]
        elif choice == 2:
            line = line[:at] + random_.choice(_ALPHABET) + line[at + 1 :]
        elif choice == 3:
            other = random_.choice(lines)
            line = line[:at] + other[random_.randint(0, len(other)) :]
        elif choice == 4:
            line = line[:at]
        else:
            repeats = random_.choice((2, 5, 50)) if random_.random() < 0.99 else 2000
            line = line[:at] + line[at:end] * repeats + line[end:]
    return line[:66_000]


def _mutations(count: int, seed: int, report: Callable[[int], None]) -> Iterator[str]:
    random_ = random.Random(seed)
    lines = [line for samples in SAMPLES.values() for line in samples]
    for number in range(1, count + 1):
        yield mutated(random_, lines)
        if number % 50_000 == 0:
            report(number)


def fuzz(count: int, seed: int, report: Callable[[int], None] = lambda _: None) -> Counter[str]:
    """Return how many lines were parsed, text, over the bound, failed, slow."""
    auto = LineParser("auto")
    forced = [LineParser(wanted) for wanted in get_args(LineFormat)]
    chosen = random.Random(seed)
    totals: Counter[str] = Counter()
    for line in _mutations(count, seed, report):
        start = time.process_time()
        for parser in (auto, chosen.choice(forced)):
            try:
                found = parser.parse(line)
            except OverBound:
                totals["over_bound"] += parser is auto
            except Exception as error:  # noqa: BLE001 (counted, its text may hold the line)
                totals["failed"] += 1
                totals[f"failed {type(error).__name__}"] += 1
            else:
                totals["failed"] += found is not None and len(found[1]) != len(found[2])
                if parser is auto:
                    totals["text" if found is None else "parsed"] += 1
        totals["slow"] += time.process_time() - start > LINE_SECONDS
    return totals


def fuzz_pipeline(
    count: int, seed: int, pipeline: Pipeline, report: Callable[[int], None] = lambda _: None
) -> Counter[str]:
    """Return how many lines went through the pipeline, and how many were held or lost."""
    totals: Counter[str] = Counter()

    def through(lines: list[str]) -> None:
        out = pipeline.process(batch_of(stream_of(lines, _LABELS[totals["batches"] % len(_LABELS)])))
        totals["batches"] += 1
        totals["out"] += len(out.values)
        totals["held"] += len(out.held_ids)
        totals["declined"] += out.counts["parse_declined"]
        totals["failed"] += len(out.values) + len(out.held_ids) != len(lines)

    lines: list[str] = []
    for line in _mutations(count, seed, report):
        # Lines come from Loki as valid UTF-8: half a surrogate pair cannot be among them.
        lines.append(line.replace("\ud800", "\ufffd"))
        if len(lines) == BATCH:
            through(lines)
            lines = []
    if lines:
        through(lines)
    return totals


def growth(repeats: int = 3) -> dict[str, float]:
    """Return CPU time of 64 KiB over that of 16 KiB in the whole pipeline for each hostile line, worst first."""
    pipeline = pipeline_of()
    ratios = {}
    for name, (front, part) in HOSTILE.items():
        small, large = (_seconds(pipeline, (front + part * size)[:size], repeats) for size in _SIZES)
        ratios[name] = large / small
    return dict(sorted(ratios.items(), key=lambda pair: -pair[1]))


def _seconds(pipeline: Pipeline, line: str, repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        batch = batch_of(stream_of([line]))
        start = time.process_time()
        pipeline.process(batch)
        best = min(best, time.process_time() - start)
    return best


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--lines", type=int, default=100_000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--part", choices=("parsers", "pipeline", "growth", "all"), default="all")
    wanted = arguments.parse_args()
    bad = 0

    def report(number: int) -> None:
        print(f"  {number} lines", flush=True)

    runs: dict[str, Callable[[], Counter[str]]] = {
        "parsers": lambda: fuzz(wanted.lines, wanted.seed, report),
        "pipeline": lambda: fuzz_pipeline(wanted.lines, wanted.seed, pipeline_of(), report),
    }
    for name, run in runs.items():
        if wanted.part in {name, "all"}:
            start = time.process_time()
            totals = run()
            cost = (time.process_time() - start) * 1e6 / wanted.lines
            print(name, dict(totals), f"{cost:.1f} µs per line, mutation included", flush=True)
            bad += totals["failed"] + totals["slow"] + totals["held"]
    if wanted.part in {"growth", "all"}:
        for name, ratio in growth().items():
            bad += ratio > MAX_GROWTH
            print(f"growth {name}: {ratio:.1f}{' TOO MUCH' if ratio > MAX_GROWTH else ''}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
