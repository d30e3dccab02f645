"""The file: schema, connections, transactions, and SQLite's errors in our words.

WAL lets readers go on while one process writes; ``synchronous=FULL`` syncs the log at every commit, so that what ``commit``
returned for survives a power cut (sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.errors import BusUnavailable, ConfigurationError, ExporterError, Finding

SCHEMA_VERSION = 1
#: How long a writer waits for another process's transaction.
BUSY_SECONDS = 15.0
#: Blobs of up to a megabyte: large pages shorten their overflow chains; very small updates still cost one page.
PAGE_BYTES = 16_384
CACHE_KBYTES = 8_192
#: After a burst the log file is cut back to this.
JOURNAL_BYTES = 64 * 1024 * 1024

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE lanes (
    id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, partition));
-- AUTOINCREMENT: readers remember the last id they saw, so ids must never be given out twice.
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, lane INTEGER NOT NULL, first_offset INTEGER NOT NULL, next_offset INTEGER NOT NULL,
    appended_ms INTEGER NOT NULL, size_bytes INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX blocks_of_lane ON blocks (lane, first_offset, next_offset, appended_ms, size_bytes);
CREATE TABLE checkpoints (shard INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (shard, key));
CREATE TABLE ledger (id INTEGER PRIMARY KEY, shard INTEGER, record BLOB NOT NULL);
CREATE TABLE shards (shard INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, worker TEXT NOT NULL);
CREATE TABLE members (
    roster TEXT NOT NULL, session TEXT NOT NULL, expires_ms INTEGER NOT NULL, PRIMARY KEY (roster, session)) WITHOUT ROWID;
CREATE TABLE leases (
    roster TEXT NOT NULL, item INTEGER NOT NULL, session TEXT NOT NULL, PRIMARY KEY (roster, item)) WITHOUT ROWID;
CREATE TABLE targets (target TEXT PRIMARY KEY, subscribed INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE subscriptions (target TEXT NOT NULL, tenant TEXT NOT NULL, PRIMARY KEY (target, tenant)) WITHOUT ROWID;
CREATE TABLE positions (
    target TEXT NOT NULL, lane INTEGER NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (target, lane)) WITHOUT ROWID;
CREATE TABLE dead_letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, tenant TEXT NOT NULL, partition INTEGER NOT NULL,
    offset INTEGER NOT NULL, event_id TEXT NOT NULL, reason TEXT NOT NULL, code TEXT NOT NULL, failed_ns INTEGER NOT NULL,
    key BLOB NOT NULL, value BLOB NOT NULL, outcome TEXT);
CREATE UNIQUE INDEX dead_letters_open ON dead_letters (target, tenant, partition, offset) WHERE outcome IS NULL;
INSERT INTO meta VALUES ('bytes', 0);
"""

#: Primary result codes (sqlite.org/rescode.html) that mean: the file itself cannot be used.
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_HINTS = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space, nothing is lost meanwhile",
    sqlite3.SQLITE_IOERR: "the disk refuses to read or write; see the system's log",
    sqlite3.SQLITE_BUSY: "another process holds the file; it is tried again",
    sqlite3.SQLITE_LOCKED: "another process holds the file; it is tried again",
    sqlite3.SQLITE_READONLY: "the file or its file system is read-only",
    sqlite3.SQLITE_CANTOPEN: "the file is missing or not accessible; run the service or `check` to prepare it",
}


def translate(error: sqlite3.Error) -> ExporterError:
    """Return the error to raise. Only SQLite's name of the error is shown: its text may quote statements."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if primary in _DAMAGED:
        cure = "Restore the file from a backup, or move it away to start anew from Loki."
        return ConfigurationError([Finding("bus.path", f"the bus file is damaged or no bus file ({name})", cure)])
    return BusUnavailable(f"bus file: {name}", hint=_HINTS.get(primary, "the bus file cannot be used now"))


@contextmanager
def translated() -> Iterator[None]:
    """Translate SQLite's errors of a read or a single statement."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error) from None


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Write as a whole or not at all. The write lock is taken at the start, so no statement inside can meet a conflict."""
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("COMMIT")
    except BaseException as error:
        if db.in_transaction:
            db.rollback()
        if isinstance(error, sqlite3.Error):
            raise translate(error) from None
        raise


def connect(path: Path) -> sqlite3.Connection:
    """Open the prepared file. Used by one thread at a time. Raises BusUnavailable, ConfigurationError."""
    with translated():
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            db.execute("PRAGMA synchronous=FULL")
            db.execute(f"PRAGMA cache_size=-{CACHE_KBYTES}")
            db.execute(f"PRAGMA journal_size_limit={JOURNAL_BYTES}")
            (version,) = db.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error:
            db.close()
            raise
    if version != SCHEMA_VERSION:
        db.close()
        if version == 0:
            raise BusUnavailable("bus file: not prepared yet", hint="the service prepares it when it starts")
        cure = "Run the release that wrote it, or newer."
        raise ConfigurationError([Finding("bus.path", f"its format is {version}, known is {SCHEMA_VERSION}", cure)])
    return db


def create(path: Path) -> None:
    """Make the file with its tables unless it is there. Several processes may do so at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        cure = "Choose a folder that the service may write."
        raise ConfigurationError([Finding("bus.path", f"its folder: {error.strerror}", cure)]) from None
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            _create(path)
        except sqlite3.Error as error:
            # The change to WAL does not wait for others as statements do.
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise translate(error) from None
            time.sleep(0.05)
        else:
            return


def _create(path: Path) -> None:
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        if db.execute("PRAGMA user_version").fetchone()[0]:
            return
        db.execute(f"PRAGMA page_size={PAGE_BYTES}")
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("BEGIN IMMEDIATE")
        if not db.execute("PRAGMA user_version").fetchone()[0]:
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        db.execute("COMMIT")
    finally:
        db.close()
