"""Names of objects: they follow from the lane, the events' time and the first offset alone, never from a clock or chance.

``<prefix>/<tenant>-<partition>-<first offset, 20 digits>.ndjson.gz``. A retry, a restart and a second writer that begin
at the same event meet at the same name, and a conditional write lets only one of them have it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote

from connectors.base import REDRIVE_PARTITION

EXTENSION = ".ndjson.gz"
REDRIVE = "redrive"
#: What follows the lane's own part of a name: first offset, last offset (only where the store ignores conditions), event id
#: (only where another bus had the plain name before).
_REST = re.compile(r"(\d{20})(-\d{20})?(_[0-9a-f]{32})?" + re.escape(EXTENSION))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS


@lru_cache(maxsize=4096)
def safe_name(tenant: str) -> str:
    """Return a tenant's name as part of a key. Tenants of Loki consist of characters that S3 calls safe; a leading dot
    would be a hidden or a parent directory to stores that keep files.
    """
    name = quote(tenant, safe="!-_*'()")
    return "%2E" + name[1:] if name.startswith(".") else name


@dataclass(frozen=True, slots=True)
class Lane:
    """A batch's lane, by the names that stand in keys."""

    tenant: str
    partition: str

    @classmethod
    def of(cls, tenant: str, partition: int) -> Lane:
        return cls(safe_name(tenant), REDRIVE if partition == REDRIVE_PARTITION else str(partition))


class Layout:
    """The prefix template of a target."""

    def __init__(self, template: str) -> None:
        self.template = template
        self.slot_ns = HOUR_NS if "{hour}" in template else DAY_NS if "{date}" in template or "{day}" in template else 0

    def slot_of(self, time_ns: int) -> int:
        """Return which time partition an event belongs to; 0 for all where the prefix names no time."""
        return time_ns // self.slot_ns if self.slot_ns else 0

    def path(self, lane: Lane, slot: int) -> str:
        """Return the prefix of a time partition, up to and including the last slash.

        Raises ValueError for a time outside the years 1 to 9999, which no partition name can say.
        """
        try:
            at = _EPOCH + timedelta(microseconds=slot * self.slot_ns // 1000)
        except OverflowError:
            raise ValueError("the event's time is outside the years 1 to 9999") from None
        # The template was checked by the settings: these names and plain text only.
        return self.template.format(
            tenant=lane.tenant,
            date=f"{at.year:04d}-{at.month:02d}-{at.day:02d}",
            year=f"{at.year:04d}",
            month=f"{at.month:02d}",
            day=f"{at.day:02d}",
            hour=f"{at.hour:02d}",
        )


def lane_prefix(path: str, lane: Lane) -> str:
    """Return what the keys of all objects of a lane under a path begin with."""
    return f"{path}{lane.tenant}-{lane.partition}-"


def object_key(prefix: str, first: int, *, last: int | None = None, event_id: str = "") -> str:
    """Return the key of an object; ``last`` and ``event_id`` only where the plain name cannot be had (see above)."""
    end = f"-{last:020d}" if last is not None else ""
    return f"{prefix}{first:020d}{end}{'_' + event_id if event_id else ''}{EXTENSION}"


def parse_key(prefix: str, key: str) -> int | None:
    """Return the first offset that a key of the lane names; None for an object that is not the lane's."""
    if not key.startswith(prefix):
        return None
    found = _REST.fullmatch(key, len(prefix))
    return int(found[1]) if found else None
