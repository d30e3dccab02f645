"""What an answer of the Logs Ingestion API means: status and ``error.code`` together, in one place.

The body of an error is JSON ``{"error":{"code":…,"message":…}}``; the message may quote what we sent, so it is never read, and
the code only counts when it is a plain word. Proxies answer in HTML, cut, or with 200; nothing of that is passed on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

import orjson

from connectors.http import parse_retry_after


class Meaning(Enum):
    STORED = auto()  # accepted; what Azure does with it later shows only in DCRLogErrors
    BAD_RECORD = auto()  # some record of the request is refused, nobody says which, and nothing of it is stored
    TOO_LARGE = auto()
    TOO_SLOW = auto()  # the gateway gave up while it read the body; half of it arrives in time
    TIME_RANGE = auto()  # Auxiliary tables: the records of one request span at most 30 minutes
    THROTTLED = auto()
    BUSY = auto()  # 503: may be stored
    UNAVAILABLE = auto()  # may be stored
    UNAUTHENTICATED = auto()
    FORBIDDEN = auto()
    MISCONFIGURED = auto()


ROLE_HINT = (
    "give the identity the role Monitoring Metrics Publisher on the DCR; a new assignment takes up to 30 minutes to act, "
    "and events wait meanwhile"
)
_TOKEN_HINT = "the token is refused; check cloud, tenant_id and client_id"  # noqa: S105 - a sentence about a token
_PLACE_HINT = "check endpoint, dcr_id (the immutable id) and stream; a changed DCR takes up to 15 minutes to act"
_FOREIGN_HINT = "the answer is not Azure's; check endpoint and any proxy on the way"
#: Codes as Microsoft's documents and users' reports spell them, by what to do about them; compared without case.
_MEANING_OF_CODE = {
    "contentlengthlimitexceeded": Meaning.TOO_LARGE,
    "payloadsizelimitexceeded": Meaning.TOO_LARGE,
    "timeoutexpired": Meaning.TOO_SLOW,
    "readybody_clientconnectionabort": Meaning.TOO_SLOW,
    "recordstimerangeismorethan30minutes": Meaning.TIME_RANGE,
}
#: A 400 whose code speaks of these is about the request, so no record is to blame for it.
_REQUEST_CODE = re.compile(r"apiversion|dcr|datacollection|stream|contenttype|contentencoding|header", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{1,63}")
_STATUS = {
    401: (Meaning.UNAUTHENTICATED, _TOKEN_HINT),
    403: (Meaning.FORBIDDEN, ROLE_HINT),
    404: (Meaning.MISCONFIGURED, _PLACE_HINT),
    408: (Meaning.TOO_SLOW, ""),
    413: (Meaning.TOO_LARGE, ""),
    415: (Meaning.MISCONFIGURED, "the server or a proxy takes no gzip"),
    429: (Meaning.THROTTLED, ""),
    503: (Meaning.BUSY, ""),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read. ``code`` is the service's word for an error, empty when there is none."""

    meaning: Meaning
    status: int
    code: str = ""
    hint: str = ""
    retry_after_seconds: float | None = None

    @property
    def text(self) -> str:
        """What happened, in our words and the service's code."""
        return f"HTTP {self.status}{f', {self.code}' if self.code else ''}"

    @property
    def name(self) -> str:
        """A short code for metrics and dead letters; bounded."""
        known = self.code.lower()
        return f"sentinel_{known}" if known in _MEANING_OF_CODE else f"http_{self.status}"

    @property
    def outcome_unknown(self) -> bool:
        """Tell whether the records may be stored in spite of the answer."""
        if self.meaning in {Meaning.UNAVAILABLE, Meaning.BUSY, Meaning.TOO_SLOW}:
            return True
        return self.meaning is Meaning.MISCONFIGURED and self.status < 300


def read_answer(
    status: int, body: bytes, *, content_type: str = "", retry_after: str | None = None, now: datetime | None = None
) -> Answer:
    """Return what an answer to a POST of records means. Never raises."""
    code, foreign = _code_of(body)
    wait = parse_retry_after(retry_after, now=now)
    if 200 <= status < 300:
        # 204 is the documented success, 200 and 202 are named too; a login page of a proxy says 200 and proves nothing.
        stored = status == 204 or (status in {200, 202} and not foreign and "html" not in content_type.lower())
        meaning = Meaning.STORED if stored else Meaning.MISCONFIGURED
        return Answer(meaning, status, "", "" if stored else _FOREIGN_HINT)
    meaning, hint = _refusal(status, code, foreign=foreign)
    return Answer(meaning, status, code, hint, wait)


def _refusal(status: int, code: str, *, foreign: bool) -> tuple[Meaning, str]:
    if status in {400, 408, 413} and (known := _MEANING_OF_CODE.get(code.lower())) is not None:
        return known, ""
    if status == 400:
        if foreign:
            return Meaning.MISCONFIGURED, _FOREIGN_HINT
        return (Meaning.MISCONFIGURED, _PLACE_HINT) if _REQUEST_CODE.search(code) else (Meaning.BAD_RECORD, "")
    if status in _STATUS:
        return _STATUS[status]
    return (Meaning.UNAVAILABLE, "") if status >= 500 else (Meaning.MISCONFIGURED, _FOREIGN_HINT)


def _code_of(body: bytes) -> tuple[str, bool]:
    """Return the code of an error, and whether the body is something that Azure does not write."""
    if not body.strip():
        return "", False
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", True
    error = found.get("error") if isinstance(found, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return (code, False) if isinstance(code, str) and _WORD.fullmatch(code) else ("", not isinstance(found, dict))
