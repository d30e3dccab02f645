"""Floors of recall and precision on a sample of the corpora; ``python -m benchmarks.recall`` tells more."""

from __future__ import annotations

import pytest

from benchmarks.recall import PACKS, Scores, measure, redactor_of
from exporter.pipeline.redact.engine import Redactor
from tests.corpora.build import mutated, negatives, positives
from tests.corpora.mutations import MUTATIONS

#: Not the seed of the benchmark, whose texts the rules were tuned on.
SEED = 7
#: What a view of decoded text cannot see: base64 is found only where it says a word such as "password".
UNSEEN = "base64"


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return redactor_of(PACKS)


def test_recall_and_precision(redactor: Redactor) -> None:
    scores = Scores()
    measure(redactor, positives(SEED, 24), scores)
    measure(redactor, negatives(SEED, 12), scores)
    low = {name: score.recall(hold_out=False) for name, score in scores.detectors.items() if score.planted}
    assert not {name: recall for name, recall in low.items() if recall < 0.9}
    assert scores.recall >= 0.99
    assert scores.precision >= 0.99


def test_written_differently(redactor: Redactor) -> None:
    counts = {mutation: [0, 0] for mutation in MUTATIONS}
    for mutation, case in mutated(SEED, 3):
        counts[mutation][0] += case.value not in redactor.redact([case.text], {}).texts[0]
        counts[mutation][1] += 1
    low = {mutation: found / all_ for mutation, (found, all_) in counts.items() if mutation != UNSEEN}
    assert not {mutation: recall for mutation, recall in low.items() if recall < 0.97}


def test_the_same_seed_gives_the_same_texts() -> None:
    assert list(positives(SEED, 2)) == list(positives(SEED, 2))
    assert list(negatives(SEED, 2)) == list(negatives(SEED, 2))
