"""Who runs what: members of a roster share its items evenly (shards among workers, lanes among a target's readers).

Each member holds leases in the file and proves with a heartbeat that it lives. Who holds more than its share gives items back when
their work is finished; who holds fewer takes free ones. Rosters give liveness and distribution only: a writer is fenced
by its epoch, a position by its lease.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from exporter.bus.sqlite.store import transaction, translated

#: A member without a heartbeat for so long is dead.
TTL_MS = 10_000
#: Heartbeats are writes that sync the disk, so they come only every so often.
HEARTBEAT_MS = 2_500


@dataclass(frozen=True, slots=True)
class Turn:
    """What a beat changed. ``surplus`` items are to be given back with :meth:`Roster.release` once their work is finished."""

    gained: frozenset[int] = frozenset()
    surplus: frozenset[int] = frozenset()
    lost: frozenset[int] = frozenset()


@dataclass(slots=True)
class _View:
    """The roster as the file has it."""

    sessions: list[str]
    holders: dict[int, str]


def wall_ms() -> int:
    """Milliseconds since the epoch: processes of one machine share this clock, and it survives a restart."""
    return time.time_ns() // 1_000_000


class Roster:
    """One member's part in a roster. All members name the same items. Used by one thread at a time."""

    def __init__(
        self, db: sqlite3.Connection, name: str, session: str, items: Sequence[int], now_ms: Callable[[], int] = wall_ms
    ) -> None:
        self._db, self._name, self._session, self._now_ms = db, name, session, now_ms
        self._items = sorted(items)
        self._held: set[int] = set()
        self._leaving: set[int] = set()
        self._beat_at_ms = 0
        self._seen_version = -1

    def beat(self) -> Turn:
        """Renew the heartbeat when it is due and look for changes; cheap when nothing happened. Raises BusUnavailable."""
        now_ms = self._now_ms()
        # A clock that was set back must not stop the heartbeats.
        due = not 0 <= now_ms - self._beat_at_ms < HEARTBEAT_MS
        if not due and not self._changed():
            return Turn()
        with transaction(self._db):
            view = self._renew(now_ms)
            turn = self._turn(view)
            rows = [(self._name, item, self._session) for item in turn.gained]
            self._db.executemany("INSERT INTO leases VALUES (?, ?, ?)", rows)
        self._beat_at_ms = now_ms
        self._held = (self._held | turn.gained) - turn.lost
        self._leaving = (self._leaving | turn.surplus) - turn.lost
        return turn

    def _changed(self) -> bool:
        """Tell whether another process wrote, and if so whether there is something for us to do."""
        with translated():
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
            if version == self._seen_version:
                return False
            self._seen_version = version
            return self._turn(self._view()) != Turn()

    def _view(self) -> _View:
        sessions = self._db.execute("SELECT session FROM members WHERE roster=? ORDER BY session", (self._name,))
        holders = self._db.execute("SELECT item, session FROM leases WHERE roster=?", (self._name,))
        return _View([session for (session,) in sessions], dict(holders))

    def _renew(self, now_ms: int) -> _View:
        """Write our heartbeat and forget the dead. An expiry far ahead comes from a clock since set back: dead as well."""
        db = self._db
        late = (self._name, now_ms, now_ms + TTL_MS + HEARTBEAT_MS)
        db.execute("DELETE FROM members WHERE roster=? AND (expires_ms < ? OR expires_ms > ?)", late)
        db.execute("INSERT OR REPLACE INTO members VALUES (?, ?, ?)", (self._name, self._session, now_ms + TTL_MS))
        db.execute(
            "DELETE FROM leases WHERE roster=?1 AND session NOT IN (SELECT session FROM members WHERE roster=?1)",
            (self._name,),
        )
        return self._view()

    def _turn(self, view: _View) -> Turn:
        mine = {item for item, session in view.holders.items() if session == self._session}
        lost = self._held - mine
        share = self._share(view.sessions)
        active = sorted(mine - self._leaving)
        # What we lost is finished before it is taken again: by another member, or by us at a later beat.
        free = [item for item in self._items if item not in view.holders and item not in lost]
        gained = free[: max(0, share - len(active))]
        return Turn(frozenset(gained), frozenset(active[share:]), frozenset(lost))

    def _share(self, sessions: Sequence[str]) -> int:
        if self._session not in sessions:
            return 0
        each, rest = divmod(len(self._items), len(sessions))
        return each + (sessions.index(self._session) < rest)

    def holds(self, item: int) -> bool:
        """Ask the file whether the lease is ours; inside a transaction the answer stays true until its end."""
        with translated():
            row = self._db.execute(
                "SELECT 1 FROM leases WHERE roster=? AND item=? AND session=?", (self._name, item, self._session)
            ).fetchone()
        return row is not None

    def release(self, items: Iterable[int]) -> None:
        """Give items back."""
        rows = [(self._name, item, self._session) for item in items]
        with transaction(self._db):
            self._db.executemany("DELETE FROM leases WHERE roster=? AND item=? AND session=?", rows)
        gone = {item for _, item, _ in rows}
        self._held -= gone
        self._leaving -= gone

    def leave(self) -> None:
        """Give all back at once."""
        with transaction(self._db):
            self._db.execute("DELETE FROM leases WHERE roster=? AND session=?", (self._name, self._session))
            self._db.execute("DELETE FROM members WHERE roster=? AND session=?", (self._name, self._session))
        self._held.clear()
        self._leaving.clear()
