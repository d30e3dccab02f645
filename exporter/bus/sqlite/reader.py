"""Committed events of a set of tenants for one target."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import structlog

from exporter.bus.base import BusRecord, Lane, LaneRecords, OnRevoke
from exporter.bus.sqlite.blocks import unpack
from exporter.bus.sqlite.leases import Roster
from exporter.bus.sqlite.store import connect, transaction, translated
from exporter.errors import ExporterError
from exporter.ops import metrics
from exporter.settings.model import SqliteBus

log = structlog.get_logger()

#: How often the file is looked at while waiting: the latency that the bus adds. A look costs some microseconds.
LOOK_SECONDS = 0.02

_BLOCKS = """
SELECT first_offset, next_offset, appended_ms, size_bytes, data FROM blocks
WHERE lane = ?1 AND first_offset >= coalesce(
    (SELECT max(first_offset) FROM blocks WHERE lane = ?1 AND first_offset <= ?2), ?2)
ORDER BY first_offset
"""


class SqliteReader:
    """See ``exporter.bus.base.EventReader``. Readers of one target name the same tenants."""

    def __init__(
        self, settings: SqliteBus, target: str, tenants: Sequence[str], session: str, on_revoke: OnRevoke
    ) -> None:
        self._target, self._on_revoke = target, on_revoke
        self._db = connect(settings.path)
        with translated():
            rows = self._db.execute("SELECT id, tenant, partition FROM lanes").fetchall()
            (self._seen_block,) = self._db.execute("SELECT coalesce(max(id), 0) FROM blocks").fetchone()
        wanted = set(tenants)
        self._lanes = {number: Lane(tenant, partition) for number, tenant, partition in rows if tenant in wanted}
        self._numbers = {lane: number for number, lane in self._lanes.items()}
        self._subscribe(sorted(wanted))
        self._roster = Roster(self._db, f"reader/{target}", session, list(self._lanes))
        self._next: dict[int, int] = {}  # position after the last record handed out; its keys are the lanes we hold
        self._paused: set[int] = set()
        self._ready: deque[int] = deque()  # lanes that may have more, in turn
        self._version = -1

    def _subscribe(self, tenants: Sequence[str]) -> None:
        """Say whose events this target takes: only these are kept for it."""
        with transaction(self._db):
            self._db.execute(
                "INSERT INTO targets VALUES (?, 1) ON CONFLICT (target) DO UPDATE SET subscribed = 1", (self._target,)
            )
            self._db.execute("DELETE FROM subscriptions WHERE target=?", (self._target,))
            self._db.executemany("INSERT INTO subscriptions VALUES (?, ?)", [(self._target, t) for t in tenants])

    # --- reading ------------------------------------------------------------------------------------------------------

    def poll(self, max_bytes: int, timeout_seconds: float) -> list[LaneRecords]:
        """See the port. Raises BusUnavailable, ConfigurationError."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._share()
            with translated():
                if self._wrote():
                    self._look()
                found = self._read(max_bytes)
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            time.sleep(min(LOOK_SECONDS, left))

    def _wrote(self) -> bool:
        """Tell whether another connection changed the file since the last call."""
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        changed = bool(version != self._version)
        self._version = version
        return changed

    def _look(self) -> None:
        """Find lanes with new blocks."""
        for block, lane in self._db.execute(
            "SELECT id, lane FROM blocks WHERE id > ? ORDER BY id", (self._seen_block,)
        ):
            self._seen_block = block
            self._make_ready(lane)

    def _make_ready(self, lane: int) -> None:
        if lane in self._next and lane not in self._paused and lane not in self._ready:
            self._ready.append(lane)

    def _read(self, max_bytes: int) -> list[LaneRecords]:
        """Read lanes in turn; the one that was cut short comes last the next time."""
        found: list[LaneRecords] = []
        for _ in range(len(self._ready)):
            if max_bytes <= 0:
                break
            lane = self._ready.popleft()
            records, size_bytes, more = self._read_lane(lane, max_bytes)
            if records:
                self._next[lane] = records[-1].offset + 1
                found.append(LaneRecords(self._lanes[lane], records, self._next[lane]))
            max_bytes -= size_bytes
            if more:
                self._ready.append(lane)
        return found

    def _read_lane(self, lane: int, max_bytes: int) -> tuple[list[BusRecord], int, bool]:
        """Return records from the lane's position on, their bytes, and whether there may be more."""
        records: list[BusRecord] = []
        position, size = self._next[lane], 0
        with contextlib.closing(self._db.execute(_BLOCKS, (lane, position))) as rows:
            for first, after, appended_ms, size_bytes, data in rows:
                if after > position:
                    records += unpack(data, first, position, appended_ms)
                    size += size_bytes
                    position = after
                    if size >= max_bytes:
                        return records, size, True
        return records, size, False

    # --- lanes --------------------------------------------------------------------------------------------------------

    def _share(self) -> None:
        turn = self._roster.beat()
        if turn.lost:
            lost = turn.lost & self._next.keys()
            self._forget(turn.lost)
            if lost:
                self._on_revoke(frozenset(self._lanes[lane] for lane in lost))
        if turn.surplus:
            positions = self._on_revoke(frozenset(self._lanes[lane] for lane in turn.surplus))
            try:
                self.commit(positions)
            except ExporterError as error:  # the next owner delivers these records again
                log.warning("positions_dropped", target=self._target, reason=type(error).__name__)
            self._forget(turn.surplus)
            self._roster.release(turn.surplus)
        for lane in sorted(turn.gained):
            self._next[lane] = self._start_of(lane)
            self._make_ready(lane)

    def _forget(self, lanes: Iterable[int]) -> None:
        for lane in lanes:
            self._next.pop(lane, None)
            self._paused.discard(lane)
            if lane in self._ready:
                self._ready.remove(lane)

    def _start_of(self, lane: int) -> int:
        """Return the stored position; the first time the earliest record, which is stored at once."""
        with transaction(self._db):
            (earliest,) = self._db.execute(
                "SELECT coalesce((SELECT min(first_offset) FROM blocks WHERE lane = ?1),"
                " (SELECT next_offset FROM lanes WHERE id = ?1))",
                (lane,),
            ).fetchone()
            place = (self._target, lane)
            row = self._db.execute("SELECT position FROM positions WHERE target=? AND lane=?", place).fetchone()
            start = max(earliest, row[0]) if row else earliest
            self._db.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", (*place, start))
        if row and start > row[0]:
            self._report_lost(self._lanes[lane], row[0], start)
        return int(start)

    def _report_lost(self, lane: Lane, wanted: int, earliest: int) -> None:
        """Only a target that was out of the configuration for a while can come to this: else its events are kept."""
        metrics.BUS_LOST.labels(self._target, lane.tenant).inc(earliest - wanted)
        where = {"target": self._target, "tenant": lane.tenant, "partition": lane.partition}
        hint = "retention removed records while this target was not configured; replay the gap"
        log.error("bus_records_lost", **where, wanted_offset=wanted, earliest_offset=earliest, hint=hint)

    def pause(self, lanes: frozenset[Lane]) -> None:
        for lane in lanes:
            number = self._numbers[lane]
            if number in self._next:
                self._paused.add(number)
                if number in self._ready:
                    self._ready.remove(number)

    def resume(self, lanes: frozenset[Lane]) -> None:
        for lane in lanes:
            self._paused.discard(self._numbers[lane])
            self._make_ready(self._numbers[lane])

    def assigned(self) -> frozenset[Lane]:
        return frozenset(self._lanes[lane] for lane in self._next)

    # --- positions ----------------------------------------------------------------------------------------------------

    def commit(self, positions: Mapping[Lane, int]) -> None:
        """See the port. The lease is looked at inside the transaction, so a reader that was replaced cannot move a position."""
        ours = {self._numbers[lane]: at for lane, at in positions.items() if self._numbers.get(lane) in self._next}
        if not ours:
            return
        with transaction(self._db):
            rows = [(at, self._target, lane) for lane, at in ours.items() if self._roster.holds(lane)]
            self._db.executemany("UPDATE positions SET position=? WHERE target=? AND lane=?", rows)
        if len(rows) < len(ours):
            log.warning("positions_dropped", target=self._target, reason="lanes were taken over")

    def lag(self) -> dict[Lane, int]:
        """See the port."""
        with translated():
            rows = self._db.execute(
                "SELECT l.id, l.next_offset - p.position FROM positions p JOIN lanes l ON l.id = p.lane WHERE p.target=?",
                (self._target,),
            ).fetchall()
        return {self._lanes[lane]: max(0, lag) for lane, lag in rows if lane in self._next}

    def close(self) -> None:
        """Leave at once."""
        with contextlib.suppress(ExporterError):  # else the heartbeat runs out
            self._roster.leave()
        self._next.clear()
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
