"""The manifests of an exported ledger: what belongs to it, in which order, and where its chains end.

A folder holds ``segments/`` (records, one a line) and ``manifest-<number>.json``, one for each export. Each manifest names its
segments by their SHA-256 and the manifest before it by its own; ``manifest-<number>.dsse.json`` is its signature.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from exporter.custody.chains import Chain, Head
from exporter.custody.records import GENESIS

VERSION = 1
SEGMENTS = "segments"
_NAME = re.compile(r"manifest-(\d{8})\.json")


class NotAManifest(ValueError):
    """The file is not what we write, or of a newer release."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of records of one part (a shard's number; -1: receipts)."""

    file: str
    sha256: str
    bytes: int
    records: int
    part: int
    first_at_ns: int
    last_at_ns: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """See the module. ``heads`` are the ends of all chains after this export; ``unchained`` counts receipts of format 1 by target.
    ``whole`` is False when the export was asked to begin later than the ledger does.
    """

    number: int
    previous: str
    made_at_ns: int
    exporter: str
    whole: bool
    segments: Sequence[Segment] = ()
    heads: dict[Chain, Head] = field(default_factory=dict)
    unchained: dict[str, int] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the bytes that are written, hashed and signed."""
        body = {
            "v": VERSION,
            "kind": "ledger-manifest",
            "number": self.number,
            "previous": self.previous,
            "made_at_ns": self.made_at_ns,
            "exporter": self.exporter,
            "whole": self.whole,
            "segments": [asdict(segment) for segment in self.segments],
            "heads": [[*chain, *head] for chain, head in sorted(self.heads.items())],
            "unchained": self.unchained,
        }
        return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"

    @classmethod
    def decode(cls, raw: bytes) -> Manifest:
        """Raises NotAManifest."""
        try:
            body: dict[str, Any] = orjson.loads(raw)
            if body["kind"] != "ledger-manifest" or body["v"] != VERSION:
                raise NotAManifest("it is no manifest of this format; use the release that wrote it, or newer")
            return cls(
                number=int(body["number"]),
                previous=str(body["previous"]),
                made_at_ns=int(body["made_at_ns"]),
                exporter=str(body["exporter"]),
                whole=bool(body["whole"]),
                segments=[Segment(**item) for item in body["segments"]],
                heads={Chain(s, t, w): Head(n, h) for s, t, w, n, h in body["heads"]},
                unchained={str(k): int(v) for k, v in body["unchained"].items()},
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise NotAManifest(f"it is no manifest ({type(error).__name__})") from None


def path_of(folder: Path, number: int) -> Path:
    return folder / f"manifest-{number:08d}.json"


def signature_of(manifest: Path) -> Path:
    return manifest.with_suffix(".dsse.json")


def numbers_in(folder: Path) -> list[int]:
    """Return the numbers of the manifests in a folder, in order."""
    return sorted(int(found[1]) for path in folder.glob("manifest-*.json") if (found := _NAME.fullmatch(path.name)))


def last_in(folder: Path) -> tuple[Manifest | None, str]:
    """Return the newest manifest and its hash, for the one that follows. Raises NotAManifest, OSError."""
    numbers = numbers_in(folder)
    if not numbers:
        return None, GENESIS
    raw = path_of(folder, numbers[-1]).read_bytes()
    return Manifest.decode(raw), hashlib.sha256(raw).hexdigest()


def write_new(path: Path, data: bytes) -> None:
    """Write a file as a whole and durably. Raises FileExistsError when it is there: another export runs in the same folder."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, path)
    finally:
        part.unlink()
    sync(path.parent)


def sync(folder: Path) -> None:
    """Make names durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
