"""Dead letters in a table. A resolved letter keeps its row without the event, as a record of what became of it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence

from exporter.bus.base import DeadLetter
from exporter.bus.sqlite.store import transaction, translated

#: Letters read at once while listing; a statement kept open would keep the log file from shrinking.
PAGE_LETTERS = 50

_COLUMNS = "target, tenant, partition, offset, event_id, reason, code, failed_ns, key, value"


class SqliteDeadLetters:
    """See ``exporter.bus.base.DeadLetters``."""

    def __init__(self, db: Callable[[], sqlite3.Connection], lock: threading.Lock) -> None:
        self._connection, self._lock = db, lock

    def append(self, letters: Sequence[DeadLetter]) -> None:
        """An event that already has an open letter (refused again) keeps one. Raises BusUnavailable."""
        rows = [tuple(getattr(letter, name) for name in _COLUMNS.split(", ")) for letter in letters]
        statement = f"INSERT OR IGNORE INTO dead_letters ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        with self._lock, transaction(db := self._connection()):
            db.executemany(statement, rows)

    def list(self, target: str) -> Iterator[DeadLetter]:
        """Raises BusUnavailable."""
        last = 0
        statement = (
            f"SELECT {_COLUMNS}, number FROM dead_letters"  # noqa: S608
            " WHERE target=? AND outcome IS NULL AND number > ? ORDER BY number LIMIT ?"
        )
        while True:
            with self._lock, translated():
                rows = self._connection().execute(statement, (target, last, PAGE_LETTERS)).fetchall()
            if not rows:
                return
            for row in rows:
                letter = DeadLetter(*row)
                last = letter.number
                yield letter

    def resolve(self, target: str, numbers: Sequence[int], outcome: str) -> None:
        """Raises BusUnavailable."""
        rows = [(outcome, target, number) for number in numbers]
        statement = "UPDATE dead_letters SET outcome=?, value=x'' WHERE target=? AND number=? AND outcome IS NULL"
        with self._lock, transaction(db := self._connection()):
            db.executemany(statement, rows)

    def counts(self) -> dict[str, int]:
        """Raises BusUnavailable."""
        statement = (
            "SELECT t.target, count(d.number) FROM (SELECT target FROM targets UNION SELECT target FROM dead_letters) t"
            " LEFT JOIN dead_letters d ON d.target = t.target AND d.outcome IS NULL GROUP BY t.target"
        )
        with self._lock, translated():
            return dict(self._connection().execute(statement).fetchall())
