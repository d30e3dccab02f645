"""The demo's proof: what Loki accepted is what every target holds, each event once, and no planted value is anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

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

    A password of 14 random characters or an address cannot stand there by chance. Values are looked for by their first
    eight characters first, so that thousands of them cost one pass.
    """
    by_start: dict[bytes, list[tuple[bytes, str]]] = {}
    for value, kind in {(p.value, p.kind) for p in planted}:
        raw = value.encode()
        by_start.setdefault(raw[:8], []).append((raw, kind))
    longest = max((len(raw) for values in by_start.values() for raw, _ in values), default=1)
    pattern = re.compile(b"(?=(" + b"|".join(map(re.escape, sorted(by_start))) + b"))") if by_start else None
    leaks: dict[str, int] = {}
    found: set[bytes] = set()
    for path in paths:
        for data in chunks_of(path, longest):
            for start, values in by_start.items() if pattern is not None else ():
                if start in data:
                    for raw, kind in values:
                        if raw in data and raw not in found:
                            found.add(raw)
                            leaks[kind] = leaks.get(kind, 0) + 1
    return leaks
