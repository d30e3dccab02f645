"""HTTP towards one stream of a data collection rule: with which token, under which request id, and what the answer means."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from connectors.base import (
    TargetError,
    TargetMisconfigured,
    TargetThrottled,
    TargetUnauthorized,
    TargetUnavailable,
)
from connectors.sentinel.answers import Answer, Meaning, read_answer
from connectors.sentinel.identity import TokenSource
from connectors.sentinel.settings import SentinelSettings

API_VERSION = "2023-01-01"
CONNECT_SECONDS = 10.0
#: Answers of the service are below 1 kB; of a proxy's page no more is read than this.
MAX_ANSWER_BYTES = 65_536
#: An empty array, gzipped as records are, is taken with 204 and stores nothing; it proves address, token, role and rule.
_PROBE = b"[]"


class OutcomeUnknown(TargetUnavailable):
    """The records may be stored: sent, but not answered in a way that says so."""


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
        self._http: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Build the connection pool and prove identity, role, rule and stream without writing. Raises TargetError."""
        await self.close()
        self._http = httpx.AsyncClient(
            verify=_tls(self._settings),
            timeout=httpx.Timeout(self._settings.timeout_seconds, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, keepalive_expiry=60.0),
            trust_env=False,  # a netrc entry would replace the token, a proxy variable reroute the events
            headers={
                "User-Agent": self._user_agent,
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
            },
        )
        reply = await self.send(_PROBE, gzipped=False)
        # A 400 about the records cannot be about these: there are none, so everything before them was in order.
        if reply.answer.meaning not in {Meaning.STORED, Meaning.BAD_RECORD}:
            raise error_of(reply)

    async def close(self) -> None:
        """Close all connections."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

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
        try:
            async with (
                asyncio.timeout(self._settings.timeout_seconds + CONNECT_SECONDS),
                http.stream("POST", self._url, content=body, headers=headers) as response,
            ):
                text = await _read_some(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _not_connected(error, self._host) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise TargetMisconfigured(f"{self._host} is no usable address", hint="mend endpoint") from None
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            slow = isinstance(error, httpx.TimeoutException | TimeoutError)
            raise OutcomeUnknown(
                f"{self._host}: no answer to request {request_id} ({type(error).__name__})",
                code="timeout" if slow else "connection",
            ) from None
        answer = read_answer(
            response.status_code,
            text,
            content_type=response.headers.get("content-type", ""),
            retry_after=response.headers.get("retry-after"),
        )
        return Reply(answer, request_id)


async def _read_some(response: httpx.Response) -> bytes:
    text = b""
    async for part in response.aiter_raw():
        text += part
        if len(text) > MAX_ANSWER_BYTES:
            break
    return text


def _tls(settings: SentinelSettings) -> ssl.SSLContext:
    """Return the TLS context; read anew at every opening, so that a renewed bundle counts."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise TargetMisconfigured(f"ca_file cannot be used ({type(error).__name__})", hint="check ca_file") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # enforced by Azure since March 2026
    return context


def _not_connected(error: BaseException, host: str) -> TargetError:
    """Return what a failed connection means; a certificate that does not fit will not mend itself."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TargetMisconfigured(
                f"{host}: its certificate is not trusted", hint="set ca_file to the CA that issued it", code="tls"
            )
        if isinstance(cause, ssl.SSLError):
            return TargetMisconfigured(f"{host}: no TLS connection", hint="check endpoint", code="tls")
        cause = cause.__cause__ or cause.__context__
    return TargetUnavailable(f"{host}: no connection ({type(error).__name__})", code="connection")


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
