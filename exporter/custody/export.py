"""The ledger as files: every run adds what is new since the one before, checks its chains, and writes a manifest."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from exporter.custody.chains import Break, Chain, Chains, chain_of
from exporter.custody.manifests import SEGMENTS, Manifest, Segment, last_in, path_of, signature_of, sync, write_new
from exporter.custody.records import LedgerBroken, read
from exporter.custody.signing import envelope
from exporter.errors import ExporterError

#: A segment ends here: small enough to be copied and hashed in a second.
SEGMENT_BYTES = 64 * 1024 * 1024
#: How far before the last export records are looked at again, on a bus that can begin at a time: clocks of machines differ.
OVERLAP_MS = 3_600_000


@dataclass(slots=True)
class Exported:
    """What one run did. ``manifest`` is None when nothing was new."""

    manifest: Manifest | None
    signed: bool
    records: int
    breaks: list[Break]
    noted: list[Break]


def since_ms(folder: Path, from_ns: int | None) -> int:
    """Return from when on the bus is to be read for an export into this folder. Raises NotAManifest."""
    before, _ = last_in(folder) if folder.exists() else (None, "")
    if before is not None:
        return max(0, before.made_at_ns // 1_000_000 - OVERLAP_MS)
    return max(0, from_ns // 1_000_000 - OVERLAP_MS) if from_ns else 0


def export(
    folder: Path,
    records: Iterable[tuple[int, bytes]],
    *,
    now_ns: int,
    version: str,
    from_ns: int | None = None,
    to_ns: int | None = None,
    key: Ed25519PrivateKey | None = None,
    segment_bytes: int = SEGMENT_BYTES,
) -> Exported:
    """Write the records (part, bytes; in the ledger's order) that the folder does not have yet.

    ``from_ns`` and ``to_ns`` bound the time of the records, ``[from, to)``; a folder begun with ``from_ns`` holds a part of the ledger, and
    its manifests say so. Raises NotAManifest, ExporterError (another export is writing there), OSError.
    """
    (folder / SEGMENTS).mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        return _export(folder, records, now_ns, version, from_ns, to_ns, key, segment_bytes)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other exports of this folder out."""
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ExporterError(
                f"another export is writing to {folder}", hint="wait for it, or use another folder"
            ) from None
        yield


def _export(
    folder: Path,
    records: Iterable[tuple[int, bytes]],
    now_ns: int,
    version: str,
    from_ns: int | None,
    to_ns: int | None,
    key: Ed25519PrivateKey | None,
    segment_bytes: int,
) -> Exported:
    before, previous = last_in(folder)
    whole = before.whole if before else from_ns is None
    run = _Run(folder, before, whole, segment_bytes, from_ns, to_ns)
    try:
        for part, raw in records:
            run.take(part, raw)
        segments = run.finish()
    finally:
        run.close()
    chains = run.chains
    if not segments:
        return Exported(None, signed=False, records=0, breaks=chains.breaks, noted=chains.noted)
    manifest = Manifest(
        number=before.number + 1 if before else 1,
        previous=previous,
        made_at_ns=now_ns,
        exporter=version,
        whole=whole,
        segments=segments,
        heads={**(before.heads if before else {}), **chains.heads()},
        unchained=run.unchained,
    )
    data, path = manifest.encode(), path_of(folder, manifest.number)
    write_new(path, data)
    if key is not None:
        write_new(signature_of(path), envelope(data, key))
    return Exported(manifest, key is not None, sum(s.records for s in segments), chains.breaks, chains.noted)


@dataclass(slots=True)
class _Open:
    """A segment that is being written, under a name that is not its own yet."""

    path: Path
    file: IO[bytes]
    part: int
    digest: Any = field(default_factory=hashlib.sha256)
    size_bytes: int = 0
    records: int = 0
    first_at_ns: int = 0
    last_at_ns: int = 0

    def write(self, raw: bytes, at_ns: int) -> None:
        line = raw + b"\n"
        self.file.write(line)
        self.digest.update(line)
        self.size_bytes += len(line)
        self.records += 1
        self.first_at_ns = self.first_at_ns or at_ns
        self.last_at_ns = at_ns or self.last_at_ns


class _Run:
    """One walk over the ledger."""

    def __init__(
        self,
        folder: Path,
        before: Manifest | None,
        whole: bool,
        segment_bytes: int,
        from_ns: int | None,
        to_ns: int | None,
    ) -> None:
        self._folder, self._segment_bytes = folder / SEGMENTS, segment_bytes
        self._from_ns, self._to_ns = from_ns if before is None else None, to_ns
        self._had = dict(before.heads) if before else {}
        self._had_unchained = dict(before.unchained) if before else {}
        self.unchained = dict(self._had_unchained)
        self.chains = Chains(whole=whole, had=self._had)
        self._begun: set[Chain] = set()
        self._ended: set[Chain] = set()
        self._open: dict[int, _Open] = {}
        self._done: list[_Open] = []
        for left in self._folder.glob("*.part"):  # of an export that was killed
            left.unlink()

    def take(self, part: int, raw: bytes) -> None:
        """Write a record unless the folder has it or it is outside of the times asked for."""
        try:
            record = read(raw)
            at_ns = int(record.get("at_ns") or record.get("time_ns") or 0)
            chain = chain_of(record) if "hash" in record else None
        except (LedgerBroken, KeyError, TypeError, ValueError):
            self.chains.add(raw)  # says what is wrong; the bytes are evidence
            self._write(part, raw, 0)
            return
        if chain is None:
            wanted = self._is_wanted_unchained(record, at_ns)
        else:
            wanted = self._is_wanted(chain, int(record["sequence"]), at_ns)
            if wanted or self._is_known(chain, int(record["sequence"])):
                breaks = len(self.chains.breaks)
                repeated = self.chains.add(raw) is None and len(self.chains.breaks) == breaks
                wanted = wanted and not repeated
        if wanted:
            self._write(part, raw, at_ns)

    def _is_known(self, chain: Chain, sequence: int) -> bool:
        return chain in self._had and self._had[chain].sequence == sequence

    def _is_wanted(self, chain: Chain, sequence: int, at_ns: int) -> bool:
        """Tell by chain, not by record: a clock that was set back must not tear holes."""
        if chain in self._had and sequence <= self._had[chain].sequence:
            return False
        if self._to_ns is not None and at_ns >= self._to_ns:
            self._ended.add(chain)
        if self._from_ns is None or at_ns >= self._from_ns:
            self._begun.add(chain)
        return chain in self._begun and chain not in self._ended

    def _is_wanted_unchained(self, record: dict[str, Any], at_ns: int) -> bool:
        target = str(record.get("target"))
        if self._had_unchained.get(target, 0) > 0:
            self._had_unchained[target] -= 1
            return False
        if at_ns < (self._from_ns or 0) or (self._to_ns is not None and at_ns >= self._to_ns):
            return False
        self.unchained[target] = self.unchained.get(target, 0) + 1
        return True

    def _write(self, part: int, raw: bytes, at_ns: int) -> None:
        segment = self._open.get(part)
        if segment is not None and segment.size_bytes >= self._segment_bytes:
            self._done.append(self._open.pop(part))
            segment = None
        if segment is None:
            path = self._folder / f"{part}-{len(self._done)}-{os.getpid()}.part"
            segment = self._open[part] = _Open(path, path.open("wb"), part)
        segment.write(raw.replace(b"\n", b" "), at_ns)

    def finish(self) -> list[Segment]:
        """Give the segments their names; return them, those of a part in order."""
        self._done += self._open.values()
        self._open = {}
        found: list[Segment] = []
        for segment in sorted(self._done, key=lambda s: s.part):
            segment.file.flush()
            os.fsync(segment.file.fileno())
            segment.file.close()
            digest = segment.digest.hexdigest()
            name = f"{'receipts' if segment.part < 0 else f'shard-{segment.part:03d}'}-{digest}.ndjson"
            segment.path.rename(self._folder / name)
            found.append(
                Segment(
                    f"{SEGMENTS}/{name}",
                    digest,
                    segment.size_bytes,
                    segment.records,
                    segment.part,
                    segment.first_at_ns,
                    segment.last_at_ns,
                )
            )
        sync(self._folder)
        return found

    def close(self) -> None:
        """Close what is open still; what has no name of its own yet is removed by the next export."""
        for segment in (*self._done, *self._open.values()):
            segment.file.close()
