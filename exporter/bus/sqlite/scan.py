"""A tenant's events once more, apart from every target: for replays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from exporter.bus.base import Lane, LaneRecords
from exporter.bus.sqlite.blocks import unpack
from exporter.bus.sqlite.store import connect, translated
from exporter.settings.model import SqliteBus

#: One block at a time: an open statement would keep the log file from being cut back while a slow target is waited for.
_NEXT = """
SELECT first_offset, next_offset, appended_ms, data FROM blocks
WHERE lane = ?1 AND first_offset >= coalesce(
    (SELECT max(first_offset) FROM blocks WHERE lane = ?1 AND first_offset <= ?2), ?2) AND next_offset > ?2
ORDER BY first_offset LIMIT 1
"""


def read_lanes(settings: SqliteBus, tenant: str, positions: Mapping[Lane, int]) -> Iterator[LaneRecords]:
    """See ``exporter.bus.base.Bus.events``. Used by one thread at a time. Raises BusUnavailable, ConfigurationError."""
    with contextlib.closing(connect(settings.path)) as db:
        with translated():
            statement = "SELECT id, partition, next_offset FROM lanes WHERE tenant = ? ORDER BY partition"
            rows = db.execute(statement, (tenant,)).fetchall()
        for number, partition, end in rows:
            lane = Lane(tenant, partition)
            position = positions.get(lane, 0)
            while position < end:
                with translated():
                    row = db.execute(_NEXT, (number, position)).fetchone()
                if row is None:
                    break
                first, after, appended_ms, data = row
                records = unpack(data, first, position, appended_ms)
                position = after
                yield LaneRecords(lane, records, position)
