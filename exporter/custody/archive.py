"""The files of a target, indexed on disk so that memory does not grow with them: short event id → where the event stands.

Read are files of canonical events, one a line: ``.ndjson`` and its unfinished ``.part`` (file target), ``.ndjson.gz`` (S3 objects,
downloaded). Whatever else lies there is counted, not guessed at.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from isal import igzip

from exporter.domain.events import SHORT_ID_BYTES, event_id_of, time_ns_of

#: Decompressed objects kept while their events are looked up.
CACHE_BYTES = 256 * 1024 * 1024
#: Values in one query: SQLite's default bound of variables is 32,766; more than some hundreds gain nothing.
_QUERY = 500
_ROWS = 10_000

_SCHEMA = """
CREATE TABLE events (
    short INTEGER NOT NULL, time INTEGER NOT NULL, file INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL);
CREATE TABLE known (short INTEGER PRIMARY KEY) WITHOUT ROWID;
"""


#: Short id, time in ns, number of the file, first byte, length.
_Row = tuple[int, int, int, int, int]


class Place(NamedTuple):
    """Where an event stands."""

    file: int
    start: int
    length: int


def numbers_of(short: bytes) -> list[int]:
    """Return joined short ids as numbers."""
    size = SHORT_ID_BYTES
    return [int.from_bytes(short[i : i + size], "big") for i in range(0, len(short), size)]


class Archive:
    """Index of the events in some folders. ``close`` removes nothing but the index, which lies in ``work`` (an empty folder)."""

    def __init__(self, folders: Sequence[Path], work: Path) -> None:
        self.files: list[Path] = []
        #: Path → what is wrong with it.
        self.problems: dict[Path, str] = {}
        self.others = 0
        self.foreign_lines = 0
        self._db = sqlite3.connect(work / "archive.db", isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + _SCHEMA)
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._cached_bytes = 0
        for folder in folders:
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                self._index(path)
        self._db.execute("CREATE INDEX of_short ON events (short, time, file, start, length)")

    def close(self) -> None:
        self._db.close()

    @property
    def count(self) -> int:
        """Events found."""
        (number,) = self._db.execute("SELECT count(*) FROM events").fetchone()
        return int(number)

    # --- reading files ------------------------------------------------------------------------------------------------

    def _index(self, path: Path) -> None:
        if path.name.startswith("."):
            return
        if not path.name.endswith((".ndjson", ".ndjson.part", ".ndjson.gz")):
            self.others += 1
            return
        self.files.append(path)
        try:
            self._db.execute("BEGIN")
            rows: list[_Row] = []
            for row in self._rows(path, len(self.files) - 1):
                rows.append(row)
                if len(rows) == _ROWS:
                    self._insert(rows)
                    rows.clear()
            self._insert(rows)
        except (OSError, EOFError, zlib.error, igzip.BadGzipFile) as error:
            self.problems[path] = f"it cannot be read to its end ({type(error).__name__})"
        finally:
            self._db.execute("COMMIT")

    def _insert(self, rows: Iterable[_Row]) -> None:
        self._db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)

    def _rows(self, path: Path, number: int) -> Iterator[_Row]:
        start = 0
        with _opened(path) as file:
            for line in file:
                if not line.endswith(b"\n"):
                    if not path.name.endswith(".part"):
                        self.problems[path] = "its last line is cut"
                    return  # an unfinished file may end in the middle of a line; it counts once it is whole
                try:
                    short = int(event_id_of(line)[-2 * SHORT_ID_BYTES :], 16)
                    yield short, time_ns_of(line), number, start, len(line) - 1
                except ValueError:
                    self.foreign_lines += 1
                start += len(line)

    def read(self, places: Sequence[Place]) -> dict[Place, bytes]:
        """Return the events at these places."""
        found: dict[Place, bytes] = {}
        by_file: dict[int, list[Place]] = {}
        for place in places:
            by_file.setdefault(place.file, []).append(place)
        for number, wanted in by_file.items():
            if self.files[number].name.endswith(".gz"):
                data = self._whole(number)
                found |= {place: data[place.start : place.start + place.length] for place in wanted}
                continue
            with self.files[number].open("rb") as file:
                for place in sorted(wanted):
                    file.seek(place.start)
                    found[place] = file.read(place.length)
        return found

    def _whole(self, number: int) -> bytes:
        """Return a decompressed object, from the cache where it is."""
        data = self._cache.pop(number, None)
        if data is None:
            with _opened(self.files[number]) as file:
                data = file.read()
            self._cached_bytes += len(data)
        self._cache[number] = data
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= len(self._cache.popitem(last=False)[1])
        return data

    # --- looking up ---------------------------------------------------------------------------------------------------

    def find(self, shorts: Sequence[int], start_ns: int, end_ns: int) -> dict[int, list[Place]]:
        """Return the places of events of a window ``[start, end)`` by their short ids. Among all events of a large archive many
        have the same short id, among those of a window hardly ever two.
        """
        found: dict[int, list[Place]] = {}
        wanted = list(dict.fromkeys(shorts))
        for i in range(0, len(wanted), _QUERY):
            part = wanted[i : i + _QUERY]
            marks = ",".join("?" * len(part))
            statement = (
                f"SELECT short, file, start, length FROM events WHERE short IN ({marks}) AND time >= ? AND time < ?"  # noqa: S608
            )
            for short, *place in self._db.execute(statement, [*part, start_ns, end_ns]):
                found.setdefault(short, []).append(Place(*place))
        return found

    def note_known(self, shorts: Iterable[int]) -> None:
        """Remember that the ledger names these."""
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR IGNORE INTO known VALUES (?)", ((short,) for short in shorts))
        self._db.execute("COMMIT")

    def unknown(self) -> int:
        """Return how many events nothing in the ledger names."""
        statement = (
            "SELECT count(*) FROM events WHERE NOT EXISTS (SELECT 1 FROM known WHERE known.short = events.short)"
        )
        (number,) = self._db.execute(statement).fetchone()
        return int(number)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    opened: IO[bytes] = igzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")  # type: ignore[no-untyped-call]
    with opened as file:
        yield file
