"""Recall and precision of the redaction packs by detector, on the corpora of ``tests/corpora``; recall by mutation.

``python -m benchmarks.recall [--each 120] [--packs eu-pii,secrets] [--misses]``

Recall: planted values of which not even a half is left. Precision: spans that lie on a planted value, of all spans on texts
with one and on look-alikes. Hold-out contexts are counted by themselves and never printed. The
same makers and the same author stand behind values and rules: figures on foreign texts are lower.
``--misses`` prints some texts that went wrong; all are made up.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from exporter.pipeline.redact.engine import Redactor
from exporter.pipeline.redact.rules import load_rules
from tests.corpora.build import Case, mutated, negatives, positives

SEED = 20261124
PACKS = ("eu-pii", "secrets")
_MIN_HALF = 6


@dataclass(slots=True)
class Score:
    """Counts of one detector."""

    planted: Counter[bool] = field(default_factory=Counter)  # by hold-out
    found: Counter[bool] = field(default_factory=Counter)
    right_spans: int = 0
    wrong_spans: int = 0

    def recall(self, *, hold_out: bool) -> float:
        return self.found[hold_out] / max(1, self.planted[hold_out])

    @property
    def precision(self) -> float:
        return self.right_spans / ((self.right_spans + self.wrong_spans) or 1)


@dataclass(slots=True)
class Scores:
    """Scores by detector, by mutation, and the texts that went wrong."""

    detectors: dict[str, Score] = field(default_factory=lambda: defaultdict(Score))
    mutations: dict[str, Counter[bool]] = field(default_factory=lambda: defaultdict(Counter))
    missed: list[Case] = field(default_factory=list)
    wrong: list[tuple[str, Case]] = field(default_factory=list)

    @property
    def recall(self) -> float:
        planted = sum(sum(score.planted.values()) for score in self.detectors.values())
        return sum(sum(score.found.values()) for score in self.detectors.values()) / max(1, planted)

    @property
    def precision(self) -> float:
        right = sum(score.right_spans for score in self.detectors.values())
        return right / max(1, right + sum(score.wrong_spans for score in self.detectors.values()))


def redactor_of(packs: Sequence[str]) -> Redactor:
    rules, _, findings = load_rules(packs, "packs")
    if findings:
        raise SystemExit("\n".join(map(str, findings)))
    return Redactor(rules)


def left(redactor: Redactor, case: Case) -> bool:
    """Tell whether the value, or one of its halves where that is not too short to tell, still stands in what comes out."""
    out = redactor.redact([case.text], {}).texts[0]
    half = len(case.value) // 2
    parts = [case.value, *((case.value[:half], case.value[half:]) if half >= _MIN_HALF else ())]
    return any(part in out for part in parts)


def measure(redactor: Redactor, cases: Iterable[Case], scores: Scores) -> None:
    names = [rule.name for rule in redactor.rules]
    for case in cases:
        raw = case.text.encode()
        begin = case.text.rindex(case.value) if case.value else -1
        first = len(case.text[:begin].encode()) if case.value else -1
        last = first + len(case.value.encode())
        for start, end, index in redactor.spans(raw, b"\n"):
            if case.value and start < last and end > first:
                scores.detectors[names[index]].right_spans += 1
            else:
                scores.detectors[names[index]].wrong_spans += 1
                scores.wrong.append((names[index], case))
        if case.value:
            score = scores.detectors[case.detector]
            score.planted[case.hold_out] += 1
            if left(redactor, case):
                scores.missed.append(case)
            else:
                score.found[case.hold_out] += 1


def measure_mutations(redactor: Redactor, each: int, scores: Scores) -> None:
    for mutation, case in mutated(SEED + 2, each):
        missed = left(redactor, case)
        scores.mutations[mutation][not missed] += 1
        if missed:
            scores.missed.append(case)


def report(scores: Scores) -> str:
    lines = [f"{'detector':18}{'recall %':>10}{'hold-out %':>12}{'precision %':>13}{'texts':>8}"]
    for name, score in sorted(scores.detectors.items()):
        recall, unseen = (100 * score.recall(hold_out=held) for held in (False, True))
        shown = f"{recall:10.1f}{unseen:12.1f}" if score.planted else " " * 22
        precise = f"{100 * score.precision:13.1f}" if score.right_spans + score.wrong_spans else " " * 13
        lines.append(f"{name:18}{shown}{precise}{sum(score.planted.values()):8}")
    lines += ["", f"all: recall {100 * scores.recall:.2f} %, precision {100 * scores.precision:.2f} %", ""]
    lines.append(f"{'mutation':24}{'recall %':>10}{'texts':>8}")
    for name, counts in scores.mutations.items():
        lines.append(f"{name:24}{100 * counts[True] / counts.total():10.1f}{counts.total():8}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--each", type=int, default=150, help="texts a detector and a kind of look-alike")
    parser.add_argument("--packs", default=",".join(PACKS))
    parser.add_argument("--misses", action="store_true", help="print texts that went wrong")
    arguments = parser.parse_args()
    redactor = redactor_of(arguments.packs.split(","))
    scores = Scores()
    measure(redactor, positives(SEED, arguments.each), scores)
    measure(redactor, negatives(SEED + 1, arguments.each), scores)
    measure_mutations(redactor, max(1, arguments.each // 10), scores)
    print(report(scores))
    if arguments.misses:
        shown: Counter[tuple[str, str]] = Counter()
        for case in (case for case in scores.missed if not case.hold_out):
            shown[case.detector, case.context] += 1
            if shown[case.detector, case.context] <= 2:
                print("missed", case.detector, case.context, repr(case.text[:160]), repr(case.value[:60]))
        for name, case in scores.wrong:
            shown[name, "wrong"] += 1
            if shown[name, "wrong"] <= 5:
                print("wrong", name, case.detector, repr(case.text[:160]))


if __name__ == "__main__":
    main()
