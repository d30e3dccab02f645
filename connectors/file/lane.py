"""One lane's files and the position file that says how much of them counts.

Exactly once across ``kill -9``: events are appended and synced; then the position (file, committed length, last offset) is
replaced atomically and synced. What stands in the file beyond the committed length was never acknowledged and is cut
off before the next write. What is handed in again at or below the last offset is looked up in the files and skipped only
if it really stands there: offsets start anew when somebody recreates the bus, and then nothing may be skipped.

Another process may take the lane over at any time, and a cancelled write of ours may still be running in its thread. So
nothing is remembered between calls: each one takes the lane's lock and reads the position.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote

import orjson

from connectors.base import REDRIVE_PARTITION, Record, TargetMisconfigured, TargetUnavailable

PART = ".ndjson.part"
FINAL = ".ndjson"
#: How finished files may end, whatever format the target has now.
FINISHED = (FINAL, ".ndjson.gz", ".ndjson.zst", ".parquet")
REDRIVE = "redrive"
#: How far back handed-in-again events are looked up: what an engine holds by default, so what a crash can repeat.
LOOK_BACK_BYTES = 134_217_728
#: Format of the position file.
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Position:
    """``file``: name of the unfinished file without its ending, empty when there is none."""

    last_offset: int = -1
    file: str = ""
    length: int = 0
    began_ns: int = 0
    v: int = _FORMAT


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is finished."""

    bytes: int
    seconds: float

    def is_due(self, position: Position, now_ns: int) -> bool:
        aged = now_ns - position.began_ns >= self.seconds * 1e9
        return bool(position.file) and (position.length >= self.bytes or aged)


@dataclass(frozen=True, slots=True)
class Written:
    """What one append did: the file's name, and the bytes of it that hold the records (empty when all were there)."""

    file: str
    start: int
    end: int
    skipped: int


def safe_name(tenant: str) -> str:
    """Return a tenant's name as a file name; a leading dot would hide it or leave the directory."""
    name = quote(tenant, safe="!-_*'()")
    return "%2E" + name[1:] if name.startswith(".") else name


def known_lanes(state_dir: Path) -> list[tuple[str, int]]:
    """Return tenant and partition of every lane that was ever written here."""
    found = []
    for path in state_dir.glob("*.json"):
        name, _, part = path.stem.rpartition("-")
        if name and (part == REDRIVE or part.isdigit()):
            found.append((unquote(name), REDRIVE_PARTITION if part == REDRIVE else int(part)))
    return found


