"""Which shards this worker runs: a roster in the file."""

from __future__ import annotations

import contextlib
import threading
import time

from exporter.bus.base import Assignment
from exporter.bus.sqlite.leases import Roster
from exporter.bus.sqlite.store import connect
from exporter.errors import ExporterError
from exporter.settings.model import SqliteBus

#: How long a worker may take to finish a commit and close a revoked shard. The fence keeps us safe beyond it.
RELEASE_SECONDS = 30.0
#: How often the file is looked at while waiting; a look is a few microseconds.
LOOK_SECONDS = 0.1
ROSTER = "workers"


class SqliteMembership:
    """See ``exporter.bus.base.Membership``. The heartbeat is in :meth:`poll`: a worker that hangs loses its shards."""

    def __init__(self, settings: SqliteBus, session: str) -> None:
        self._db = connect(settings.path)
        self._roster = Roster(self._db, ROSTER, session, range(settings.shard_count))
        self._lock = threading.Lock()
        self._owned: set[int] = set()
        self._leaving: dict[int, float] = {}  # shard → when it is given back at the latest

    def poll(self, timeout_seconds: float) -> Assignment:
        """See the port. Raises BusUnavailable, ConfigurationError."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            with self._lock:
                assignment = self._step()
            left = deadline - time.monotonic()
            if left <= 0 or assignment != Assignment():
                return assignment
            time.sleep(min(LOOK_SECONDS, left))

    def _step(self) -> Assignment:
        now = time.monotonic()
        if overdue := [shard for shard, at in self._leaving.items() if at < now]:
            self._let_go(overdue)
        turn = self._roster.beat()
        lost = turn.lost & self._owned
        for shard in turn.lost:
            self._leaving.pop(shard, None)
        self._leaving |= dict.fromkeys(turn.surplus, now + RELEASE_SECONDS)
        self._owned = (self._owned | turn.gained) - turn.surplus - turn.lost
        return Assignment(gained=turn.gained, revoked=turn.surplus, lost=lost)

    def _let_go(self, shards: list[int]) -> None:
        self._roster.release(shards)
        for shard in shards:
            self._leaving.pop(shard, None)

    def owns(self, shard: int) -> bool:
        """Raises BusUnavailable."""
        with self._lock:
            return shard in self._owned and self._roster.holds(shard)

    def released(self, shard: int) -> None:
        """Raises BusUnavailable."""
        with self._lock:
            if shard in self._leaving:
                self._let_go([shard])

    def close(self) -> None:
        """Leave at once."""
        with self._lock:
            with contextlib.suppress(ExporterError):  # else the heartbeat runs out
                self._roster.leave()
            self._owned.clear()
            self._db.close()
