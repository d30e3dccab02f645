"""The demo's proof: what Loki accepted is what every target holds, each event once, and no planted value is anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import hyperscan

from exporter.sandbox.loglines import Planted

_EVENT_ID = re.compile(rb'"event\.id":"([0-9a-f]{32})"')
_CHUNK_BYTES = 1 << 22


def chunks_of(path: Path, overlap: int) -> Iterable[bytes]:
    """Yield a file in pieces that overlap, so that nothing is cut apart at a border."""
    with path.open("rb") as file:
        tail = b""
        while data := file.read(_CHUNK_BYTES):
            yield tail + data
            tail = data[-overlap:]


def ids_in(paths: Iterable[Path]) -> list[str]:
    """Return the event ids in files of one JSON object a line, in order, repeats included."""
    ids: list[str] = []
    for path in paths:
        with path.open("rb") as file:
            for line in file:
                ids.extend(match[1].decode() for match in _EVENT_ID.finditer(line[:400]))
    return ids


def count_leaks(planted: Sequence[Planted], paths: Iterable[Path]) -> dict[str, int]:
    """Return how many planted values occur in the files, by kind.

    A password of 14 random characters or an address cannot stand there by chance. Tens of thousands of values are looked for
    in one pass, as plain literals: this search shares nothing with the redaction that it judges but the engine below both.
    """
    values = sorted({(p.value.encode(), p.kind) for p in planted})
    if not values:
        return {}
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    literals = [raw for raw, _ in values]
    database.compile(
        expressions=literals,
        ids=list(range(len(literals))),
        elements=len(literals),
        flags=[hyperscan.HS_FLAG_SINGLEMATCH] * len(literals),
        literal=True,
    )
    found: set[int] = set()
    longest = max(map(len, literals))
    for path in paths:
        for data in chunks_of(path, longest):
            database.scan(data, match_event_handler=lambda number, *_: found.add(number))
    leaks: dict[str, int] = {}
    for number in found:
        kind = values[number][1]
        leaks[kind] = leaks.get(kind, 0) + 1
    return leaks
