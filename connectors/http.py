"""What connectors over HTTP have in common: the client, its TLS, and what it means when a request gets no answer.

What an answer means is each protocol's own business and stays with its connector.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import NamedTuple

import httpx

from connectors.base import TargetError, TargetMisconfigured, TargetUnavailable

CONNECT_SECONDS = 10.0
#: Idle connections are closed before load balancers do it (AWS and Azure: a minute or more).
KEEPALIVE_SECONDS = 30.0
#: Answers of the services are below 1 kB; of a proxy's page no more is read than this.
MAX_ANSWER_BYTES = 65_536
#: Code of the error for a port that nobody listens on: the peer's process is gone, and what it kept in memory with it.
REFUSED = "connection_refused"

#: Longest ``Retry-After`` that is believed: quotas of a DCR are those of a minute.
MAX_RETRY_AFTER_SECONDS = 300.0


class OutcomeUnknown(TargetUnavailable):
    """The events may be stored: sent, but not answered in a way that says so."""


class HttpAnswer(NamedTuple):
    """An answer, of which no more than :data:`MAX_ANSWER_BYTES` were read."""

    status: int
    headers: httpx.Headers
    text: bytes


class HttpSender:
    """One pool of connections with one time-out. ``url_setting`` is the key that a message about the address names.

    Raises TargetMisconfigured when the TLS files cannot be used; they are read anew by every instance, so that renewed
    certificates count.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        url_setting: str,
        headers: Mapping[str, str],
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
    ) -> None:
        self._timeout_seconds, self._url_setting = timeout_seconds, url_setting
        self._http = httpx.AsyncClient(
            verify=_tls(ca_file, cert_file, key_file),
            timeout=httpx.Timeout(timeout_seconds, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, keepalive_expiry=KEEPALIVE_SECONDS),
            trust_env=False,  # a netrc entry would replace the token, a proxy variable reroute the events
            # A jar would send every request to the machine that a balancer's first cookie names.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"Accept-Encoding": "identity", **headers},
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, name: str, what: str = "") -> HttpAnswer:
        """POST. ``name`` is the peer as messages show it (without path and query), ``what`` names the request in them.

        Raises TargetUnavailable and TargetMisconfigured when nothing can have been stored, else OutcomeUnknown.
        """
        return await self.request("POST", url, headers, body=body, name=name, what=what)

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        name: str,
        what: str = "",
    ) -> HttpAnswer:
        """As :meth:`post`, with any method."""
        try:
            async with (
                asyncio.timeout(self._timeout_seconds + CONNECT_SECONDS),
                self._http.stream(method, url, content=body, headers=dict(headers)) as response,
            ):
                text = await _read_some(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise self._not_connected(error, name) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise TargetMisconfigured(f"{name} is no usable address", hint=f"mend {self._url_setting}") from None
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            slow = isinstance(error, httpx.TimeoutException | TimeoutError)
            raise OutcomeUnknown(
                f"{name}: no answer{what} ({type(error).__name__})", code="timeout" if slow else "connection"
            ) from None
        return HttpAnswer(response.status_code, response.headers, text)

    def _not_connected(self, error: BaseException, name: str) -> TargetError:
        """Return what a failed connection means; a certificate that does not fit will not mend itself."""
        cause: BaseException | None = error
        refused = False
        while cause is not None:
            refused |= isinstance(cause, ConnectionRefusedError)
            if isinstance(cause, ssl.SSLCertVerificationError):
                return TargetMisconfigured(
                    f"{name}: its certificate is not trusted", hint="set ca_file to the CA that issued it", code="tls"
                )
            if isinstance(cause, ssl.SSLError):
                hint = f"check http/https in {self._url_setting}, and client certificates if it wants one"
                return TargetMisconfigured(f"{name}: no TLS connection", hint=hint, code="tls")
            cause = cause.__cause__ or cause.__context__
        if refused:
            return TargetUnavailable(f"{name}: nothing listens there", code=REFUSED)
        return TargetUnavailable(f"{name}: no connection ({type(error).__name__})", code="connection")


async def _read_some(response: httpx.Response) -> bytes:
    text = b""
    async for part in response.aiter_raw():
        text += part
        if len(text) > MAX_ANSWER_BYTES:
            break
    return text


def _tls(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if cert_file is not None:
            context.load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise TargetMisconfigured(
            f"the TLS files cannot be used ({type(error).__name__})", hint="check ca_file, cert_file and key_file"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # Python's own default, said aloud
    return context


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Return seconds of a ``Retry-After`` header, a number or an HTTP date (RFC 9110 §10.2.3), at most
    :data:`MAX_RETRY_AFTER_SECONDS`; None when absent or unreadable.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(MAX_RETRY_AFTER_SECONDS, float(value[:9]))
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    seconds = (at - (now or datetime.now(UTC))).total_seconds()
    return min(MAX_RETRY_AFTER_SECONDS, max(0.0, seconds))
