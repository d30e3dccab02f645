"""Fuzz of all parsers: ``python -m tests.support.fuzz_parsers --lines N [--seed S]``.

Mutates known lines of every format (cut, double, splice, swap characters, repeat a part) and parses each as ``auto`` and in
one forced format. Fails on any exception but OverBound, on keys and values of unequal number, and on a line that takes
longer than the bound on CPU. Prints counts only, never a line.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import get_args

from exporter.pipeline.parse import OverBound
from exporter.pipeline.parse.lines import LineParser
from exporter.settings.model import LineFormat
from tests.support.parser_samples import SAMPLES

#: CPU for one line of at most 64 KiB in all formats; a backtracking pattern takes seconds.
LINE_SECONDS = 0.5
_ALPHABET = "\"'\\=|[]{}<>:;,. \t\n\x00\x1d\x7f\ufeff\ud800é-%/*@#(abAB019"


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


def fuzz(count: int, seed: int) -> dict[str, int]:
    """Return how many lines were parsed, text, over the bound, failed, slow."""
    random_ = random.Random(seed)
    lines = [line for samples in SAMPLES.values() for line in samples]
    auto = LineParser("auto")
    forced = [LineParser(wanted) for wanted in get_args(LineFormat)]
    totals = dict.fromkeys(("parsed", "text", "over_bound", "failed", "slow"), 0)
    for _ in range(count):
        line = mutated(random_, lines)
        start = time.process_time()
        for parser in (auto, random_.choice(forced)):
            try:
                found = parser.parse(line)
            except OverBound:
                totals["over_bound"] += parser is auto
            except Exception as error:  # noqa: BLE001 (counted, its text may hold the line)
                totals["failed"] += 1
                totals[f"failed {type(error).__name__}"] = totals.get(f"failed {type(error).__name__}", 0) + 1
            else:
                totals["failed"] += found is not None and len(found[1]) != len(found[2])
                if parser is auto:
                    totals["text" if found is None else "parsed"] += 1
        totals["slow"] += time.process_time() - start > LINE_SECONDS
    return totals


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--lines", type=int, default=100_000)
    arguments.add_argument("--seed", type=int, default=1)
    wanted = arguments.parse_args()
    start = time.process_time()
    totals = fuzz(wanted.lines, wanted.seed)
    print(totals, f"{(time.process_time() - start) * 1e6 / wanted.lines:.1f} µs per line, mutation included")
    return 1 if totals["failed"] or totals["slow"] else 0


if __name__ == "__main__":
    sys.exit(main())
