"""The ledger's table: append and read. Nothing is ever deleted from it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from exporter.bus.base import RECEIPTS, LedgerRecord
from exporter.bus.sqlite.store import translated

#: Records read at once; a statement kept open would keep the log file from shrinking. One of a full commit has 80 kB.
PAGE_RECORDS = 200


def prepare(db: sqlite3.Connection) -> None:
    """Let the end of a part be found without reading all others. Files of earlier releases get the index with their next start."""
    db.execute("CREATE INDEX IF NOT EXISTS ledger_of_shard ON ledger (shard)")


def append(db: sqlite3.Connection, records: Sequence[bytes], heads: Mapping[str, bytes | None]) -> None:
    """Write receipts and the heads of their chains, inside the caller's transaction."""
    db.executemany("INSERT INTO ledger (record) VALUES (?)", [(record,) for record in records])
    puts = [(RECEIPTS, key, value) for key, value in heads.items() if value is not None]
    gone = [(RECEIPTS, key) for key, value in heads.items() if value is None]
    db.executemany("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?)", puts)
    db.executemany("DELETE FROM checkpoints WHERE shard=? AND key=?", gone)


def read(
    connection: Callable[[], sqlite3.Connection], lock: threading.Lock, part: int | None, last: int | None
) -> Iterator[LedgerRecord]:
    """Yield records by their number, which grows with every commit. Raises BusUnavailable."""
    which = "1" if part is None else "shard IS NULL" if part == RECEIPTS else f"shard = {part:d}"
    with lock, translated():
        (end,) = connection().execute("SELECT coalesce(max(id), 0) FROM ledger").fetchone()
        begin = 0
        if last is not None:
            newest = f"SELECT id FROM ledger WHERE {which} ORDER BY id DESC LIMIT ?"  # noqa: S608
            ids = [number for (number,) in connection().execute(newest, (last,))]
            begin = ids[-1] - 1 if ids else end
    statement = (
        f"SELECT id, shard, CAST(record AS BLOB) FROM ledger WHERE {which} AND id > ? AND id <= ? ORDER BY id LIMIT ?"  # noqa: S608
    )
    while True:
        with lock, translated():
            rows = connection().execute(statement, (begin, end, PAGE_RECORDS)).fetchall()
        for begin, shard, record in rows:  # noqa: B007 - where the next page begins
            yield LedgerRecord(RECEIPTS if shard is None else shard, record)
        if len(rows) < PAGE_RECORDS:
            return
