"""Microsoft Entra's token endpoint as far as an application needs it, and the managed-identity endpoint of a machine.

Client secrets, certificate assertions (RS256 or PS256, signed by a registered certificate, for this very endpoint) and federated
assertions (issuer, subject and audience as registered) are checked as Entra documents it, and answered with its codes. Tokens
are opaque; whoever issued them knows audience and end of each.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import jwt
import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from exporter.sandbox.http import Request, Response

AUDIENCE_OF_FEDERATION = "api://AzureADTokenExchange"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#: Audiences that this tenant has an application for: the right one, and one that a mistaken cloud would ask for.
KNOWN_AUDIENCES = frozenset({"https://monitor.azure.com", "https://monitor.azure.us", "https://management.azure.com"})


class TokenRefused(Exception):
    """Entra refuses: OAuth error word and AADSTS number."""

    def __init__(self, error: str, number: int, status: int = 401) -> None:
        super().__init__(error)
        self.error, self.number, self.status = error, number, status


@dataclass(slots=True)
class Federation:
    """A federated credential: tokens of this issuer and subject, signed with this key, stand for the application."""

    issuer: str
    subject: str
    public_key: Any


@dataclass(slots=True)
class Issued:
    audience: str
    client_id: str
    ends: float


@dataclass(slots=True)
class Entra:
    """One tenant. ``client_id`` is its application (and the user-assigned identity of the machine)."""

    tenant_id: str = "11111111-1111-1111-1111-111111111111"
    client_id: str = "22222222-2222-2222-2222-222222222222"
    secrets: set[str] = field(default_factory=set)
    expired_secrets: set[str] = field(default_factory=set)
    certificates: list[x509.Certificate] = field(default_factory=list)
    federations: list[Federation] = field(default_factory=list)
    #: Header value that the managed-identity endpoint asks for; None: this machine has none.
    identity_header: str | None = None
    lifetime_seconds: float = 3600.0
    #: HTTP status of the next token requests.
    faults: deque[int] = field(default_factory=deque)
    issued: dict[str, Issued] = field(default_factory=dict)
    requests: int = 0
    now: Callable[[], float] = time.time

    def handle(self, request: Request, base_url: str) -> Response | None:
        """Answer a request that is Entra's, or return None."""
        if request.path.endswith("/.well-known/openid-configuration"):
            return _json(200, self._configuration(base_url))
        if request.path == f"/{self.tenant_id}/oauth2/v2.0/token" and request.method == "POST":
            return self._token(request, f"{base_url}{request.path}")
        if request.path.endswith("/oauth2/v2.0/token"):
            return _refusal(TokenRefused("invalid_request", 90002, 400))
        return self._managed(request) if request.path == "/msi/token" else None

    def token_of(self, authorization: str) -> Issued | None:
        """Return what is known of a bearer token; None when it is not ours or has ended."""
        scheme, _, token = authorization.partition(" ")
        issued = self.issued.get(token) if scheme.lower() == "bearer" else None
        return issued if issued is not None and issued.ends > self.now() else None

    def revoke_all(self) -> None:
        """Let every token out there be refused from now on."""
        self.issued.clear()

    def issue(self, audience: str) -> dict[str, Any]:
        """Return a fresh token as the endpoint answers it."""
        token = secrets.token_urlsafe(24)
        self.issued[token] = Issued(audience, self.client_id, self.now() + self.lifetime_seconds)
        return {"token_type": "Bearer", "expires_in": int(self.lifetime_seconds), "access_token": token}

    def _configuration(self, base_url: str) -> dict[str, Any]:
        tenant = f"{base_url}/{self.tenant_id}"
        return {
            "issuer": f"{tenant}/v2.0",
            "authorization_endpoint": f"{tenant}/oauth2/v2.0/authorize",
            "token_endpoint": f"{tenant}/oauth2/v2.0/token",
        }

    def _token(self, request: Request, endpoint: str) -> Response:
        self.requests += 1
        if self.faults:
            return Response(self.faults.popleft(), b"<h1>Service Unavailable</h1>", {"Content-Type": "text/html"})
        form = {key: values[0] for key, values in parse_qs(request.body.decode("utf-8", "replace")).items()}
        try:
            if form.get("grant_type") != "client_credentials":
                raise TokenRefused("unsupported_grant_type", 70003, 400)
            if form.get("client_id") != self.client_id:
                raise TokenRefused("unauthorized_client", 700016, 400)
            audience = _audience(form.get("scope", ""))
            self._authenticate(form, endpoint)
        except TokenRefused as refused:
            return _refusal(refused)
        return _json(200, self.issue(audience))

    def _authenticate(self, form: dict[str, str], endpoint: str) -> None:
        if secret := form.get("client_secret"):
            if secret in self.expired_secrets:
                raise TokenRefused("invalid_client", 7000222)
            if secret not in self.secrets:
                raise TokenRefused("invalid_client", 7000215)
        elif form.get("client_assertion_type") == _ASSERTION and (assertion := form.get("client_assertion")):
            self._check_assertion(assertion, endpoint)
        else:
            raise TokenRefused("invalid_client", 7000218)

    def _check_assertion(self, assertion: str, endpoint: str) -> None:
        try:
            claims = jwt.decode(assertion, options={"verify_signature": False})
            header = jwt.get_unverified_header(assertion)
        except jwt.InvalidTokenError:
            raise TokenRefused("invalid_request", 50027, 400) from None
        if claims.get("iss") == self.client_id:
            self._check_certificate(assertion, header, endpoint)
        else:
            self._check_federation(assertion, claims)

    def _check_certificate(self, assertion: str, header: dict[str, Any], endpoint: str) -> None:
        """The header names the certificate by thumbprint, SHA-256 or, older, SHA-1."""
        for certificate in self.certificates:
            # Base64url, with or without padding.
            named = str(header.get("x5t#S256")).rstrip("=") == _thumbprint(certificate, hashes.SHA256())
            if named or str(header.get("x5t")).rstrip("=") == _thumbprint(certificate, hashes.SHA1()):  # noqa: S303 - Entra's
                try:
                    jwt.decode(
                        assertion,
                        certificate.public_key(),  # type: ignore[arg-type]  # only RSA keys are registered
                        algorithms=["RS256", "PS256"],
                        audience=endpoint,
                        options={"require": ["exp", "iss", "sub", "jti"]},
                    )
                except jwt.ExpiredSignatureError:
                    raise TokenRefused("invalid_client", 700024) from None
                except jwt.InvalidTokenError:
                    raise TokenRefused("invalid_client", 700027) from None
                return
        raise TokenRefused("invalid_client", 700027)

    def _check_federation(self, assertion: str, claims: dict[str, Any]) -> None:
        ours = [f for f in self.federations if f.issuer == claims.get("iss")]
        if not ours:
            raise TokenRefused("invalid_client", 700211)
        ours = [f for f in ours if f.subject == claims.get("sub")]
        if not ours:
            raise TokenRefused("invalid_client", 700213)
        try:
            jwt.decode(assertion, ours[0].public_key, algorithms=["RS256"], audience=AUDIENCE_OF_FEDERATION)
        except jwt.ExpiredSignatureError:
            raise TokenRefused("invalid_client", 700024) from None
        except jwt.InvalidTokenError:
            raise TokenRefused("invalid_client", 700212) from None

    def _managed(self, request: Request) -> Response:
        """The endpoint that App Service gives its applications (api-version 2019-08-01)."""
        self.requests += 1
        if self.identity_header is None or request.headers.get("x-identity-header") != self.identity_header:
            return _json(401, {"statusCode": 401, "message": "no identity"})
        if request.first("client_id") not in {None, self.client_id}:
            return _json(400, {"statusCode": 400, "message": "no such identity"})
        resource = (request.first("resource") or "").rstrip("/")
        if resource not in KNOWN_AUDIENCES:
            return _json(400, {"statusCode": 400, "message": "unknown resource"})
        found = self.issue(resource)
        return _json(200, {**found, "expires_on": str(int(self.now() + self.lifetime_seconds)), "resource": resource})


def _audience(scope: str) -> str:
    audience, _, rest = scope.partition("/.default")
    if rest or not scope.endswith("/.default"):
        raise TokenRefused("invalid_scope", 70011, 400)
    if audience not in KNOWN_AUDIENCES:
        raise TokenRefused("invalid_resource", 500011, 400)
    return audience


def _thumbprint(certificate: x509.Certificate, algorithm: hashes.HashAlgorithm) -> str:
    return base64.urlsafe_b64encode(certificate.fingerprint(algorithm)).decode().rstrip("=")


def _refusal(refused: TokenRefused) -> Response:
    body = {
        "error": refused.error,
        "error_description": f"AADSTS{refused.number}: refused by the stand-in.",
        "error_codes": [refused.number],
    }
    return _json(refused.status, body)


def _json(status: int, value: Any) -> Response:
    return Response(status, orjson.dumps(value), {"Content-Type": "application/json; charset=utf-8"})
