"""Deleting what every target has, so that the file stays below its bound.

An event may go when all targets that take its tenant have delivered it; a target that has never yet read holds everything,
because its tenants are not known. Undelivered events are never deleted: when they alone reach the bound, commits are refused
and Loki is the buffer.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from exporter.bus.sqlite.store import transaction

#: Most blocks deleted in one transaction, so that writers wait for some milliseconds only.
CHUNK_BLOCKS = 64
#: Free pages are given back to the file system once they are more than this share of the file; below, they are used again.
FREE_SHARE = 0.5
#: Pages given back in one go.
VACUUM_PAGES = 1024

# Lanes of a tenant that no target takes have no holder: min() over nothing is NULL, and all of the lane may go.
_FLOORS = """
SELECT l.id, coalesce(min(CASE WHEN t.target IS NULL THEN l.next_offset ELSE coalesce(p.position, 0) END), l.next_offset)
FROM lanes l
LEFT JOIN targets t ON t.subscribed = 0 OR EXISTS (
    SELECT 1 FROM subscriptions s WHERE s.target = t.target AND s.tenant = l.tenant)
LEFT JOIN positions p ON p.target = t.target AND p.lane = l.id
GROUP BY l.id
"""
_DELIVERED = """
SELECT appended_ms, id, size_bytes FROM blocks
WHERE lane = ?1 AND first_offset < ?2 AND next_offset <= ?2 AND appended_ms < ?3 ORDER BY first_offset LIMIT ?4
"""


class _Block(NamedTuple):
    appended_ms: int
    id: int
    size_bytes: int


def used_bytes(db: sqlite3.Connection) -> int:
    """Return the bytes of all stored events."""
    (used,) = db.execute("SELECT value FROM meta WHERE key='bytes'").fetchone()
    return int(used)


def add_bytes(db: sqlite3.Connection, size_bytes: int) -> None:
    """Account for stored (or with a negative number, deleted) events, in the same transaction."""
    db.execute("UPDATE meta SET value = value + ? WHERE key='bytes'", (size_bytes,))


def _delivered(db: sqlite3.Connection, before_ms: int) -> list[_Block]:
    """Return blocks that all targets have, oldest first."""
    found = [
        _Block(*row)
        for lane, floor in db.execute(_FLOORS).fetchall()
        for row in db.execute(_DELIVERED, (lane, floor, before_ms, CHUNK_BLOCKS))
    ]
    return sorted(found)


def _delete(db: sqlite3.Connection, blocks: list[_Block]) -> None:
    db.executemany("DELETE FROM blocks WHERE id=?", [(block.id,) for block in blocks])
    add_bytes(db, -sum(block.size_bytes for block in blocks))


def make_room(db: sqlite3.Connection, needed_bytes: int, now_ms: int) -> None:
    """Delete delivered blocks, oldest first, until so many bytes are free or none is left. Inside the caller's transaction."""
    while needed_bytes > 0 and (blocks := _delivered(db, now_ms + 1)[:CHUNK_BLOCKS]):
        chosen = []
        for block in blocks:
            if needed_bytes <= 0:
                break
            chosen.append(block)
            needed_bytes -= block.size_bytes
        _delete(db, chosen)


def sweep(db: sqlite3.Connection, before_ms: int) -> bool:
    """Delete one chunk of delivered blocks appended before that time. True when there is more. Raises BusUnavailable."""
    blocks = _delivered(db, before_ms)
    if blocks:
        with transaction(db):
            _delete(db, blocks[:CHUNK_BLOCKS])
    (free,), (pages,) = db.execute("PRAGMA freelist_count").fetchone(), db.execute("PRAGMA page_count").fetchone()
    if free > VACUUM_PAGES and free > pages * FREE_SHARE:
        db.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
    return len(blocks) > CHUNK_BLOCKS
