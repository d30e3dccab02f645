"""The port's SQLite side put together."""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence

from exporter.bus.base import NO_HEADS, Lane, LaneRecords, LedgerRecord, OnRevoke, TargetPosition
from exporter.bus.sqlite import ledger
from exporter.bus.sqlite.deadletters import SqliteDeadLetters
from exporter.bus.sqlite.membership import SqliteMembership
from exporter.bus.sqlite.reader import SqliteReader
from exporter.bus.sqlite.scan import read_lanes
from exporter.bus.sqlite.store import connect, create, transaction, translated
from exporter.bus.sqlite.writer import SqliteShardWriter
from exporter.errors import ConfigurationError, ExporterError, Finding
from exporter.settings.model import SqliteBus


class SqliteEventBus:
    """See ``exporter.bus.base.Bus``. Build one per process: connections do not survive a fork."""

    def __init__(self, settings: SqliteBus) -> None:
        self._settings = settings
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._made: sqlite3.Connection | None = None

    def _connection(self) -> sqlite3.Connection:
        """The connection of small requests; its users hold ``_lock``."""
        if self._made is None:
            self._made = connect(self._settings.path)
        return self._made

    @property
    def shard_count(self) -> int:
        return self._settings.shard_count

    def prepare(self, tenants: Sequence[str], targets: Sequence[str]) -> None:
        """See the port. ``targets`` must be all that take events: what these have not delivered is kept, and nothing else is."""
        create(self._settings.path)
        with self._lock, transaction(db := self._connection()):
            row = ("shard_count", self._settings.shard_count)
            db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", row)
            ledger.prepare(db)
            if findings := self._verify(db):
                raise ConfigurationError(findings)
            have = {tenant for (tenant,) in db.execute("SELECT DISTINCT tenant FROM lanes")}
            lanes = [(t, p) for t in dict.fromkeys(tenants) if t not in have for p in range(self._settings.partitions)]
            db.executemany("INSERT INTO lanes (tenant, partition) VALUES (?, ?)", lanes)
            db.executemany("INSERT OR IGNORE INTO targets (target) VALUES (?)", [(target,) for target in targets])
            known = [target for (target,) in db.execute("SELECT target FROM targets")]
            gone = [(target,) for target in known if target not in set(targets)]
            for table in ("targets", "subscriptions"):  # its positions stay: it may come back
                db.executemany(f"DELETE FROM {table} WHERE target=?", gone)  # noqa: S608

    def _verify(self, db: sqlite3.Connection) -> list[Finding]:
        """Compare the file with the configuration."""
        row = db.execute("SELECT value FROM meta WHERE key='shard_count'").fetchone()
        if row is None or row[0] == self._settings.shard_count:
            return []
        reason = f"the bus file was made with {row[0]} shards, and checkpoints belong to shards"
        return [Finding("bus.shard_count", reason, f"Set it to {row[0]}, or use another bus.path.")]

    def check(self) -> list[Finding]:
        """Look at the file, or where it would be made."""
        path = self._settings.path
        if not path.exists():
            folder = next(parent for parent in path.absolute().parents if parent.exists())
            if folder.is_dir() and os.access(folder, os.W_OK):
                return []
            return [Finding("bus.path", "its folder cannot be written", "Choose a folder that the service may write.")]
        try:
            db = connect(path)
        except ConfigurationError as error:
            return list(error.findings)
        except ExporterError as error:
            return [Finding("bus.path", error.message, error.hint or "See the system's log.")]
        try:
            with translated():
                return self._verify(db)
        except ExporterError as error:
            return [Finding("bus.path", error.message, error.hint or "See the system's log.")]
        finally:
            db.close()

    def _session(self, worker: str) -> str:
        """Name one member, so that a restarted worker is not taken for its predecessor."""
        return f"{worker}/{uuid.uuid4().hex}"

    def membership(self, worker: str) -> SqliteMembership:
        """See the port."""
        return SqliteMembership(self._settings, self._session(worker))

    def open_shard(self, shard: int, worker: str) -> SqliteShardWriter:
        """See the port."""
        return SqliteShardWriter(self._settings, shard, worker, self._turn)

    def reader(self, target: str, tenants: Sequence[str], worker: str, on_revoke: OnRevoke) -> SqliteReader:
        """See the port."""
        return SqliteReader(self._settings, target, tenants, self._session(worker), on_revoke)

    def dead_letters(self) -> SqliteDeadLetters:
        """See the port."""
        return SqliteDeadLetters(self._connection, self._lock)

    def append_receipts(self, records: Sequence[bytes], heads: Mapping[str, bytes | None] = NO_HEADS) -> None:
        """See the port."""
        with self._lock, transaction(db := self._connection()):
            ledger.append(db, records, heads)

    def ledger(self, part: int | None = None, *, last: int | None = None, since_ms: int = 0) -> Iterator[LedgerRecord]:  # noqa: ARG002 - the table has no times
        """See the port."""
        return ledger.read(self._connection, self._lock, part, last)

    def all_checkpoints(self, part: int | None = None) -> dict[str, bytes]:
        """See the port."""
        statement = "SELECT key, value FROM checkpoints WHERE ?1 IS NULL OR shard = ?1 ORDER BY shard"
        with self._lock, translated():
            return dict(self._connection().execute(statement, (part,)).fetchall())

    def events(self, tenant: str, positions: Mapping[Lane, int]) -> Iterator[LaneRecords]:
        """See the port."""
        return read_lanes(self._settings, tenant, positions)

    def positions(self, targets: Sequence[str], tenants: Sequence[str]) -> list[TargetPosition]:
        """See the port."""
        statement = (
            "SELECT l.tenant, l.partition, l.next_offset, p.position,"
            " coalesce((SELECT min(first_offset) FROM blocks WHERE lane = l.id), l.next_offset)"
            " FROM lanes l LEFT JOIN positions p ON p.lane = l.id AND p.target = ? ORDER BY l.id"
        )
        wanted = set(tenants)
        result = []
        with self._lock, translated():
            for target in targets:
                for tenant, partition, end, position, earliest in self._connection().execute(statement, (target,)):
                    if tenant in wanted:
                        at = earliest if position is None else position
                        result.append(TargetPosition(target, Lane(tenant, partition), at, end))
        return result

    def close(self) -> None:
        """Close the connection of small requests; writers and readers close their own."""
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None
