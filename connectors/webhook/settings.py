"""What can be configured of a webhook target."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from connectors.base import TargetSettings
from connectors.webhook.answers import Meaning
from exporter.domain.secrets import Secret

_URL = r"^https?://[^\s/?#@]+(/[^\s#]*)?(\?[^\s#]*)?$"
#: RFC 9110 §5.6.2 (token) and §5.5 (field value without control characters).
_HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
_HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$", max_length=1000)]
_Status = Annotated[str, StringConstraints(pattern=r"^([2-5][0-9]{2}|[2-5]xx)$")]
#: Headers that the connector or HTTP itself sets.
OWN_HEADERS = frozenset(
    {
        "authorization", "connection", "content-encoding", "content-length", "content-type", "cookie", "expect", "host",
        "idempotency-key", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)


class NoAuth(_Part):
    """No login; the address or the signature is enough."""

    type: Literal["none"] = "none"


class BasicAuth(_Part):
    """User name and password (RFC 7617)."""

    type: Literal["basic"]
    username: str = Field(min_length=1, pattern=r"^[^:\x00-\x1f]+$", description="User name.")
    password_file: Secret = Field(description="File with the password; read again when it changes.")


class BearerAuth(_Part):
    """A token in the Authorization header (RFC 6750)."""

    type: Literal["bearer"]
    token_file: Secret = Field(description="File with the token; read again when it changes.")


class HeaderAuth(_Part):
    """A key in a header of its own, as many services want it."""

    type: Literal["header"]
    name: _HeaderName = Field(description="Name of the header, such as X-Api-Key.")
    value_file: Secret = Field(description="File with its value; read again when it changes.")


class OAuth2Auth(_Part):
    """OAuth 2.0 client credentials (RFC 6749 §4.4)."""

    type: Literal["oauth2"]
    token_url: str = Field(pattern=_URL, description="Address of the token endpoint.")
    client_id: str = Field(min_length=1, description="Id of the client.")
    client_secret_file: Secret = Field(description="File with the client's secret; read again when it changes.")
    scope: str = Field(default="", description="Scopes to ask for, separated by spaces.")
    audience: str = Field(default="", description="Audience to ask for, where the server wants one.")


Auth = Annotated[NoAuth | BasicAuth | BearerAuth | HeaderAuth | OAuth2Auth, Field(discriminator="type")]


class Signature(_Part):
    """HMAC-SHA256 of time and body, so that the receiver knows who sent it, and that it is not an old one sent again."""

    secret_file: Secret = Field(
        description="File with the secret shared with the receiver; read again when it changes."
    )
    header: _HeaderName = Field(default="X-Loki-Siem-Signature", description="Header of the signature (sha256=HEX).")
    timestamp_header: _HeaderName = Field(
        default="X-Loki-Siem-Timestamp", description="Header of the time of sending, seconds since 1970."
    )


class WebhookSettings(TargetSettings):
    """One address that takes events as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    url: str = Field(
        pattern=_URL,
        examples=["https://receiver.example.com/ingest"],
        description="Address that takes the events; https unless it is on this machine.",
    )
    method: Literal["POST", "PUT"] = Field(default="POST", description="Method of the request.")
    body: Literal["array", "ndjson", "single"] = Field(
        default="array",
        description="array: a JSON array of events. ndjson: one event a line. single: one event a request, which is slow.",
    )
    headers: Mapping[_HeaderName, _HeaderValue] = Field(
        default_factory=dict, max_length=30, description="Further headers; secrets belong into auth."
    )
    auth: Auth = Field(default=NoAuth(), description="How to log in: type none, basic, bearer, header or oauth2.")
    signature: Signature | None = Field(default=None, description="Sign every request.")
    statuses: Mapping[
        _Status,
        Literal["stored", "bad_event", "too_large", "unauthorized", "throttled", "unavailable", "misconfigured"],
    ] = Field(
        default_factory=dict,
        max_length=50,
        description="What a status (409) or a class (4xx) means at this receiver, where it is not the usual: stored, bad_event "
        "(found by halving), too_large, unauthorized, throttled, unavailable or misconfigured.",
    )
    gzip: bool = Field(default=False, description="Compress requests (Content-Encoding: gzip); many receivers cannot.")
    max_request_bytes: int = Field(
        default=1_000_000, ge=1_000, le=100_000_000, description="Most bytes of a request before compression."
    )
    max_request_events: int = Field(default=1_000, ge=1, le=50_000, description="Most events of a request.")
    probe: Literal["head", "none"] = Field(
        default="head",
        description="How the start and check --connect see that the address answers: a HEAD request, or not at all.",
    )
    ca_file: Path | None = Field(default=None, description="PEM bundle that the certificate is checked against.")
    cert_file: Path | None = Field(default=None, description="Client certificate (mTLS).")
    key_file: Path | None = Field(default=None, description="Key of the client certificate.")
    timeout_seconds: float = Field(
        default=60.0,
        ge=1,
        le=600,
        description="Wait for an answer. After a time-out nobody knows whether the events are stored, so they are sent again.",
    )

    @field_validator("headers")
    @classmethod
    def _no_header_of_ours(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        if own := sorted(name for name in headers if name.lower() in OWN_HEADERS):
            raise ValueError(f"{', '.join(own)} is set by the exporter; for a login use auth")
        return headers

    @field_validator("statuses")
    @classmethod
    def _no_error_is_stored(cls, statuses: Mapping[str, str]) -> Mapping[str, str]:
        risky = sorted(s for s, meaning in statuses.items() if meaning == Meaning.STORED and (s[0] == "5" or "x" in s))
        if [s for s in risky if s != "2xx"]:
            raise ValueError(
                f"{risky[0]} cannot mean stored, or an outage would lose events; name single statuses below 500"
            )
        return statuses

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        """Neither events nor credentials cross a network in the clear."""
        for name, url in (("url", self.url), ("auth.token_url", getattr(self.auth, "token_url", self.url))):
            if urlsplit(url).scheme != "https" and not _is_loopback(urlsplit(url).hostname or ""):
                raise ValueError(f"{name} must start with https://")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
