"""Prove an exported ledger from its files alone, and with the files of a target that it got what the ledger says."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from exporter.custody.chains import Chains
from exporter.custody.manifests import (
    SEGMENTS,
    Manifest,
    NotAManifest,
    Segment,
    numbers_in,
    path_of,
    signature_of,
)
from exporter.custody.records import GENESIS, LedgerBroken, read
from exporter.custody.signing import SignatureBroken, check

#: Given every good record in order; None for nobody.
Sink = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True)
class Verdict:
    """What was found in one folder. No problems: everything that was looked at is as it was written."""

    path: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, int] = field(default_factory=dict)

    def count(self, name: str, number: int = 1) -> None:
        self.figures[name] = self.figures.get(name, 0) + number


def is_export(folder: Path) -> bool:
    """Tell whether a folder holds an exported ledger."""
    return (folder / SEGMENTS).is_dir() or bool(numbers_in(folder))


def verify_export(folder: Path, keys: Sequence[Ed25519PublicKey] = (), sink: Sink | None = None) -> Verdict:
    """Recompute everything that an exported ledger claims: hashes of segments and manifests, signatures (with a key), the chains of
    all records across all exports of the folder. Memory does not grow with the ledger. Raises OSError.
    """
    return _Export(folder, keys, sink).verify()


def records_in(folder: Path, *, receipts: bool) -> Iterator[dict[str, Any]]:
    """Yield the receipts, or the commits, of an exported ledger, unchecked: :func:`verify_export` comes first. Raises NotAManifest,
    OSError.
    """
    for number in numbers_in(folder):
        for segment in Manifest.decode(path_of(folder, number).read_bytes()).segments:
            if (segment.part < 0) == receipts:
                with (folder / segment.file).open("rb") as file:
                    for line in file:
                        with contextlib.suppress(LedgerBroken):
                            yield read(line)


def is_whole(folder: Path) -> bool:
    """Tell whether an exported ledger has its beginning. Raises NotAManifest, OSError."""
    return Manifest.decode(path_of(folder, 1).read_bytes()).whole


class _Export:
    def __init__(self, folder: Path, keys: Sequence[Ed25519PublicKey], sink: Sink | None) -> None:
        self._folder, self._keys, self._sink = folder, keys, sink
        self._verdict = Verdict(str(folder))
        self._chains = Chains(whole=True)
        self._named: set[str] = set()

    def verify(self) -> Verdict:
        verdict, previous, signed = self._verdict, GENESIS, 0
        numbers = numbers_in(self._folder)
        if not numbers:
            verdict.problems.append("no manifest is there: it was removed, or the export did not end")
        for expected, number in enumerate(numbers, 1):
            path = path_of(self._folder, number)
            raw = path.read_bytes()
            try:
                manifest = Manifest.decode(raw)
            except NotAManifest as error:
                verdict.problems.append(f"{path.name}: {error}")
                continue
            if expected == 1:
                self._chains = Chains(whole=manifest.whole)
            if number != expected or manifest.number != number:
                verdict.problems.append(
                    f"{path.name}: it should be number {expected}; a manifest was removed or renamed"
                )
            if manifest.previous != previous:
                verdict.problems.append(
                    f"{path.name}: it does not follow the manifest before it; one of both was replaced"
                )
            previous = hashlib.sha256(raw).hexdigest()
            signed += self._signature(path, raw)
            self._segments(path.name, manifest)
        self._foreign_files()
        self._say(signed, len(numbers))
        return verdict

    def _signature(self, path: Path, raw: bytes) -> bool:
        try:
            sealed = signature_of(path).read_bytes()
        except FileNotFoundError:
            if self._keys:
                self._verdict.problems.append(f"{path.name}: it is not signed")
            return False
        reasons = []
        for key in self._keys:
            try:
                check(sealed, raw, key)
            except SignatureBroken as error:
                reasons.append(str(error))
            else:
                return True
        if reasons:
            self._verdict.problems.append(f"{path.name}: {reasons[0]}")
        return not self._keys

    def _segments(self, name: str, manifest: Manifest) -> None:
        for segment in manifest.segments:
            self._named.add(segment.file)
            try:
                self._segment(segment)
            except FileNotFoundError:
                self._verdict.problems.append(f"{segment.file}: it is missing; {name} names it")
        ends = self._chains.heads()
        for chain, head in manifest.heads.items():
            if ends.get(chain) != head:
                at = ends[chain].sequence if chain in ends else 0
                self._verdict.problems.append(f"{name}: {chain} ends at record {at}, the manifest says {head.sequence}")

    def _segment(self, segment: Segment) -> None:
        verdict, digest, records = self._verdict, hashlib.sha256(), 0
        path = (self._folder / segment.file).resolve()
        if not path.is_relative_to(self._folder.resolve()):
            verdict.problems.append(f"{segment.file}: it lies outside of the folder")
            return
        with path.open("rb") as file:
            for line in file:
                digest.update(line)
                records += 1
                record = self._chains.add(line.removesuffix(b"\n"))
                if record is not None and self._sink is not None:
                    self._sink(record)
        if digest.hexdigest() != segment.sha256 or segment.sha256 not in segment.file:
            verdict.problems.append(f"{segment.file}: its content is not what it is named after")
        elif records != segment.records:
            verdict.problems.append(f"{segment.file}: it holds {records} records, its manifest says {segment.records}")
        verdict.count("records", records)
        verdict.count("segments")

    def _foreign_files(self) -> None:
        for path in sorted((self._folder / SEGMENTS).glob("*")):
            if f"{SEGMENTS}/{path.name}" not in self._named:
                self._verdict.notes.append(
                    f"{SEGMENTS}/{path.name}: no manifest names it; an export did not end, or it is not ours"
                )

    def _say(self, signed: int, manifests: int) -> None:
        verdict, chains = self._verdict, self._chains
        verdict.problems += map(str, chains.breaks)
        verdict.notes += [f"{found} (written down by the service itself)" for found in chains.noted]
        verdict.notes += [
            f"{chain} begins with record {begin}: a part of the ledger was exported"
            for chain, begin in chains.begins().items()
            if begin > 1
        ]
        verdict.notes += [
            f"{number} receipts of {target} are of format 1 and in no chain"
            for target, number in chains.unchained.items()
        ]
        if signed and not self._keys:
            verdict.notes.append("it is signed; --public-key checks by whom")
        verdict.figures |= {
            "manifests": manifests,
            "signed": signed if self._keys else 0,
            "chains": len(chains.heads()),
        }
