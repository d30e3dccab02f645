"""Credentials towards Loki: none, basic, bearer, OAuth 2.0 client credentials; TLS with a private CA and mTLS.

Secrets are revealed for every request, so a rotated file takes effect without a restart.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from pathlib import Path

import httpx
import orjson

from exporter.domain.clock import Clock
from exporter.domain.secrets import SecretError
from exporter.errors import BadAnswer, RetryLater, TenantStopped
from exporter.loki.errors import error_of_transport
from exporter.settings.model import BasicAuth, BearerAuth, ClientTls, LokiSettings, OAuth2ClientAuth

#: A token is fetched again this long before it expires, or after half its life if that is less: clocks differ.
_TOKEN_EARLY_SECONDS = 60.0
#: When the token endpoint does not say how long a token lives (``expires_in`` is only recommended, RFC 6749 §5.1).
_TOKEN_LIFE_SECONDS = 300.0
_TOKEN_ANSWER_BYTES = 65_536


class Authorizer:
    """Gives the ``Authorization`` header of the next request. One per client."""

    def __init__(self, settings: LokiSettings, http: httpx.AsyncClient, clock: Clock) -> None:
        self._auth, self._http, self._clock = settings.auth, http, clock
        self._token = ""
        self._refresh_at = float("-inf")
        self._lock = asyncio.Lock()

    async def headers(self) -> dict[str, str]:
        """Raises TenantStopped when a secret cannot be read or is refused, RetryLater when the token endpoint is out of
        reach.
        """
        auth = self._auth
        try:
            if isinstance(auth, BasicAuth):
                pair = f"{auth.username}:{auth.password_file.reveal()}".encode()
                return {"Authorization": "Basic " + base64.b64encode(pair).decode("ascii")}
            if isinstance(auth, BearerAuth):
                return {"Authorization": f"Bearer {auth.token_file.reveal()}"}
            if isinstance(auth, OAuth2ClientAuth):
                return {"Authorization": f"Bearer {await self._oauth2_token(auth)}"}
        except SecretError as error:
            raise TenantStopped("a secret for Loki cannot be read", hint=str(error)) from None
        return {}

    def refused(self) -> bool:
        """Note a 401. Tells whether a second try with fresh credentials makes sense (a token that was revoked early)."""
        fresh_possible = isinstance(self._auth, OAuth2ClientAuth) and bool(self._token)
        self._token, self._refresh_at = "", float("-inf")
        return fresh_possible

    async def _oauth2_token(self, auth: OAuth2ClientAuth) -> str:
        async with self._lock:
            if not self._token or self._clock.monotonic() >= self._refresh_at:
                asked = self._clock.monotonic()
                self._token, life_seconds = await self._fetch_token(auth)
                self._refresh_at = asked + max(life_seconds - _TOKEN_EARLY_SECONDS, life_seconds / 2)
            return self._token

    async def _fetch_token(self, auth: OAuth2ClientAuth) -> tuple[str, float]:
        """Client credentials grant, RFC 6749 §4.4.2; the secret travels in the body (§2.3.1), which every server takes."""
        form = {
            "grant_type": "client_credentials",
            "client_id": auth.client_id,
            "client_secret": auth.client_secret_file.reveal(),
        }
        form |= {name: value for name, value in (("scope", auth.scope), ("audience", auth.audience)) if value}
        try:
            answer = await self._http.post(auth.token_url, data=form)
        except httpx.TransportError as error:
            raise RetryLater(f"the OAuth2 token endpoint is out of reach ({type(error).__name__})") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise error_of_transport(error) from None
        if answer.status_code >= 500 or answer.status_code == 429:
            raise RetryLater(f"the OAuth2 token endpoint answered {answer.status_code}")
        if answer.status_code != 200:
            raise TenantStopped(
                f"the OAuth2 token endpoint answered {answer.status_code}",
                hint="check client_id, client_secret_file, scope and audience under loki.auth",
            )
        return _token_of(answer.content[:_TOKEN_ANSWER_BYTES])


def _token_of(body: bytes) -> tuple[str, float]:
    try:
        record = orjson.loads(body)
        token = record["access_token"]
        life_seconds = float(record.get("expires_in") or _TOKEN_LIFE_SECONDS)
    except (ValueError, KeyError, TypeError, AttributeError):
        token = None
        life_seconds = 0.0
    if not isinstance(token, str) or not token.isprintable() or not token:
        raise BadAnswer("the OAuth2 token endpoint answered without a token", hint="check loki.auth.token_url")
    return token, life_seconds


class TlsContext:
    """An SSL context whose CA and client certificate follow their files: new connections use the new ones."""

    def __init__(self, tls: ClientTls) -> None:
        """Raises TenantStopped when a file cannot be used."""
        self._tls = tls
        self._stamp: tuple[int, ...] = ()
        self.context = ssl.create_default_context(cafile=None if tls.ca_file is None else _existing(tls.ca_file))
        self.refresh()

    def refresh(self) -> None:
        """Load the files again when one changed. Called before requests; costs one stat a file."""
        files = [f for f in (self._tls.ca_file, self._tls.cert_file, self._tls.key_file) if f is not None]
        try:
            stamp = tuple(f.stat().st_mtime_ns for f in files)
            if stamp == self._stamp:
                return
            if self._tls.ca_file is not None:
                self.context.load_verify_locations(cafile=self._tls.ca_file)
            if self._tls.cert_file is not None:
                self.context.load_cert_chain(self._tls.cert_file, self._tls.key_file)
        except (OSError, ssl.SSLError) as error:
            raise TenantStopped(
                f"the files under loki.tls cannot be used ({type(error).__name__})",
                hint="check ca_file, cert_file and key_file: PEM, readable, and key and certificate belong together",
            ) from None
        self._stamp = stamp


def _existing(path: Path) -> str:
    if not path.is_file():
        raise TenantStopped(f"loki.tls.ca_file {path} is missing", hint="create it or correct the path")
    return str(path)
