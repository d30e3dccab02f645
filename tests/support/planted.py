"""Secrets to plant, and lines that carry them in every place a line has.

``core`` is the part of a secret that survives any encoding of it (``@`` as ``%40`` or ``\\u0040``); it is what must never be found.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Secret:
    """``text``: as it stands in a line; never shown by a failing test."""

    kind: str
    text: str = field(repr=False)
    core: str = field(repr=False)


@dataclass(frozen=True)
class Planted:
    """One line with its labels and metadata, and the secret in it with its place."""

    place: str
    secret: Secret
    line: str = field(repr=False)
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)
    metadata: Mapping[str, str] | None = field(default=None, repr=False)


def _luhn(digits: str) -> str:
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if index % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return digits + str(-total % 10)


def _iban(chance: random.Random) -> str:
    account = "".join(chance.choices("0123456789", k=18))
    number = int(account + "131400")  # "DE00": D = 13, E = 14 (ISO 13616)
    return f"DE{98 - number % 97:02d}{account}"


def _letters(chance: random.Random, alphabet: str, length: int) -> str:
    return "".join(chance.choices(alphabet, k=length))


_MIXED = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_CORES: Mapping[str, Callable[[random.Random], str]] = {
    "email": lambda chance: "u" + _letters(chance, "0123456789abcdef", 12),
    "ipv4": lambda chance: ".".join(str(chance.randrange(100, 255)) for _ in range(4)),
    "ipv6": lambda chance: "2001:db8:" + ":".join(f"{chance.randrange(0x1000, 0xFFFF):x}" for _ in range(6)),
    "iban": _iban,
    "card": lambda chance: _luhn("4" + _letters(chance, "0123456789", 14)),
    "aws": lambda chance: "AKIA" + _letters(chance, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    "bearer": lambda chance: _letters(chance, _MIXED, 36),
    "password": lambda chance: _letters(chance, _MIXED, 14),
}
_TEXTS = {"email": "{}@mail.example.org", "bearer": "Bearer {}", "password": "password={}"}


def make_secret(kind: str, chance: random.Random) -> Secret:
    """Return a secret that is like no other text of the test."""
    core = _CORES[kind](chance)
    return Secret(kind, _TEXTS.get(kind, "{}").format(core), core)


KINDS = tuple(_CORES)
#: Kinds that stand for themselves: a bearer token or password is known by the word before it.
_BARE = ("email", "ipv4", "ipv6", "iban", "card", "aws")
PLACES: Mapping[str, tuple[str, ...]] = {
    "text": KINDS,
    "logfmt": KINDS,
    "json value": KINDS,
    "nested json": KINDS,
    "json in json": KINDS,
    "json key": _BARE,
    "json number": ("card",),
    "url query": KINDS,
    "escaped at": ("email",),
    "label value": KINDS,
    "metadata value": KINDS,
    "metadata key": ("aws",),
    "broken json": KINDS,
}


def planted(number: int, seed: int) -> Iterator[Planted]:
    """Yield ``number`` lines, each with a secret of its own, over all places and kinds in turn."""
    chance = random.Random(seed)
    pairs = [(place, kind) for place, kinds in PLACES.items() for kind in kinds]
    for index in range(number):
        place, kind = pairs[index % len(pairs)]
        yield _plant(place, make_secret(kind, chance), index)


def _fields(secret: Secret) -> dict[str, object]:
    if secret.kind == "password":
        return {"password": secret.core}
    if secret.kind == "bearer":
        return {"authorization": secret.text}
    return {"value": secret.text}


def _plant(place: str, secret: Secret, index: int) -> Planted:
    text, fields = secret.text, _fields(secret)
    name, value = next(iter(fields.items()))
    plain = f'{{"msg":"request {index} done","status":200}}'
    lines = {
        "text": f"worker {index}: could not serve {text}, giving up",
        "logfmt": f'level=warn n={index} msg="request done" {name}="{value}" took=3ms',
        "json value": json.dumps({"msg": f"request {index}", **fields}),
        "nested json": json.dumps({"msg": f"request {index}", "list": [{"deep": fields}, 1]}),
        "json in json": json.dumps({"msg": f"request {index}", "payload": json.dumps({"n": 1, **fields})}),
        "json key": json.dumps({"msg": f"request {index}", "seen": {text: 1}}),
        "json number": f'{{"msg":"payment {index}","pan":{text}}}',
        "url query": f'10.0.0.0 - - "GET /api?n={index}&{_query(secret)}&x=1 HTTP/1.1" 200 12',
        "escaped at": f'{{"msg":"mail {index}","to":"{text.replace("@", chr(92) + "u0040")}"}}',
        "broken json": f'{{"msg":"cut {index}","{name}":"{value}","rest":',
    }
    if place == "label value":
        return Planted(place, secret, plain, labels={"owner": text})
    if place == "metadata value":
        return Planted(place, secret, plain, metadata={"owner": text})
    if place == "metadata key":
        return Planted(place, secret, plain, metadata={text: "seen"})
    return Planted(place, secret, lines[place])


def _query(secret: Secret) -> str:
    if secret.kind == "password":
        return secret.text
    if secret.kind == "bearer":
        return f"access_token={secret.core}"
    return "q=" + secret.text.replace("@", "%40")
