"""HTTP towards one or several HEC endpoints: which one is asked, with which token, and what its answer means."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from isal import igzip

from connectors.base import TargetError, TargetMisconfigured, TargetThrottled, TargetUnauthorized, TargetUnavailable
from connectors.http import HttpSender, OutcomeUnknown
from connectors.splunk_hec.answers import Answer, Meaning, read_answer
from connectors.splunk_hec.settings import SplunkHecSettings
from exporter.domain.secrets import SecretError

PATH = "/services/collector/event"
#: isal level 1 compresses log events as well as zlib's level 1 and three times as fast; higher levels cost more than they save.
GZIP_LEVEL = 1
#: An endpoint that refused a connection or is busy is left alone this long while others are up.
COOL_DOWN_SECONDS = 15.0


@dataclass(slots=True)
class Endpoint:
    """One address, the requests under way to it, and until when it is left alone."""

    url: str
    under_way: int = 0
    cool_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whose it was, and what the request weighed on the wire."""

    answer: Answer
    endpoint: str
    wire_bytes: int


class HecClient:
    """Sends bodies; used by one connector in one event loop."""

    def __init__(
        self, settings: SplunkHecSettings, user_agent: str, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._user_agent, self._monotonic = settings, user_agent, monotonic
        self._endpoints = [Endpoint(url.rstrip("/")) for url in settings.endpoints]
        self._http: HttpSender | None = None

    async def open(self) -> None:
        """Build the connection pool and prove the token: an empty body gets code 5 (no data) from a token that is good, and
        writes nothing. Raises TargetError when no endpoint takes it.
        """
        await self.close()
        settings = self._settings
        self._http = HttpSender(
            timeout_seconds=settings.timeout_seconds,
            url_setting="url",
            headers={"User-Agent": self._user_agent},
            ca_file=settings.ca_file,
            cert_file=settings.cert_file,
            key_file=settings.key_file,
        )
        failures: list[TargetError] = []
        for endpoint in self._endpoints:
            try:
                answer = (await self._with_token(endpoint, b"", {})).answer
            except TargetError as error:
                self._cool(endpoint)
                failures.append(error)
                continue
            if answer.code not in {0, 5}:
                failures.append(error_of(answer))
        # One endpoint that is away is no reason to wait; a token or an address that is wrong is, wherever.
        for failure in failures:
            if isinstance(failure, TargetUnauthorized | TargetMisconfigured) or len(failures) == len(self._endpoints):
                raise failure

    async def close(self) -> None:
        """Close all connections."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def send(self, body: bytes) -> Reply:
        """POST events; try another endpoint when one surely stored nothing. Raises TargetError when there is no answer,
        TargetUnauthorized, and OutcomeUnknown when the events may be stored.
        """
        headers = {"Content-Type": "application/json"}
        if self._settings.gzip:
            # 0.5 ms per 250 kB: not worth a thread.
            body = igzip.compress(body, compresslevel=GZIP_LEVEL)
            headers["Content-Encoding"] = "gzip"
        tried: list[Endpoint] = []
        while True:
            endpoint = self._pick(tried)
            tried.append(endpoint)
            more = len(tried) < len(self._endpoints)
            try:
                reply = await self._with_token(endpoint, body, headers)
            except OutcomeUnknown:
                self._cool(endpoint)
                raise
            except TargetUnavailable:
                self._cool(endpoint)
                if not more:
                    raise
            else:
                if not _elsewhere(reply.answer):
                    return reply
                self._cool(endpoint)
                if not more:
                    return reply

    def _pick(self, tried: list[Endpoint]) -> Endpoint:
        """Return the least busy endpoint that is not cooling down, or the one that cools down first."""
        now = self._monotonic()
        candidates = [e for e in self._endpoints if e not in tried]
        return min(candidates, key=lambda e: (max(0.0, e.cool_until - now), e.under_way))

    def _cool(self, endpoint: Endpoint) -> None:
        endpoint.cool_until = self._monotonic() + COOL_DOWN_SECONDS

    async def _with_token(self, endpoint: Endpoint, body: bytes, headers: dict[str, str]) -> Reply:
        """POST; on 401 and 403 read the token again, and try once more if it was replaced meanwhile."""
        token = self._token()
        reply = await self._post(endpoint, body, headers, token)
        if reply.answer.meaning is Meaning.UNAUTHORIZED and (fresh := self._token()) != token:
            reply = await self._post(endpoint, body, headers, fresh)
        if reply.answer.meaning is Meaning.UNAUTHORIZED:
            raise error_of(reply.answer)
        return reply

    def _token(self) -> str:
        try:
            token = self._settings.token_file.reveal()
        except SecretError as error:
            raise TargetUnauthorized(str(error), code="token_unreadable") from None
        if not (token.isascii() and token.isprintable()):
            raise TargetUnauthorized(
                f"the token in {self._settings.token_file.place} has characters that no HEC token has",
                code="token_unreadable",
            )
        return token

    async def _post(self, endpoint: Endpoint, body: bytes, headers: dict[str, str], token: str) -> Reply:
        http = self._http
        if http is None:
            raise TargetUnavailable("the connector is not open")
        endpoint.under_way += 1
        try:
            got = await http.post(
                endpoint.url + PATH, body, {**headers, "Authorization": f"Splunk {token}"}, name=endpoint.url
            )
        finally:
            endpoint.under_way -= 1
        answer = read_answer(got.status, got.text, got.headers.get("retry-after"))
        return Reply(answer, endpoint.url, len(body))


def _elsewhere(answer: Answer) -> bool:
    """Tell whether another endpoint may take the request: this one is busy or going down and named no event, so by its
    own word it stored nothing.
    """
    busy = answer.meaning is Meaning.BUSY and answer.status == 503 and answer.code is not None
    return (busy and not answer.event) or answer.code == 23


def error_of(answer: Answer) -> TargetError:
    """Return the error for an answer that stored nothing, or whose outcome is unknown (OutcomeUnknown)."""
    text, hint, wait = answer.text, answer.hint, answer.retry_after_seconds
    if answer.meaning is Meaning.UNAUTHORIZED:
        return TargetUnauthorized(text, hint=hint, code=answer.name)
    if answer.meaning is Meaning.BUSY:
        return TargetThrottled(text, hint=hint, code=answer.name, retry_after_seconds=wait)
    if answer.meaning is Meaning.UNAVAILABLE:
        return OutcomeUnknown(text, hint=hint, code=answer.name, retry_after_seconds=wait)
    return TargetMisconfigured(text, hint=hint, code=answer.name)


def outcome_unknown(answer: Answer, events: int) -> bool:
    """Tell whether a request of so many events may be stored in spite of the answer: not when Splunk itself says that it is
    busy and where it stopped.
    """
    if answer.meaning is Meaning.STORED:
        return False
    if answer.meaning is Meaning.BUSY:
        foreign = answer.code is None and answer.status != 429
        return foreign or (answer.event is not None and not 0 <= answer.event < events)
    return answer.meaning is Meaning.UNAVAILABLE or answer.status == 200
