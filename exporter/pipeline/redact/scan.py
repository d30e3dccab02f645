"""Block scanners: where in a block may a rule match? They answer with end offsets; the exact step decides.

:class:`VectorscanScanner` runs two databases, because literal-led and digit-led patterns slow each other down in one
(203 against 172 MB/s, measured). :class:`StdlibScanner` is the fallback where the wheel is missing: same hits after the
exact step, about fifty times slower.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

try:
    import hyperscan
except ImportError:  # no wheel for this platform (musl on arm64, for one)
    hyperscan = None  # type: ignore[assignment]

#: rule index, start (only of rules that ask for it, else 0), end
Hit = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class ScanPattern:
    """What a rule asks of the scanner. ``rule``: its index, reported with every hit. ``start_known``: report where the match starts as well; costs half the speed,
    so only for short patterns of fixed shape. ``digits``: holds no literal, only digits and the like.
    """

    rule: int
    expression: bytes
    caseless: bool
    digits: bool
    start_known: bool


class Scanner(Protocol):
    """Finds candidates. Thread-safe."""

    def scan(self, block: bytes) -> list[Hit]:
        """Return hits in no particular order."""
        ...


class VectorscanScanner:
    """PyPI ``hyperscan`` (Vectorscan). Byte semantics, never the UTF8 flag: invalid UTF-8 is undefined behaviour then.

    Raises ValueError when a pattern does not compile.
    """

    def __init__(self, patterns: Sequence[ScanPattern]) -> None:
        self._databases = []
        for digits in (False, True):
            members = [p for p in patterns if p.digits is digits]
            if not members:
                continue
            database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
            flags = [
                (hyperscan.HS_FLAG_CASELESS if p.caseless else 0)
                | (hyperscan.HS_FLAG_SOM_LEFTMOST if p.start_known else 0)
                for p in members
            ]
            try:
                database.compile(
                    expressions=[p.expression for p in members],
                    ids=[p.rule for p in members],
                    elements=len(members),
                    flags=flags,
                )
            except hyperscan.error as error:
                raise ValueError(f"a scan pattern does not compile: {error}") from None
            self._databases.append((database, hyperscan.Scratch(database)))
        # A scratch shared by two threads makes the scan fail (ScratchInUseError), so each thread clones its own.
        self._local = threading.local()

    def scan(self, block: bytes) -> list[Hit]:
        hits: list[Hit] = []
        append = hits.append

        def on_match(rule: int, start: int, end: int, _flags: int, _context: Any) -> None:
            append((rule, start, end))

        try:
            pairs = self._local.pairs
        except AttributeError:
            pairs = self._local.pairs = [(d, s.clone()) for d, s in self._databases]
        for database, scratch in pairs:
            database.scan(block, match_event_handler=on_match, scratch=scratch)
        return hits


class StdlibScanner:
    """The same with ``re``. A look-ahead around the pattern finds overlapping candidates too, as Vectorscan does."""

    def __init__(self, patterns: Sequence[ScanPattern]) -> None:
        self._patterns = [
            (p, re.compile(b"(?=(" + p.expression + b"))", re.IGNORECASE if p.caseless else 0)) for p in patterns
        ]

    def scan(self, block: bytes) -> list[Hit]:
        return [
            (pattern.rule, match.start(1) if pattern.start_known else 0, match.end(1))
            for pattern, search in self._patterns
            for match in search.finditer(block)
        ]


def best_scanner(patterns: Sequence[ScanPattern]) -> Scanner:
    """Return the fastest scanner of this machine."""
    return StdlibScanner(patterns) if hyperscan is None else VectorscanScanner(patterns)