class LaneFiles:
    """All methods block and are called from worker threads."""

    def __init__(self, directory: Path, state_dir: Path, tenant: str, partition: int) -> None:
        name = safe_name(tenant)
        part = REDRIVE if partition == REDRIVE_PARTITION else str(partition)
        self._directory = directory / name
        self._prefix = f"{name}-{part}-"
        self._position_path = state_dir / f"{name}-{part}.json"
        self._lock_path = state_dir / f"{name}-{part}.lock"
        self._looked_up: tuple[Position, set[bytes]] | None = None

    def append(self, records: Sequence[Record], rotation: Rotation, now_ns: int) -> Written:
        """Write records in offset order, each as one line; durable and committed when it returns.

        Raises TargetUnavailable and TargetMisconfigured; then nothing of it counts.
        """
        with self._locked(), _errors_of(self._directory):
            position = self._recover()
            if rotation.is_due(position, now_ns):
                position = self._finish(position)
            fresh = self._fresh(position, records)
            if not fresh:
                return Written(position.file, position.length, position.length, len(records))
            if not position.file:
                position = self._begin(position, fresh[0].offset, now_ns)
            data = b"\n".join([record.value for record in fresh]) + b"\n"
            end = position.length + len(data)
            self._write(position, data)
            self._commit(replace(position, length=end, last_offset=fresh[-1].offset))
            return Written(position.file, position.length, end, len(records) - len(fresh))

    def finish(self, rotation: Rotation | None, now_ns: int) -> None:
        """Rename the unfinished file to its final name, with a rotation only if that says so."""
        with self._locked(), _errors_of(self._directory):
            position = self._recover()
            if position.file and (rotation is None or rotation.is_due(position, now_ns)):
                self._finish(position)

    # --- steps, all under the lock ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with _errors_of(self._lock_path.parent):
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise TargetUnavailable(
                    "another writer has this lane",
                    hint="it lets go after its write",
                    code="locked",
                    retry_after_seconds=0.1,
                ) from None
            yield
        finally:
            os.close(descriptor)

    def _recover(self) -> Position:
        """Return the committed position, with the unfinished file cut to it."""
        position = self._load()
        if not position.file:
            return position
        path = self._path(position.file, PART)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            # Renamed just before a crash, or moved away by somebody: finished in any case.
            return _finished(position)
        if size < position.length:
            raise TargetMisconfigured(
                f"{path.name} is shorter than what was written to it ({size} of {position.length} bytes)",
                hint="somebody changed it: restore it, or move it away to go on with a new file",
                code="file_changed",
            )
        if size > position.length:
            os.truncate(path, position.length)
        return position

    def _load(self) -> Position:
        try:
            raw = self._position_path.read_bytes()
        except FileNotFoundError:
            return Position()
        try:
            found = Position(**orjson.loads(raw))
        except (orjson.JSONDecodeError, TypeError):
            found = Position(v=0)
        if found.v != _FORMAT:
            raise TargetMisconfigured(
                f"{self._position_path.name} in the state directory is not readable",
                hint="restore it, or remove it and expect the last events twice",
                code="position_unreadable",
            )
        return found

    def _fresh(self, position: Position, records: Sequence[Record]) -> Sequence[Record]:
        """Return the records that are not in the files yet."""
        if records[0].offset > position.last_offset:
            return records
        there = self._lines_of(position)
        return [r for r in records if r.offset > position.last_offset or _digest(r.value) not in there]

    def _lines_of(self, position: Position) -> set[bytes]:
        """Return digests of the lines in the newest files, as far back as anything can be handed in again."""
        if self._looked_up is not None and self._looked_up[0] == position:
            return self._looked_up[1]
        lines: set[bytes] = set()
        left = LOOK_BACK_BYTES
        for path in self._newest_first():
            if left <= 0:
                break
            with path.open("rb") as file:
                size = path.stat().st_size
                file.seek(max(0, size - left))
                lines.update(_digest(line.rstrip(b"\n")) for line in file)
                left -= size
        self._looked_up = (position, lines)
        return lines

    def _newest_first(self) -> list[Path]:
        files = self._directory.glob(f"{_literal(self._prefix)}*{FINAL}*")
        return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)

    def _begin(self, position: Position, first_offset: int, now_ns: int) -> Position:
        self._directory.mkdir(parents=True, exist_ok=True)
        for orphan in self._directory.glob(f"{_literal(self._prefix)}*{PART}"):
            orphan.unlink()  # begun before a crash and never committed
        name, again = f"{self._prefix}{first_offset:020d}", 0
        while self._path(name, FINAL).exists():  # offsets began anew: what was finished is never touched
            again += 1
            name = f"{self._prefix}{first_offset:020d}-{again}"
        return replace(position, file=name, length=0, began_ns=now_ns)

    def _write(self, position: Position, data: bytes) -> None:
        path = self._path(position.file, PART)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            try:
                _write_all(descriptor, data)
                os.fsync(descriptor)
            except OSError:
                with contextlib.suppress(OSError):  # gives a full disk its room back; the next write cuts it otherwise
                    os.ftruncate(descriptor, position.length)
                raise
        finally:
            os.close(descriptor)
        if not position.length:
            _sync_directory(self._directory)

    def _commit(self, position: Position) -> None:
        fresh = self._position_path.with_suffix(".tmp")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            _write_all(descriptor, orjson.dumps(asdict(position)))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.replace(self._position_path)
        # Without this a power cut could bring the old position back, and the next start would cut acknowledged events.
        _sync_directory(self._position_path.parent)

    def _finish(self, position: Position) -> Position:
        self._path(position.file, PART).rename(self._path(position.file, FINAL))
        _sync_directory(self._directory)
        position = _finished(position)
        self._commit(position)
        return position

    def _path(self, name: str, ending: str) -> Path:
        return self._directory / (name + ending)


def _finished(position: Position) -> Position:
    return replace(position, file="", length=0)


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()


def _literal(text: str) -> str:
    """Escape what glob reads as a pattern; tenants may hold ``*``."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turn errors of the file system into errors of the target."""
    try:
        yield
    except OSError as error:
        raise target_error(error, path) from None


def target_error(error: OSError, path: Path) -> TargetUnavailable | TargetMisconfigured:
    """Return what an error of the file system means for delivery. Events stay on the bus in any case."""
    text = f"{path}: {error.strerror or type(error).__name__}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return TargetUnavailable(text, hint="free space; delivery goes on by itself", code="disk_full")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR}:
        return TargetMisconfigured(text, hint="create the directory or mend its rights", code="not_writable")
    return TargetUnavailable(text, hint="look at the file system", code="io_error")
