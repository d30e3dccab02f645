"""Tokens of Microsoft Entra, by azure-identity.

azure-identity's own cache is not used: a token that the service refuses must be forgotten, and secrets, certificates and
projected tokens must be read anew when they were rotated. So each token comes from a credential made for it, in a thread,
and :class:`connectors.tokens.TokenSource` keeps it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azure.core.exceptions import AzureError, ServiceRequestError, ServiceResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import (
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    CredentialUnavailableError,
    ManagedIdentityCredential,
)

from connectors.azure.settings import EntraSettings
from connectors.base import TargetError, TargetMisconfigured, TargetUnauthorized, TargetUnavailable
from connectors.tokens import Token
from exporter.domain.secrets import Secret, SecretError

#: Login address by cloud (Azure, national clouds).
AUTHORITIES: Mapping[str, str] = {
    "public": "https://login.microsoftonline.com",
    "us_government": "https://login.microsoftonline.us",
    "china": "https://login.chinacloudapi.cn",
}
CONNECT_SECONDS, READ_SECONDS = 10.0, 20.0
_ENTRA_CODE = re.compile(r"AADSTS\d{3,9}")
#: What the codes of Entra mean for whoever configured this (Microsoft Entra, authentication error codes).
_HINTS = {
    "AADSTS7000215": "the client secret is wrong; use its value, not its id",
    "AADSTS7000222": "the client secret has expired; make a new one and replace client_secret_file",
    "AADSTS700016": "client_id is not an application of this tenant",
    "AADSTS700027": "the certificate is not registered with the application, or has expired",
    "AADSTS700024": "the projected token has expired; check that its file is renewed",
    "AADSTS700211": "no federated credential of the application has this issuer",
    "AADSTS700213": "no federated credential of the application has this subject (namespace and service account)",
    "AADSTS70021": "no federated credential of the application fits the projected token",
    "AADSTS90002": "tenant_id is not known in this cloud",
    "AADSTS900023": "tenant_id is not known in this cloud",
    "AADSTS500011": "the audience is not known in this tenant; check cloud",
}


#: Entra's own words for "try again" (transient error, temporarily unavailable, too many requests).
_TRANSIENT = frozenset({"AADSTS90033", "AADSTS90006", "AADSTS90055"})


class _Transport(RequestsTransport):  # type: ignore[misc]  # azure-core loads it lazily, untyped
    """Remembers the status of the last answer: the errors of azure-identity do not tell an outage from a refusal."""

    status = 0

    def send(self, request: Any, **kwargs: Any) -> Any:
        response = super().send(request, **kwargs)
        self.status = response.status_code
        return response


def fetch_token(settings: EntraSettings, scope: str) -> Token:
    """Ask Entra (or the machine's managed identity) for a token. Blocks. Raises TargetError, never with text of an answer."""
    authority = AUTHORITIES[settings.cloud]
    transport = _Transport(
        connection_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        connection_verify=str(settings.ca_file) if settings.ca_file is not None else True,
        use_env_settings=False,  # as the data path: a proxy variable must not reroute credentials
    )
    try:
        with transport:
            credential = _credential(settings, (settings.authority or authority).rstrip("/"), transport)
            found = credential.get_token(scope)
    except SecretError as error:
        raise TargetUnauthorized(str(error), code="credential_unreadable") from None
    except AzureError as error:
        raise _refused(error, transport.status) from None
    except (OSError, ValueError) as error:
        # OSError: a file; ValueError: a certificate or tenant that azure-identity finds malformed.
        raise TargetUnauthorized(
            f"the credentials of auth {settings.auth} cannot be used ({type(error).__name__})",
            hint="check their files and their rights, and that the certificate has its private key",
            code="credential_unreadable",
        ) from None
    return Token(found.token, float(found.expires_on))


_Credential = ClientSecretCredential | CertificateCredential | ClientAssertionCredential | ManagedIdentityCredential


def _credential(settings: EntraSettings, authority: str, transport: RequestsTransport) -> _Credential:
    common = {
        "transport": transport,
        "retry_total": 0,  # the engine knows better when to try again
    }
    if settings.auth == "managed_identity":
        return ManagedIdentityCredential(client_id=settings.client_id, **common)
    # Asking login.microsoftonline.com about an authority that was configured is one more way to fail.
    login = {"authority": authority, "disable_instance_discovery": True, **common}
    if settings.auth == "workload_identity":
        tenant = settings.tenant_id or _from_environment("AZURE_TENANT_ID", "tenant_id")
        client = settings.client_id or _from_environment("AZURE_CLIENT_ID", "client_id")
        file = settings.federated_token_file or _from_environment("AZURE_FEDERATED_TOKEN_FILE", "federated_token_file")
        assertion = Path(file).read_text("utf-8").strip()
        return ClientAssertionCredential(tenant, client, lambda: assertion, **login)
    assert settings.tenant_id is not None
    assert settings.client_id is not None
    if settings.auth == "client_secret":
        assert settings.client_secret_file is not None
        secret = settings.client_secret_file.reveal()
        return ClientSecretCredential(settings.tenant_id, settings.client_id, secret, **login)
    assert settings.certificate_file is not None
    return CertificateCredential(
        settings.tenant_id,
        settings.client_id,
        certificate_data=settings.certificate_file.read_bytes(),
        password=_password(settings.certificate_password_file),
        **login,
    )


def _password(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def _from_environment(name: str, key: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise TargetMisconfigured(
            f"auth workload_identity finds no {name} in the environment",
            hint=f"label the pod azure.workload.identity/use: true, or set {key}",
            code="identity_unavailable",
        )
    return value


def _refused(error: AzureError, status: int) -> TargetError:
    """Return what a failure to get a token means; the texts of Entra hold ids and times, so only its code is kept."""
    if isinstance(error, CredentialUnavailableError) and status < 500:
        return TargetUnauthorized(
            "no managed identity answers on this machine",
            hint="assign one to the machine or pod, or choose another auth",
            code="identity_unavailable",
        )
    found = _ENTRA_CODE.search(str(error))
    code = found[0] if found else ""
    if status == 429 or status >= 500 or code in _TRANSIENT:
        return TargetUnavailable(f"Entra gives no token (HTTP {status})", code="entra_unavailable")
    if code:
        hint = _HINTS.get(code, "look up the code in Microsoft's list of Entra error codes")
        return TargetUnauthorized(f"Entra gives no token ({code})", hint=hint, code="entra_refused")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ServiceRequestError | ServiceResponseError):
            return TargetUnavailable(
                "Entra does not answer", hint="check authority, ca_file and the network", code="entra_unavailable"
            )
        cause = cause.__cause__ or cause.__context__
    return TargetUnauthorized(
        f"no token ({type(error).__name__})", hint="check authority, tenant_id and client_id", code="entra_refused"
    )
