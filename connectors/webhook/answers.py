"""What an HTTP status means when nothing but HTTP is agreed on, and where the user says otherwise.

Only a 2xx says stored, and not when it is a page for people: that is a proxy's login or a captive portal. The text of an answer is
never passed on; a receiver may quote the request in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from connectors.base import (
    TargetError,
    TargetMisconfigured,
    TargetThrottled,
    TargetUnauthorized,
    TargetUnavailable,
)
from connectors.http import HttpAnswer, OutcomeUnknown, parse_retry_after


class Meaning(StrEnum):
    STORED = "stored"
    BAD_EVENT = "bad_event"
    TOO_LARGE = "too_large"
    UNAUTHORIZED = "unauthorized"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    MISCONFIGURED = "misconfigured"


#: RFC 9110 §15, RFC 6585. What stands for one event only (400, 422) is searched for by halving.
_DEFAULT: Mapping[int, Meaning] = {
    400: Meaning.BAD_EVENT,
    401: Meaning.UNAUTHORIZED,
    403: Meaning.UNAUTHORIZED,
    407: Meaning.MISCONFIGURED,
    408: Meaning.UNAVAILABLE,
    413: Meaning.TOO_LARGE,
    422: Meaning.BAD_EVENT,
    423: Meaning.UNAVAILABLE,
    425: Meaning.UNAVAILABLE,
    429: Meaning.THROTTLED,
    503: Meaning.THROTTLED,
}
_HINTS: Mapping[int, str] = {
    401: "check auth",
    403: "check auth, and what its owner may do at the receiver",
    404: "check url",
    405: "check url and method",
    411: "the receiver or a proxy wants another form of request; check url",
    415: "the receiver wants another form; check body and gzip",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read."""

    meaning: Meaning
    status: int
    is_page: bool = False
    retry_after_seconds: float | None = None

    @property
    def name(self) -> str:
        return f"http_{self.status}"

    @property
    def text(self) -> str:
        """What happened, in our words."""
        return f"HTTP {self.status}" + (" with a page for people instead of an answer" if self.is_page else "")

    @property
    def may_be_stored(self) -> bool:
        """Tell whether events may be stored although the answer does not say so."""
        return self.status >= 500 or 200 <= self.status < 300 or self.meaning is Meaning.UNAVAILABLE

    def error(self) -> TargetError:
        """Return the error for an answer that is neither good nor about single events."""
        wait = self.retry_after_seconds
        if self.meaning is Meaning.UNAUTHORIZED:
            return TargetUnauthorized(self.text, hint=_HINTS.get(self.status, "check auth"), code=self.name)
        if self.meaning is Meaning.THROTTLED:
            return TargetThrottled(self.text, code=self.name, retry_after_seconds=wait)
        if self.meaning is Meaning.UNAVAILABLE:
            kind = OutcomeUnknown if self.may_be_stored else TargetUnavailable
            return kind(self.text, code=self.name, retry_after_seconds=wait)
        if self.is_page:
            hint = "a proxy or login page answers in place of the receiver; check url and the network"
        elif self.status < 400:
            hint = "the receiver has moved; put its new address into url"
        else:
            hint = _HINTS.get(self.status, "check url; if the receiver means something else by it, say so in statuses")
        return TargetMisconfigured(self.text, hint=hint, code=self.name)


class Statuses:
    """The meaning of each status at one receiver."""

    def __init__(self, own: Mapping[str, str]) -> None:
        self._own = {key: Meaning(value) for key, value in own.items()}

    def read(self, got: HttpAnswer) -> Answer:
        """Return what an answer to events means."""
        status = got.status
        meaning = self._own.get(str(status)) or self._own.get(f"{status // 100}xx") or _usual(status)
        wait = parse_retry_after(got.headers.get("retry-after"))
        page = "html" in got.headers.get("content-type", "").lower() and got.text.lstrip()[:1] == b"<"
        if meaning is Meaning.STORED and page:
            return Answer(Meaning.MISCONFIGURED, status, is_page=True)
        return Answer(meaning, status, retry_after_seconds=wait)


def _usual(status: int) -> Meaning:
    if status in _DEFAULT:
        return _DEFAULT[status]
    if 200 <= status < 300:
        return Meaning.STORED
    return Meaning.UNAVAILABLE if status >= 500 else Meaning.MISCONFIGURED
