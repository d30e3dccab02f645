"""What an answer of HEC means: Splunk's code table (0 to 27) and the plain HTTP errors around it, in one place.

HTTP status and code decide together; bodies may be HTML (413, 415, proxies) or cut, and no text of an answer is ever
passed on, because a proxy may quote the request in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any

import orjson

from connectors.http import parse_retry_after


class Meaning(Enum):
    STORED = auto()
    BAD_EVENT = auto()  # one event is refused; those before it are stored
    BAD_INDEX = auto()  # the same for its index, or the whole route is wrong
    BUSY = auto()
    UNAVAILABLE = auto()
    UNAUTHORIZED = auto()
    MISCONFIGURED = auto()
    TOO_LARGE = auto()


#: Codes whose number names an event; 7 counts from one, all others from zero (measured on Splunk 10.4 by two probes).
_EVENT_CODES = frozenset({5, 6, 12, 13, 15})
_BAD_INDEX = 7
_MEANING = {
    0: Meaning.STORED,
    **dict.fromkeys((1, 2, 3, 4, 21, 22), Meaning.UNAUTHORIZED),
    **dict.fromkeys(_EVENT_CODES, Meaning.BAD_EVENT),
    _BAD_INDEX: Meaning.BAD_INDEX,
    8: Meaning.UNAVAILABLE,
    **dict.fromkeys((9, 18, 19, 20, 26, 27), Meaning.BUSY),
    **dict.fromkeys((10, 11, 14, 16), Meaning.MISCONFIGURED),
    17: Meaning.UNAVAILABLE,  # "healthy" is no answer to events
    23: Meaning.UNAVAILABLE,
    **dict.fromkeys((24, 25), Meaning.STORED),
}
_TEXT = {
    0: "success",
    1: "token disabled",
    2: "token required",
    3: "invalid authorization",
    4: "invalid token",
    5: "no data",
    6: "invalid data format",
    7: "incorrect index",
    8: "internal server error",
    9: "server is busy",
    10: "data channel is missing",
    11: "invalid data channel",
    12: "event field is required",
    13: "event field cannot be blank",
    14: "acknowledgement is disabled",
    15: "error in handling indexed fields",
    16: "query string authorization is not enabled",
    17: "healthy",
    18: "unhealthy, queues are full",
    19: "unhealthy, acknowledgement service unavailable",
    20: "unhealthy, queues full and acknowledgement service unavailable",
    21: "invalid token",
    22: "token disabled",
    23: "server is shutting down",
    24: "queue near capacity",
    25: "acknowledgement channel near capacity",
    26: "queue at capacity",
    27: "acknowledgement channel at capacity",
}
HINTS = {
    1: "enable the HEC token in Splunk",
    4: "check the token in token_file; it is read again when the file changes",
    7: "add the index to the token's allowed indexes, or change index of this target",
    10: "the token has indexer acknowledgement (useACK) on: set ack: auto, or use a token without it",
    14: "switch indexer acknowledgement (useACK) on for the token in Splunk, or set ack: auto",
    16: "the token is sent in the header; a proxy seems to move it into the address",
}
#: HTTP status without a readable code.
_STATUS = {
    401: (Meaning.UNAUTHORIZED, "check token_file, and a proxy that asks for its own credentials"),
    403: (Meaning.UNAUTHORIZED, "check token_file, and a proxy that asks for its own credentials"),
    404: (Meaning.MISCONFIGURED, "url must be the collector's base address, usually port 8088"),
    405: (Meaning.MISCONFIGURED, "url must be the collector's base address, usually port 8088"),
    408: (Meaning.UNAVAILABLE, ""),
    413: (Meaning.TOO_LARGE, ""),
    415: (Meaning.MISCONFIGURED, "set gzip: false; the server or a proxy takes no compressed requests"),
    429: (Meaning.BUSY, ""),
    503: (Meaning.BUSY, ""),
}
_MISCONFIGURED_HINT = "the answer is not Splunk's; check url and any proxy on the way"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read. ``event`` is the zero-based number of the event it names; ``code`` is None without Splunk's JSON."""

    meaning: Meaning
    status: int
    code: int | None = None
    event: int | None = None
    hint: str = ""
    retry_after_seconds: float | None = None
    #: Names the request within its channel, where the token wants acknowledgement.
    ack_id: int | None = None

    @property
    def text(self) -> str:
        """What happened, in our words."""
        if self.code is None:
            return f"HTTP {self.status} without a HEC answer"
        return f"HTTP {self.status}, HEC code {self.code} ({_TEXT.get(self.code, 'unknown code')})"

    @property
    def name(self) -> str:
        """A short code for metrics and dead letters; bounded."""
        return f"hec_{self.code}" if self.code in _TEXT else f"http_{self.status}"

    @property
    def slow_down(self) -> bool:
        return self.code in {24, 25}


def read_answer(status: int, body: bytes, retry_after: str | None = None, *, now: datetime | None = None) -> Answer:
    """Return what an answer to a POST of events means. Never raises."""
    found = _object_of(body)
    code, number = _whole(found.get("code")), _whole(found.get("invalid-event-number"))
    wait = parse_retry_after(retry_after, now=now)
    if code is not None and (meaning := _MEANING.get(code)) is not None and _fits(meaning, status):
        event = number
        if meaning is Meaning.BAD_INDEX and number is not None:
            event = number - 1
        ack_id = _whole(found.get("ackId")) if meaning is Meaning.STORED else None
        return Answer(meaning, status, code, event, HINTS.get(code, ""), wait, ack_id)
    if status in _STATUS:
        meaning, hint = _STATUS[status]
    elif status >= 500:
        meaning, hint = Meaning.UNAVAILABLE, ""
    else:  # 200 without code 0 proves nothing: a login page of a proxy looks like that
        meaning, hint = Meaning.MISCONFIGURED, _MISCONFIGURED_HINT
    return Answer(meaning, status, code, number if status == 503 else None, hint, wait)


def _fits(meaning: Meaning, status: int) -> bool:
    """Tell whether status and code agree; where they do not, the status decides. Only a 200 can say stored."""
    if meaning is Meaning.STORED:
        return status == 200
    if meaning in {Meaning.BAD_EVENT, Meaning.BAD_INDEX}:
        return status == 400
    return status >= 400


def read_acks(status: int, body: bytes) -> dict[int, bool] | None:
    """Return what an answer to a poll says of each request; None when it says nothing, whatever its status: a proxy's page,
    a refusal or half an answer acknowledges no event.
    """
    acks = _object_of(body).get("acks") if status == 200 else None
    if not isinstance(acks, dict):
        return None
    return {int(key): value is True for key, value in acks.items() if key.isascii() and key.isdigit()}


def _object_of(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
