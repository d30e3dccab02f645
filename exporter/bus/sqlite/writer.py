"""The fenced writer of one shard."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
import zlib
from typing import NamedTuple

from exporter.bus.base import Commit, check_event_sizes
from exporter.bus.sqlite import retention
from exporter.bus.sqlite.blocks import cut, pack
from exporter.bus.sqlite.leases import wall_ms
from exporter.bus.sqlite.store import connect, transaction, translated
from exporter.domain.events import EncodedBatch
from exporter.errors import BusUnavailable, Fenced
from exporter.settings.model import SqliteBus

#: How often delivered events are looked for, after a commit.
SWEEP_SECONDS = 5.0
#: Most chunks deleted after one commit: keeps up with any writer, and a commit never waits long.
SWEEP_CHUNKS = 4
#: Streams whose lane is remembered; beyond, the memory starts anew (computing one costs a microsecond).
MAX_REMEMBERED_KEYS = 100_000


class _Block(NamedTuple):
    lane: int
    events: int
    size_bytes: int
    data: bytes


class SqliteShardWriter:
    """See ``exporter.bus.base.ShardWriter``. Building one fences every earlier writer of the shard."""

    def __init__(self, settings: SqliteBus, shard: int, worker: str, turn: threading.Lock) -> None:
        self._settings, self._shard, self._turn = settings, shard, turn
        self._db = connect(settings.path)
        self._lanes: dict[str, list[int]] = {}
        self._lane_of_key: dict[str, dict[bytes, int]] = {}
        self._sweep_at = time.monotonic() + SWEEP_SECONDS
        try:
            with turn, transaction(self._db):
                self._db.execute(
                    "INSERT INTO shards VALUES (?, 1, ?)"
                    " ON CONFLICT (shard) DO UPDATE SET epoch = epoch + 1, worker = excluded.worker",
                    (shard, worker),
                )
                self._epoch = self._current_epoch()
        except BaseException:
            self._db.close()
            raise

    @property
    def shard(self) -> int:
        return self._shard

    def _current_epoch(self) -> int:
        (epoch,) = self._db.execute("SELECT epoch FROM shards WHERE shard=?", (self._shard,)).fetchone()
        return int(epoch)

    def checkpoints(self) -> dict[str, bytes]:
        """Raises BusUnavailable."""
        with translated():
            return dict(self._db.execute("SELECT key, value FROM checkpoints WHERE shard=?", (self._shard,)))

    def commit(self, commit: Commit) -> None:
        """See the port. The epoch is checked under the write lock, so a zombie can never slip in between."""
        check_event_sizes(commit)
        blocks = [block for batch in commit.batches for block in self._pack(batch)]
        # Writers of one process take turns here: SQLite would let them sleep and race instead.
        with self._turn, transaction(self._db):
            if self._current_epoch() != self._epoch:
                raise Fenced("bus file: another worker took the shard", hint="check ownership and open it again")
            self._reserve(sum(block.size_bytes for block in blocks))
            self._insert(blocks)
            self._put_records(commit)
        self._sweep()

    def _pack(self, batch: EncodedBatch) -> list[_Block]:
        """Sort the events to lanes by their key, outside of the write lock."""
        lanes = self._lanes_of(batch.tenant)
        known = self._lane_of_key.setdefault(batch.tenant, {})
        if len(known) > MAX_REMEMBERED_KEYS:
            known.clear()
        sorted_: dict[int, tuple[list[bytes], list[bytes]]] = {}
        for key, value in zip(batch.keys, batch.values, strict=True):
            lane = known.get(key)
            if lane is None:
                # CRC-32: the same on every machine and in every release, as the lane of a stream must be
                lane = known[key] = lanes[zlib.crc32(key) % len(lanes)]
            if lane not in sorted_:
                sorted_[lane] = ([], [])
            keys, values = sorted_[lane]
            keys.append(key)
            values.append(value)
        return [
            _Block(lane, len(keys), len(data), data)
            for lane, columns in sorted_.items()
            for keys, values in cut(*columns)
            for data in (pack(keys, values),)
        ]

    def _lanes_of(self, tenant: str) -> list[int]:
        if tenant not in self._lanes:
            with translated():
                rows = self._db.execute("SELECT id FROM lanes WHERE tenant=? ORDER BY partition", (tenant,)).fetchall()
            if not rows:
                raise BusUnavailable(
                    "bus file: a tenant is not prepared", hint="restart the service: it prepares all tenants"
                )
            self._lanes[tenant] = [lane for (lane,) in rows]
        return self._lanes[tenant]

    def _reserve(self, size_bytes: int) -> None:
        """Keep below the bound; a commit larger than the bound passes when nothing else is stored, or it never could."""
        used, bound = retention.used_bytes(self._db), self._settings.retention_bytes
        if used + size_bytes > bound:
            retention.make_room(self._db, used + size_bytes - bound, wall_ms())
            used = retention.used_bytes(self._db)
            if used and used + size_bytes > bound:
                raise BusUnavailable(
                    f"bus file: undelivered events reach bus.retention_bytes ({bound})",
                    hint="mend the slow target or raise the bound; Loki keeps the rest",
                )
        retention.add_bytes(self._db, size_bytes)

    def _insert(self, blocks: list[_Block]) -> None:
        db, now_ms = self._db, wall_ms()
        for lane, count, size_bytes, data in blocks:
            (after,) = db.execute(
                "UPDATE lanes SET next_offset = next_offset + ? WHERE id=? RETURNING next_offset", (count, lane)
            ).fetchone()
            db.execute(
                "INSERT INTO blocks (lane, first_offset, next_offset, appended_ms, size_bytes, data) VALUES (?, ?, ?, ?, ?, ?)",
                (lane, after - count, after, now_ms, size_bytes, data),
            )

    def _put_records(self, commit: Commit) -> None:
        db, shard = self._db, self._shard
        puts = [(shard, key, value) for key, value in commit.checkpoints.items() if value is not None]
        gone = [(shard, key) for key, value in commit.checkpoints.items() if value is None]
        db.executemany("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?)", puts)
        db.executemany("DELETE FROM checkpoints WHERE shard=? AND key=?", gone)
        if commit.ledger is not None:
            db.execute("INSERT INTO ledger (shard, record) VALUES (?, ?)", (shard, commit.ledger))

    def _sweep(self) -> None:
        if time.monotonic() < self._sweep_at:
            return
        self._sweep_at = time.monotonic() + SWEEP_SECONDS
        before_ms = wall_ms() - self._settings.retention_seconds * 1000
        # The commit is done; what cannot be deleted now is deleted later.
        with contextlib.suppress(BusUnavailable, sqlite3.Error):
            for _ in range(SWEEP_CHUNKS):
                if not retention.sweep(self._db, before_ms):
                    break

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
