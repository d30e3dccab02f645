"""Lookup tables: CSV files that add fields to events."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

from exporter.pipeline.filters.names import check_added

#: Bounds of one table; it is held in memory by every reader process.
MAX_BYTES = 16 * 1024 * 1024
MAX_ROWS = 200_000


class LookupError_(ValueError):  # noqa: N801 - LookupError is Python's
    """A table cannot be used. The message is ``reason; cure`` and quotes no value of the table."""


class LookupTable:
    """One file as a table; :meth:`refresh` reads it again when it changed. Not thread-safe."""

    def __init__(self, file: Path, column: str) -> None:
        """Raises LookupError_."""
        self._file, self._column = file, column
        self.digest = ""
        self._stamp: tuple[int, int, int] | None = None
        self._rows: dict[str, Mapping[str, str]] = {}
        self.columns: tuple[str, ...] = ()
        self.refresh()

    def get(self, key: str) -> Mapping[str, str] | None:
        """Return the fields for a key."""
        return self._rows.get(key)

    def refresh(self) -> bool:
        """Read the file again if it changed; tell whether its content did. Raises LookupError_ and keeps the old content."""
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return False
            if status.st_size > MAX_BYTES:
                raise LookupError_(f"the table is larger than {MAX_BYTES} bytes; split it or drop columns")
            raw = self._file.read_bytes()
        except OSError:
            raise LookupError_("the table cannot be read; create it, mend its rights, or correct the path") from None
        self._stamp = stamp  # also of a broken file: it is reported once, not every time
        digest = hashlib.sha256(raw).hexdigest()
        if digest == self.digest:
            return False
        self.columns, self._rows = _parse(raw, self._column)
        self.digest = digest
        return True


def _parse(raw: bytes, column: str) -> tuple[tuple[str, ...], dict[str, Mapping[str, str]]]:
    try:
        reader = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
        header = [name.strip() for name in next(reader, [])]
        place = _place(header, column)
        rows: dict[str, Mapping[str, str]] = {}
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise LookupError_(f"line {reader.line_num} of the table has {len(row)} cells; give it {len(header)}")
            if row[place] in rows:
                raise LookupError_(f"line {reader.line_num} of the table repeats a key; keep one row for each")
            if len(rows) >= MAX_ROWS:
                raise LookupError_(f"the table has more than {MAX_ROWS} rows; split it")
            rows[row[place]] = {n: v for i, (n, v) in enumerate(zip(header, row, strict=True)) if i != place and v}
    except UnicodeDecodeError:
        raise LookupError_("the table is not UTF-8; save it as UTF-8") from None
    except csv.Error:
        raise LookupError_("the table is no well-formed CSV; check its quotes and separate cells by commas") from None
    return tuple(name for i, name in enumerate(header) if i != place), rows


def _place(header: list[str], column: str) -> int:
    if column not in header:
        raise LookupError_("the table's first line names no such column; write its header or correct `column`")
    if len(set(header)) != len(header):
        raise LookupError_("the table names a column twice; rename one")
    if len(header) == 1:
        raise LookupError_("the table has no column beside the key; add those that events should get")
    for name in header:
        if name != column and (fault := next(check_added(name, ""), None)) is not None:
            raise LookupError_(f"a column's name cannot be a field: {fault.reason}; rename the column")
    return header.index(column)
