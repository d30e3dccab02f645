"""Salts in an SQLite file of the tenant's own, for one machine; several processes share it.

``INSERT OR IGNORE`` and reading back in one transaction make the first writer win. A rollback journal instead of WAL, and
``secure_delete``: what is deleted is overwritten with zeros in the file (sqlite.org/pragma.html#pragma_secure_delete) and no log keeps a
copy. ``synchronous=FULL``: a salt survives a power cut before an event with its token can be committed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from exporter.errors import PseudonymsUnavailable
from exporter.pseudonyms.store import Place

BUSY_SECONDS = 15.0
#: Places asked for in one statement; SQLite takes 32,766 parameters since 3.32, older builds 999.
_CHUNK = 900
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (place BLOB PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deletions (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL);
INSERT OR IGNORE INTO deletions VALUES (1, 0);
"""


class SqliteSaltStore:
    """See ``exporter.pseudonyms.store.SaltStore``. Makes the file when it is not there, readable by its owner only. Without a
    path everything is in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._db is None:
                self._db = self._connect()
            yield self._db
        except (sqlite3.Error, OSError) as error:
            if self._db is not None and self._db.in_transaction:
                self._db.rollback()
            self.close()
            name = getattr(error, "sqlite_errorname", None) or type(error).__name__
            raise PseudonymsUnavailable(
                f"file of pseudonyms {self._path}: {name}",
                hint="free the disk or mend the file's rights; it is tried again",
            ) from None

    def _connect(self) -> sqlite3.Connection:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        db = sqlite3.connect(
            self._path or ":memory:", timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute("PRAGMA journal_mode=DELETE")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA secure_delete=ON")
            if db.execute("SELECT count(*) FROM sqlite_master WHERE name='deletions'").fetchone() == (0,):
                db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
        except BaseException:
            db.close()
            raise
        return db

    def get(self, places: Iterable[Place]) -> dict[Place, bytes]:
        """See the port."""
        with self._used() as db:
            return _select(db, list(places))

    def add(self, records: Mapping[Place, bytes]) -> dict[Place, bytes]:
        """See the port."""
        with self._used() as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT OR IGNORE INTO records VALUES (?, ?)", list(records.items()))
            stored = _select(db, list(records))
            db.execute("COMMIT")
            return stored

    def places(self, prefix: bytes) -> list[Place]:
        """See the port."""
        with self._used() as db:
            rows = db.execute(
                "SELECT place FROM records WHERE place >= ? AND substr(place, 1, ?) = ? ORDER BY place",
                (prefix, len(prefix), prefix),
            )
            return [row[0] for row in rows]

    def delete(self, places: Iterable[Place]) -> int:
        """See the port."""
        with self._used() as db:
            db.execute("BEGIN IMMEDIATE")
            before = db.total_changes
            db.executemany("DELETE FROM records WHERE place = ?", [(place,) for place in places])
            number = db.total_changes - before
            db.execute("UPDATE deletions SET number = number + 1")
            db.execute("COMMIT")
            return number

    def generation(self) -> int:
        """See the port."""
        with self._used() as db:
            number: int = db.execute("SELECT number FROM deletions").fetchone()[0]
            return number

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _select(db: sqlite3.Connection, places: list[Place]) -> dict[Place, bytes]:
    found: dict[Place, bytes] = {}
    for first in range(0, len(places), _CHUNK):
        chunk = places[first : first + _CHUNK]
        marks = ",".join("?" * len(chunk))
        found.update(db.execute(f"SELECT place, sealed FROM records WHERE place IN ({marks})", chunk))  # noqa: S608 (question marks only)
    return found
