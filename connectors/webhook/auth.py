"""How a request proves who sent it: login header, OAuth 2.0, signature. Secrets are read for every request."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import urlencode, urlsplit

import orjson

from connectors.base import TargetMisconfigured, TargetThrottled, TargetUnauthorized, TargetUnavailable
from connectors.http import HttpSender, parse_retry_after
from connectors.tokens import Token, TokenSource
from connectors.webhook.settings import Auth, BasicAuth, BearerAuth, HeaderAuth, OAuth2Auth, Signature
from exporter.domain.clock import Clock
from exporter.domain.secrets import Secret, SecretError

#: When the token endpoint does not say how long a token lives (``expires_in`` is only recommended, RFC 6749 §5.1).
TOKEN_LIFE_SECONDS = 300.0


class Login:
    """Headers that log a request in."""

    def __init__(self, auth: Auth, http: HttpSender, clock: Clock) -> None:
        self._auth, self._http, self._clock = auth, http, clock
        self._tokens = TokenSource(self._fetch, clock)
        self._last = ""

    async def headers(self) -> dict[str, str]:
        """Raises TargetUnauthorized when a secret cannot be read or is refused, TargetUnavailable when the token endpoint is
        away.
        """
        auth = self._auth
        if isinstance(auth, BasicAuth):
            pair = f"{auth.username}:{_reveal(auth.password_file)}".encode()
            return {"Authorization": "Basic " + base64.b64encode(pair).decode("ascii")}
        if isinstance(auth, BearerAuth):
            return {"Authorization": f"Bearer {_of_header(auth.token_file)}"}
        if isinstance(auth, HeaderAuth):
            return {auth.name: _of_header(auth.value_file)}
        if isinstance(auth, OAuth2Auth):
            self._last = await self._tokens.token()
            return {"Authorization": f"Bearer {self._last}"}
        return {}

    def refused(self) -> None:
        """The login was refused: an OAuth 2.0 token may have been revoked early, so forget it."""
        self._tokens.drop(self._last)

    async def _fetch(self) -> Token:
        """Client credentials grant, RFC 6749 §4.4.2; the secret travels in the body (§2.3.1), which every server takes."""
        auth = self._auth
        assert isinstance(auth, OAuth2Auth)
        form = {
            "grant_type": "client_credentials",
            "client_id": auth.client_id,
            "client_secret": _reveal(auth.client_secret_file),
        }
        form |= {name: value for name, value in (("scope", auth.scope), ("audience", auth.audience)) if value}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        name = "the token endpoint " + (urlsplit(auth.token_url).hostname or "")
        got = await self._http.post(auth.token_url, urlencode(form).encode(), headers, name=name)
        text = f"{name} answered HTTP {got.status}"
        if got.status == 429:
            raise TargetThrottled(text, retry_after_seconds=parse_retry_after(got.headers.get("retry-after")))
        if got.status >= 500:
            raise TargetUnavailable(text, code="token_endpoint")
        if got.status in {400, 401, 403}:
            hint = "check client_id, client_secret_file, scope and audience under auth"
            raise TargetUnauthorized(text, hint=hint, code="token_refused")
        token = _token_of(got.text) if got.status == 200 else None
        if token is None:
            raise TargetMisconfigured(f"{text} and gave no token", hint="check auth.token_url", code="token_endpoint")
        return Token(token[0], self._clock.now_ns() / 1e9 + token[1])


def _token_of(body: bytes) -> tuple[str, float] | None:
    try:
        record = orjson.loads(body)
        token, life_seconds = record["access_token"], float(record.get("expires_in") or TOKEN_LIFE_SECONDS)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    fits = isinstance(token, str) and token.isascii() and token.isprintable() and token and life_seconds > 0
    return (token, life_seconds) if fits else None


def sign(signature: Signature, body: bytes, now_ns: int) -> dict[str, str]:
    """Return the headers of a signed request: time in seconds, and HMAC-SHA256 over ``<time>.<body>``, as the body is on the
    wire. Raises TargetUnauthorized when the secret cannot be read.
    """
    timestamp = str(now_ns // 1_000_000_000)
    key = _reveal(signature.secret_file).encode()
    digest = hmac.new(key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {signature.timestamp_header: timestamp, signature.header: f"sha256={digest}"}


def _reveal(secret: Secret) -> str:
    try:
        return secret.reveal()
    except SecretError as error:
        raise TargetUnauthorized(str(error), code="secret_unreadable") from None


def _of_header(secret: Secret) -> str:
    value = _reveal(secret)
    if not (value.isascii() and value.isprintable()):
        raise TargetUnauthorized(
            f"the secret in {secret.place} has characters that no header can carry", code="secret_unreadable"
        )
    return value
