"""What Azure Monitor does with the records of a request, as documented; used by the stand-in.

It forgives where the real service forgives, and counts it: an undeclared column vanishes, a field over 64 KiB is cut, a value
of a wrong type becomes null, ``TimeGenerated`` outside its bounds is replaced by the time of receipt, an object that is not in an
array vanishes whole (users' reports; the documents speak of 400). None of it shows in the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

MAX_WIRE_BYTES = 1_048_576
MAX_PLAIN_BYTES = 50 * 1_048_576
MAX_FIELD_BYTES = 65_536
MAX_PAST_SECONDS, MAX_AHEAD_SECONDS = 172_800.0, 86_400.0
MAX_SPAN_SECONDS = 1800.0
REQUESTS_A_MINUTE, BYTES_A_MINUTE = 12_000, 2_000_000_000
#: A stream as ``docs/targets/sentinel.md`` has the administrator declare it.
STREAM_COLUMNS: Mapping[str, str] = {
    "TimeGenerated": "datetime",
    "EventTime": "datetime",
    "EventTimeNs": "long",
    "EventId": "string",
    "TenantName": "string",
    "Kind": "string",
    "SeverityText": "string",
    "Message": "string",
    "SourceIp": "string",
    "UserName": "string",
    "HttpMethod": "string",
    "HttpStatus": "int",
    "UrlPath": "string",
    "ServiceName": "string",
    "HostName": "string",
    "TraceId": "string",
    "LateArrival": "boolean",
    "PolicyId": "string",
    "Labels": "dynamic",
    "Metadata": "dynamic",
    "Original": "string",
    "Unmapped": "dynamic",
    "Truncated": "dynamic",
}


class Refused(Exception):
    """The whole request is refused: HTTP status and ``error.code``."""

    def __init__(self, status: int, code: str, retry_after: str | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.retry_after = status, code, retry_after


@dataclass(slots=True)
class Silent:
    """What was changed without a word in the answer."""

    bodies_lost: int = 0
    columns_dropped: int = 0
    fields_cut: int = 0
    cells_nulled: int = 0
    restamped: int = 0
    dropped_names: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Table:
    """A stream's declaration and what becomes of its records. ``columns``: name → type. ``auxiliary``: a table of that plan, whose
    records must lie within 30 minutes of each other in one request. ``bad_ids``: records that are refused whenever they
    come, by ``EventId``.
    """

    columns: Mapping[str, str]
    auxiliary: bool = False
    bad_ids: set[str] = field(default_factory=set)
    silent: Silent = field(default_factory=Silent)

    def take(self, body: bytes, now: float) -> list[dict[str, Any]]:
        """Return the rows of a request. Raises Refused; then none is stored."""
        try:
            records = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise Refused(400, "InvalidPayload") from None
        if isinstance(records, dict):
            self.silent.bodies_lost += 1
            return []
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise Refused(400, "InvalidPayload")
        if self.bad_ids and any(record.get("EventId") in self.bad_ids for record in records):
            raise Refused(400, "InvalidRecord")
        if self.auxiliary:
            self._check_auxiliary(records)
        return [self._row(record, now) for record in records]

    def _check_auxiliary(self, records: list[dict[str, Any]]) -> None:
        times = [at for record in records if (at := _seconds_of(record.get("TimeGenerated"))) is not None]
        if times and max(times) - min(times) > MAX_SPAN_SECONDS:
            raise Refused(400, "RecordsTimeRangeIsMoreThan30Minutes")
        for record in records:
            if any(isinstance(v, dict | list) and self.columns.get(k) != "dynamic" for k, v in record.items()):
                raise Refused(400, "InvalidRecord")

    def _row(self, record: dict[str, Any], now: float) -> dict[str, Any]:
        row = {}
        for name, value in record.items():
            kind = self.columns.get(name)
            if kind is None:
                self.silent.columns_dropped += 1
                if len(self.silent.dropped_names) < 100:
                    self.silent.dropped_names.add(name)
            elif value is not None:
                row[name] = self._cell(kind, value)
        at = _seconds_of(row.get("TimeGenerated"))
        if at is None or not now - MAX_PAST_SECONDS <= at <= now + MAX_AHEAD_SECONDS:
            self.silent.restamped += 1
            row["TimeGenerated"] = datetime.fromtimestamp(now, UTC).isoformat()
        return row

    def _cell(self, kind: str, value: Any) -> Any:
        if not _fits(kind, value):
            self.silent.cells_nulled += 1
            return None
        if kind == "string" and len(raw := value.encode()) > MAX_FIELD_BYTES:
            self.silent.fields_cut += 1
            return raw[:MAX_FIELD_BYTES].decode("utf-8", "ignore")
        if kind == "dynamic" and len(raw := orjson.dumps(value)) > MAX_FIELD_BYTES:
            self.silent.fields_cut += 1
            return raw[:MAX_FIELD_BYTES].decode("utf-8", "ignore")  # no longer JSON, as in the real table
        return value


def _fits(kind: str, value: Any) -> bool:
    """Tell whether a value can stand in a column of this type."""
    if isinstance(value, bool):
        return kind in {"boolean", "dynamic"}
    return _FITS[kind](value)


_FITS: Mapping[str, Callable[[Any], bool]] = {
    "dynamic": lambda _: True,
    "boolean": lambda _: False,
    "string": lambda value: isinstance(value, str),
    "datetime": lambda value: _seconds_of(value) is not None,
    "real": lambda value: isinstance(value, int | float),
    "int": lambda value: isinstance(value, int) and -(2**31) <= value < 2**31,
    "long": lambda value: isinstance(value, int) and -(2**63) <= value < 2**63,
}


def _seconds_of(value: Any) -> float | None:
    """Return a time of ISO 8601 as seconds; None when it is none or has more than the seven digits of a datetime column."""
    if not isinstance(value, str) or not re.fullmatch(r".*:\d\d(\.\d{1,7})?(Z|[+-]\d\d:\d\d)?", value):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


@dataclass(slots=True)
class Quota:
    """Requests and bytes of one rule in fixed minutes; over them 429 until the next minute."""

    requests_a_minute: int = REQUESTS_A_MINUTE
    bytes_a_minute: int = BYTES_A_MINUTE
    _minute: int = -1
    _requests: int = 0
    _bytes: int = 0

    def use(self, size_bytes: int, now: float) -> None:
        """Count a request. Raises Refused (429 with the seconds to the next minute)."""
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self._requests, self._bytes = minute, 0, 0
        self._requests += 1
        self._bytes += size_bytes
        if self._requests > self.requests_a_minute or self._bytes > self.bytes_a_minute:
            raise Refused(429, "TooManyRequests", str(int(60 - now % 60) + 1))
