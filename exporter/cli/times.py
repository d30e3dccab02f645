"""Times on the command line."""

from __future__ import annotations

from datetime import UTC, date, datetime

import typer


def parse_time(text: str | None, option: str) -> int | None:
    """Return nanoseconds of an RFC 3339 time with its offset, or of a day (its first moment in UTC). Raises a usage error."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        if len(text) == len("2026-01-31"):
            at = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        message = f"{text!r} is no time; write a day such as 2026-01-31, or 2026-01-31T08:00:00Z with its offset"
        raise typer.BadParameter(message, param_hint=option)
    whole = int(at.replace(microsecond=0).timestamp())
    return whole * 1_000_000_000 + at.microsecond * 1000


def show_time(ns: int) -> str:
    """Return a time to the millisecond, in UTC."""
    at = datetime.fromtimestamp(ns // 1_000_000_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ns // 1_000_000 % 1000:03d}Z"
