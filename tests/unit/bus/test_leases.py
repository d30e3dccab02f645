"""Rosters under any order of beats, releases, crashes and clock steps: an item has one holder, and all settle evenly."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exporter.bus.sqlite.leases import HEARTBEAT_MS, TTL_MS, Roster
from exporter.bus.sqlite.store import connect, create

ITEMS = range(5)


class Rosters(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self._path = Path(self._directory.name) / "bus.db"
        create(self._path)
        self._now_ms = 1_000_000
        self._made = 0
        self._members: dict[str, tuple[Roster, sqlite3.Connection]] = {}
        self._held: dict[str, set[int]] = {}
        self._leaving: dict[str, set[int]] = {}

    def teardown(self) -> None:
        for _, db in self._members.values():
            db.close()
        self._directory.cleanup()

    def _beat(self, name: str) -> None:
        turn = self._members[name][0].beat()
        self._held[name] = (self._held[name] | turn.gained) - turn.lost
        self._leaving[name] = (self._leaving[name] | turn.surplus) - turn.lost

    @precondition(lambda self: len(self._members) < 4)
    @rule()
    def join(self) -> None:
        self._made += 1
        name, db = f"m{self._made}", connect(self._path)
        db.execute("PRAGMA synchronous=OFF")  # nothing here is about power cuts
        self._members[name] = (Roster(db, "r", name, ITEMS, lambda: self._now_ms), db)
        self._held[name], self._leaving[name] = set(), set()
        self._beat(name)

    @precondition(lambda self: self._members)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        self._beat(data.draw(st.sampled_from(sorted(self._members))))

    @precondition(lambda self: any(self._leaving.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, items in self._leaving.items() if items)))
        self._members[name][0].release(self._leaving[name])
        self._held[name] -= self._leaving[name]
        self._leaving[name] = set()

    @precondition(lambda self: self._members)
    @rule(data=st.data(), crash=st.booleans())
    def end(self, data: st.DataObject, *, crash: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self._members)))
        roster, db = self._members.pop(name)
        if not crash:
            roster.leave()
        db.close()
        del self._held[name], self._leaving[name]

    @rule(step_ms=st.sampled_from([100, TTL_MS // 2, 3 * TTL_MS, -5 * TTL_MS]))
    def time_passes(self, step_ms: int) -> None:
        self._now_ms += step_ms

    @invariant()
    def every_lease_is_known_to_its_holder(self) -> None:
        for name, (_, db) in self._members.items():
            leased = {item for (item,) in db.execute("SELECT item FROM leases WHERE session=?", (name,))}
            assert leased <= self._held[name]

    @precondition(lambda self: self._members)
    @rule()
    def all_settle(self) -> None:
        """The dead expire, at the latest a TTL and a heartbeat after somebody looked (a clock set back makes them look
        alive that long); then a few rounds of beats and releases bring every item to exactly one member, evenly.
        """
        self._now_ms += TTL_MS + 1
        for _ in range(TTL_MS // HEARTBEAT_MS + 6):
            self._now_ms += HEARTBEAT_MS
            for name, (roster, _) in self._members.items():
                self._beat(name)
                roster.release(self._leaving[name])
                self._held[name] -= self._leaving[name]
                self._leaving[name] = set()
        shares = sorted(len(items) for items in self._held.values())
        assert sum(shares) == len(ITEMS) == len(set().union(*self._held.values()))
        assert shares[-1] - shares[0] <= 1


Rosters.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestRosters = Rosters.TestCase
