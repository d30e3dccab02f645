"""Query parameters as Loki reads them (loki ``pkg/loghttp/params.go``, ``pkg/loghttp/query.go``)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qs

from exporter.domain.windows import NS_PER_HOUR, NS_PER_SECOND
from exporter.sandbox.http import BadRequest, Request
from exporter.sandbox.loki.limits import LokiLimits, ns
from exporter.sandbox.loki.logql import ParseError, parse_duration_ns

_DEFAULT_LIMIT = 100
_MAX_POINTS = 11_000


@dataclass(frozen=True, slots=True)
class RangeParams:
    """Parameters of ``query_range``, defaults filled in."""

    query: str
    start_ns: int
    end_ns: int
    limit: int
    forward: bool
    step_ns: int
    interval_ns: int


class Params:
    """Values of query string and form body together. Getters raise BadRequest (400)."""

    def __init__(self, request: Request) -> None:
        self._values = dict(request.query)
        if request.method == "POST" and "form" in request.headers.get("content-type", ""):
            form = parse_qs(request.decoded_body().decode("utf-8", "replace"), keep_blank_values=True)
            for name, values in form.items():
                self._values.setdefault(name, []).extend(values)

    def text(self, name: str, default: str = "") -> str:
        """Return the first value."""
        return self._values.get(name, [default])[0]

    def all(self, *names: str) -> list[str]:
        """Return all values under any of the names."""
        return [value for name in names for value in self._values.get(name, [])]

    def time_ns(self, name: str, default_ns: int) -> int:
        """Digits up to ten are seconds, longer ones nanoseconds; a dot makes a float of seconds, to the millisecond."""
        text = self.text(name)
        if not text:
            return default_ns
        try:
            if "." in text and text.replace(".", "", 1).isdigit():
                return round(float(text) * 1000) * 1_000_000
            if text.lstrip("-").isdigit():
                return int(text) * NS_PER_SECOND if len(text) <= 10 else int(text)
            return _rfc3339_ns(text)
        except ValueError:
            raise BadRequest(400, f"could not parse {name} as a time") from None

    def duration_ns(self, name: str) -> int | None:
        """Seconds as a number, or a duration; None when absent."""
        text = self.text(name)
        if not text:
            return None
        try:
            return ns(float(text))
        except ValueError:
            pass
        try:
            return parse_duration_ns(text, nanoseconds=True)
        except ParseError:
            raise BadRequest(400, f"cannot parse {name} to a valid duration") from None

    def limit(self, limits: LokiLimits) -> int:
        """Nothing is clamped: above the maximum is an error, and so is 0."""
        text = self.text("limit", str(_DEFAULT_LIMIT))
        try:
            limit = int(text)
        except ValueError:
            raise BadRequest(400, "limit is not a number") from None
        if limit <= 0:
            raise BadRequest(400, "limit must be a positive value")
        most = limits.max_entries_limit_per_query
        if most and limit > most:
            raise BadRequest(
                400, f"max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {most})"
            )
        return limit

    def window(self, now_ns: int) -> tuple[int, int]:
        """Return start and end: by default the hour before end, which is now."""
        end = self.time_ns("end", now_ns)
        start = self.time_ns("start", min(end, now_ns) - NS_PER_HOUR)
        if end < start:
            raise BadRequest(400, "end timestamp must not be before or equal to start time")
        return start, end

    def range(self, now_ns: int, limits: LokiLimits) -> RangeParams:
        """Return the parameters of ``query_range``."""
        start, end = self.window(now_ns)
        # prometheus' default: 250 points, at least a second
        step = self.duration_ns("step")
        given = step if step is not None else max(NS_PER_SECOND, (end - start) // 250 // NS_PER_SECOND * NS_PER_SECOND)
        if given <= 0:
            raise BadRequest(
                400, "zero or negative query resolution step widths are not accepted. Try a positive integer"
            )
        if (end - start) // given > _MAX_POINTS:
            raise BadRequest(
                400,
                "exceeded maximum resolution of 11,000 points per time series. "
                "Try increasing the value of the step parameter",
            )
        direction = self.text("direction", "backward").lower()
        if direction not in {"forward", "backward"}:
            raise BadRequest(400, "invalid direction")
        interval = self.duration_ns("interval") or 0
        if interval < 0:
            raise BadRequest(400, "interval must be >= 0")
        return RangeParams(self.text("query"), start, end, self.limit(limits), direction == "forward", given, interval)


def _rfc3339_ns(text: str) -> int:
    """Read RFC 3339 with up to nine digits of a second."""
    head, dot, rest = text.partition(".")
    digits = ""
    if dot:
        zone = next((i for i, c in enumerate(rest) if not c.isdigit()), len(rest))
        digits, head = rest[:zone], head + rest[zone:]
    moment = datetime.fromisoformat(head)
    if moment.tzinfo is None:
        raise ValueError("no time zone")
    return int(moment.timestamp()) * NS_PER_SECOND + int(digits[:9].ljust(9, "0") or 0)
