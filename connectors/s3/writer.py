"""Events of one path → objects, each event exactly once, whatever was written before and by whom.

Nothing is skipped for its offset alone: an object that stands where ours would is read, and an event is skipped only when
it really stands in it, at or below the object's ``end-offset``. Offsets start anew when somebody recreates the bus; then
the object is another bus's, and ours gets a name with the event id of its first event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.base import Record, TargetMisconfigured, TargetUnavailable
from connectors.s3.answers import ConditionRefused, ObjectExists
from connectors.s3.client import Got, ObjectStore
from connectors.s3.encode import decode, encode
from connectors.s3.names import Lane, lane_prefix, object_key, parse_key
from connectors.s3.shelf import Known, Shelf
from exporter.domain.events import event_id_of

END_OFFSET = "end-offset"
#: Objects compressed at once: bounds the copies of batches in memory, and two cores are enough for a network.
_MAX_ENCODING = 2
_FEW_EVENTS = 200
_SMALL_OBJECT_BYTES = 65_536


@dataclass(slots=True, repr=False)
class Progress:
    """What is left of a path's events, what was written, and how many events stood there already."""

    left: Sequence[Record]
    objects: list[dict[str, Any]] = field(default_factory=list)
    skipped: int = 0
    duplicates: int = 0


class PathWriter:
    """Used by one connector in one event loop; never twice at the same time for one lane."""

    def __init__(self, store: ObjectStore, layout: str) -> None:
        self._store, self._layout = store, layout
        #: Whether the store lets only one writer have a name; set after the probe.
        self.conditional = True
        self._encoding = asyncio.Semaphore(_MAX_ENCODING)

    async def write(self, lane: Lane, path: str, shelf: Shelf, progress: Progress, *, single: bool) -> None:
        """Store what is left, in order, with ``single`` one event an object. Raises TargetError; ``progress`` then says what
        is settled all the same.
        """
        prefix = lane_prefix(path, lane)
        while progress.left:
            first = progress.left[0].offset
            if shelf.needs_listing(first):
                await self._look(shelf, prefix, first)
            shelf.prune(first)
            if (known := shelf.may_hold(first)) is not None:
                await self._skip(known, shelf, progress)
                continue
            chunk = progress.left[:1] if single else progress.left
            bound = shelf.next_first(first)
            if bound is not None and bound <= chunk[-1].offset:
                chunk = [record for record in chunk if record.offset < bound]
            if await self._put(lane, prefix, shelf, chunk, progress):
                progress.left = progress.left[len(chunk) :]

    async def _look(self, shelf: Shelf, prefix: str, first: int) -> None:
        keys = await self._store.list(prefix, shelf.listing_after(first))
        found = [(parse_key(prefix, key), key) for key in keys]
        shelf.listed((begin, key) for begin, key in found if begin is not None)

    async def _skip(self, known: Known, shelf: Shelf, progress: Progress) -> None:
        """Read an object and take off what stands in it; when that is nothing, note what kind of object it is."""
        got = await self._store.get(known.key)
        if got is None:
            # Somebody deleted it; its name is free again. Not at once, for a store that answers 412 and 404 in turn.
            shelf.objects.remove(known)
            raise TargetUnavailable(f"{known.key} was listed and is not there", code="object_gone")
        large = len(got.body) > _SMALL_OBJECT_BYTES
        end, lines = await asyncio.to_thread(_read, known.key, got) if large else _read(known.key, got)
        known.end = end
        there = [record for record in progress.left if record.offset <= end and record.value in lines]
        if there:
            held = {record.offset for record in there}
            progress.left = [record for record in progress.left if record.offset not in held]
            progress.skipped += len(there)
            progress.duplicates += _maybe_twice(shelf, there, known.key)
        elif progress.left[0].offset <= end:
            known.foreign = True

    async def _put(self, lane: Lane, prefix: str, shelf: Shelf, chunk: Sequence[Record], progress: Progress) -> bool:
        """Write one object; return False when its name is taken (the shelf then knows it)."""
        first, last = chunk[0].offset, chunk[-1].offset
        key = self._free_key(prefix, shelf, chunk)
        async with self._encoding:
            values = [record.value for record in chunk]
            # A hop to a thread and back costs more than compressing a few events.
            body = await asyncio.to_thread(encode, values) if len(values) > _FEW_EVENTS else encode(values)
        metadata = {
            "tenant": lane.tenant,
            "partition": lane.partition,
            "first-offset": str(first),
            END_OFFSET: str(last),
            "record-count": str(len(chunk)),
            "layout": self._layout,
            "format-version": "1",
        }
        try:
            put = await self._store.put(key, body, metadata, only_new=self.conditional)
        except ObjectExists:
            shelf.add(Known(first, key))
            return False
        except ConditionRefused:
            raise TargetMisconfigured(
                "the store refuses a conditional write that it took at the start", hint="look at the store"
            ) from None
        except (TargetUnavailable, asyncio.CancelledError):
            if not self.conditional:  # it may stand there all the same: look before the next try
                shelf.stale = True
                shelf.unsure.append((first, last, key))
            raise
        shelf.add(Known(first, key, end=last))
        progress.duplicates += _maybe_twice(shelf, chunk, key)
        progress.objects.append({
            "key": key, "etag": put.etag, "version_id": put.version_id, "sha256": put.checksum, "size": len(body),
            "first_offset": first, "end_offset": last, "count": len(chunk),
        })  # fmt: skip
        return True

    def _free_key(self, prefix: str, shelf: Shelf, chunk: Sequence[Record]) -> str:
        """Return the object's name; with the event id when the plain one belongs to somebody else."""
        first, last = chunk[0].offset, None if self.conditional else chunk[-1].offset
        key = object_key(prefix, first, last=last)
        if shelf.find(key) is not None:
            key = object_key(prefix, first, last=last, event_id=event_id_of(chunk[0].head))
            if shelf.find(key) is not None:
                raise TargetMisconfigured(
                    f"{key} does not hold the event that it is named after",
                    hint="somebody changed it: restore its first version, or move it away",
                    code="object_changed",
                )
        return key


def _read(key: str, got: Got) -> tuple[int, set[bytes]]:
    """Return an object's end offset and its lines. Raises TargetMisconfigured when it is not one of ours."""
    try:
        return int(got.metadata[END_OFFSET]), set(decode(got.body))
    except (KeyError, ValueError):  # NotAnObject is a ValueError
        raise TargetMisconfigured(
            f"{key} is damaged, or was not written by this exporter",
            hint="restore it, or move it away: its events are then written again",
            code="object_unreadable",
        ) from None


def _maybe_twice(shelf: Shelf, chunk: Sequence[Record], key: str) -> int:
    """Return how many of these events may also stand in objects whose write was never answered, and forget those that lie
    behind.
    """
    if not shelf.unsure:
        return 0
    copies = sum(first <= r.offset <= last for first, last, other in shelf.unsure if other != key for r in chunk)
    shelf.unsure = [entry for entry in shelf.unsure if entry[1] > chunk[-1].offset]
    return copies
