"""The corpora: the same seed gives the same texts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.corpora.contexts import CONTEXTS, PAIR_CONTEXTS
from tests.corpora.mutations import CASELESS, MUTATIONS
from tests.corpora.negatives import NEGATIVES
from tests.corpora.values import MAKERS, PAIR_MAKERS


@dataclass(frozen=True, slots=True)
class Case:
    """A text, and the value in it that must not be left (empty: nothing may be touched)."""

    detector: str
    context: str
    hold_out: bool
    text: str
    value: str


def positives(seed: int, each: int) -> Iterator[Case]:
    """Yield that many texts of every detector, the contexts in turn."""
    rng = random.Random(seed)
    for detector, make in MAKERS.items():
        for number in range(each):
            context = CONTEXTS[number % len(CONTEXTS)]
            before, value, after = map(context.escape, make(rng))
            text = context.template.format(before + value + after)
            yield Case(detector, context.name, context.hold_out, text, value)
    for detector, make_pair in PAIR_MAKERS.items():
        for number in range(each):
            context = PAIR_CONTEXTS[number % len(PAIR_CONTEXTS)]
            key, value = make_pair(rng)
            value = context.escape(value)
            text = context.template.format(key=key, value=value)
            yield Case(detector, context.name, context.hold_out, text, value)


def negatives(seed: int, each: int) -> Iterator[Case]:
    """Yield that many texts of every kind of look-alike."""
    rng = random.Random(seed)
    for kind, make in NEGATIVES.items():
        for _ in range(each):
            yield Case(kind, "", False, make(rng), "")


def mutated(seed: int, each: int) -> Iterator[tuple[str, Case]]:
    """Yield (mutation, text) of every detector and mutation, in a sentence."""
    rng = random.Random(seed)
    for mutation, write in MUTATIONS.items():
        for detector, make in MAKERS.items():
            if mutation.endswith("case") and detector not in CASELESS:
                continue
            for _ in range(each):
                text, value = write(*make(rng))
                yield mutation, Case(detector, mutation, False, f"saw {text} then", value)
