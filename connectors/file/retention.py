"""Old files go: by age, by bytes, or both. Only finished files that this target wrote, and never a lane's newest one.

A lane's newest file is where events that are handed in again after a crash are looked for; without it they would be written a
second time. What is being written is not finished, and what others put into the directory is not ours: neither is touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from connectors.file.lane import FINISHED, REDRIVE, safe_name

_DAY_NS = 86_400 * 1_000_000_000
_NAME = re.compile(rf"(?P<lane>.+-(?:\d+|{REDRIVE}))-\d{{20}}(?:-\d+)?(?:{'|'.join(map(re.escape, FINISHED))})")


@dataclass(frozen=True, slots=True)
class Retention:
    """``days`` after its last event a file goes; above ``bytes`` in all the oldest go. None: for ever."""

    days: int | None = None
    bytes: int | None = None

    @property
    def keeps_all(self) -> bool:
        return self.days is None and self.bytes is None


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    lane: str
    size: int
    written_ns: int


def sweep(directory: Path, tenants: Sequence[str], retention: Retention, now_ns: int) -> tuple[int, int]:
    """Delete what need not be kept; return how many files and bytes went. Raises OSError. Called from a worker thread."""
    files = sorted(_finished(directory, tenants), key=lambda file: (file.written_ns, file.path.name))
    newest = {file.lane: file.path for file in files}
    total = sum(file.size for file in files)
    count = freed = 0
    for file in files:
        old = retention.days is not None and now_ns - file.written_ns >= retention.days * _DAY_NS
        over = retention.bytes is not None and total - freed > retention.bytes
        if (old or over) and file.path != newest[file.lane]:
            file.path.unlink(missing_ok=True)
            count += 1
            freed += file.size
    return count, freed


def _finished(directory: Path, tenants: Sequence[str]) -> Iterator[_File]:
    for name in {safe_name(tenant) for tenant in tenants}:
        folder = directory / name
        if not folder.is_dir():
            continue
        for path in folder.iterdir():
            found = _NAME.fullmatch(path.name)
            if found is None or found["lane"].rpartition("-")[0] != name or not path.is_file() or path.is_symlink():
                continue
            status = path.stat()
            yield _File(path, found["lane"], status.st_size, status.st_mtime_ns)
