"""HTTP towards one stream of a data collection rule: with which token, under which request id, and what the answer means."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from connectors.base import (
    TargetError,
    TargetMisconfigured,
    TargetThrottled,
    TargetUnauthorized,
    TargetUnavailable,
)
from connectors.http import HttpSender, OutcomeUnknown
from connectors.sentinel.answers import Answer, Meaning, read_answer
from connectors.sentinel.settings import SentinelSettings
from connectors.tokens import TokenSource

API_VERSION = "2023-01-01"
#: An empty array, gzipped as records are, is taken with 204 and stores nothing; it proves address, token, role and rule.
_PROBE = b"[]"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and the id under which the service's own log (``DCRLogErrors``) knows the request."""

    answer: Answer
    request_id: str


class SentinelClient:
    """Sends bodies; used by one connector in one event loop."""

    def __init__(
        self,
        settings: SentinelSettings,
        tokens: TokenSource,
        user_agent: str,
        *,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._settings, self._tokens, self._user_agent, self._new_id = settings, tokens, user_agent, new_id
        self._host = settings.endpoint.rstrip("/")
        self._url = (
            f"{self._host}/dataCollectionRules/{settings.dcr_id}/streams/{settings.stream}?api-version={API_VERSION}"
        )
        self._http: HttpSender | None = None

    async def open(self) -> None:
        """Build the connection pool and prove identity, role, rule and stream without writing. Raises TargetError."""
        await self.close()
        self._http = HttpSender(
            timeout_seconds=self._settings.timeout_seconds,
            url_setting="endpoint",
            headers={"User-Agent": self._user_agent, "Content-Type": "application/json"},
            ca_file=self._settings.ca_file,
        )
        reply = await self.send(_PROBE, gzipped=False)
        # A 400 about the records cannot be about these: there are none, so everything before them was in order.
        if reply.answer.meaning not in {Meaning.STORED, Meaning.BAD_RECORD}:
            raise error_of(reply)

    async def close(self) -> None:
        """Close all connections."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def send(self, body: bytes, *, gzipped: bool = True) -> Reply:
        """POST records; on 401 once more with a new token. Raises TargetError when there is no answer, TargetUnauthorized,
        and OutcomeUnknown when the records may be stored.
        """
        token = await self._tokens.token()
        reply = await self._post(body, token, gzipped=gzipped)
        if reply.answer.meaning is Meaning.UNAUTHENTICATED:
            self._tokens.drop(token)
            token = await self._tokens.token()
            reply = await self._post(body, token, gzipped=gzipped)
        if reply.answer.meaning is Meaning.UNAUTHENTICATED:
            self._tokens.drop(token)
        return reply

    async def _post(self, body: bytes, token: str, *, gzipped: bool) -> Reply:
        http = self._http
        if http is None:
            raise TargetUnavailable("the connector is not open")
        request_id = self._new_id()
        headers = {"Authorization": f"Bearer {token}", "x-ms-client-request-id": request_id}
        if gzipped:
            headers["Content-Encoding"] = "gzip"
        got = await http.post(self._url, body, headers, name=self._host, what=f" to request {request_id}")
        answer = read_answer(
            got.status,
            got.text,
            content_type=got.headers.get("content-type", ""),
            retry_after=got.headers.get("retry-after"),
        )
        return Reply(answer, request_id)


def error_of(reply: Reply) -> TargetError:
    """Return the error for an answer that stored nothing for sure, or whose outcome is unknown."""
    answer = reply.answer
    text = f"{answer.text} to request {reply.request_id}"
    wait = answer.retry_after_seconds
    if answer.meaning in {Meaning.UNAUTHENTICATED, Meaning.FORBIDDEN}:
        return TargetUnauthorized(text, hint=answer.hint, code=answer.name, retry_after_seconds=wait)
    if answer.meaning in {Meaning.THROTTLED, Meaning.BUSY}:
        return TargetThrottled(text, hint=answer.hint, code=answer.name, retry_after_seconds=wait)
    if answer.meaning in {Meaning.UNAVAILABLE, Meaning.TOO_SLOW}:
        return OutcomeUnknown(text, hint=answer.hint, code=answer.name, retry_after_seconds=wait)
    return TargetMisconfigured(text, hint=answer.hint, code=answer.name)
