"""What the target answered against what lies there: objects by their checksums, pieces of files by their digests.

The only comparison that is possible where a target has another schema, for receipts and roots speak of canonical events.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from exporter.custody.archive import Archive
from exporter.custody.verify import Verdict

MAX_NAMED = 20


def compare_receipts(
    records: Iterable[Mapping[str, Any]], archive: Archive, verdict: Verdict, *, target: str, complete: bool
) -> None:
    """Compare what a target's receipts name with the archive. ``complete``: what is named and not there is a problem; without it
    (a part of the archive is looked at) it is passed over.
    """
    _Evidence(archive, verdict, complete=complete).run(records, target)


class _Evidence:
    def __init__(self, archive: Archive, verdict: Verdict, *, complete: bool) -> None:
        self._verdict, self._complete = verdict, complete
        self._paths: dict[str, list[Path]] = {}
        for path in archive.files:
            self._paths.setdefault(path.name.removesuffix(".part"), []).append(path)
        self._canonical = not archive.foreign_lines
        self._named = 0

    def run(self, records: Iterable[Mapping[str, Any]], target: str) -> None:
        for record in records:
            if record["kind"] in {"receipt", "redriven"} and record["target"] == target:
                said = record.get("receipt") or {}
                for key, checksum in _objects(said):
                    self._object(key, checksum)
                if self._canonical and (piece := _piece(said)) is not None:
                    self._piece(record, *piece)
        if self._named > MAX_NAMED:
            self._verdict.problems.append(f"… and {self._named - MAX_NAMED} more that receipts name")

    def _object(self, key: str, checksum: str) -> None:
        found = [p for p in self._paths.get(key.rpartition("/")[2], ()) if p.as_posix().endswith(key)]
        if not found:
            if self._complete:
                self._problem(f"{key}: a receipt names this object, and it is not there")
            return
        digest = hashlib.sha256(found[0].read_bytes()).digest()
        if base64.b64encode(digest).decode() != checksum:
            self._problem(f"{key}: it is not the object that the receipt names")
        self._verdict.count("objects")

    def _piece(self, record: Mapping[str, Any], name: str, start: int, end: int) -> None:
        found = self._paths.get(name)
        if not found:
            if self._complete:
                self._problem(f"{name}: receipts name this file, and it is not there")
                self._paths[name] = []
            return
        with found[0].open("rb") as file:
            file.seek(start)
            data = file.read(end - start)
        if hashlib.sha256(data).hexdigest() != record["sha256"]:
            self._problem(f"{name}: bytes {start} to {end} are not those of receipt {record.get('sequence', '')}")
        self._verdict.count("pieces")

    def _problem(self, text: str) -> None:
        self._named += 1
        if self._named <= MAX_NAMED:
            self._verdict.problems.append(text)


def _objects(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield keys and checksums of the objects that a receipt names; a connector from outside may answer anything."""
    objects = said.get("objects")
    for item in objects if isinstance(objects, list) else ():
        if isinstance(item, dict) and isinstance(item.get("key"), str) and isinstance(item.get("sha256"), str):
            yield item["key"], item["sha256"]


def _piece(said: Mapping[str, Any]) -> tuple[str, int, int] | None:
    """Return name, start and end of the bytes that a receipt speaks of, where these are all of its events."""
    name, start, end = said.get("file"), said.get("start"), said.get("end")
    if not isinstance(name, str) or not isinstance(start, int) or not isinstance(end, int) or said.get("skipped"):
        return None
    return f"{name}.ndjson", start, end
