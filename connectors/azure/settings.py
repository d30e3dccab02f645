"""How a target on Azure proves who we are to Microsoft Entra: the keys that such targets share."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from connectors.base import TargetSettings
from exporter.domain.secrets import Secret

_GUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
#: What each way of proving who we are needs besides ``auth`` itself, and what it may have.
_NEEDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "client_secret": (frozenset({"tenant_id", "client_id", "client_secret_file"}), frozenset()),
    "certificate": (
        frozenset({"tenant_id", "client_id", "certificate_file"}),
        frozenset({"certificate_password_file"}),
    ),
    # AKS injects all three into the environment of the pod.
    "workload_identity": (frozenset(), frozenset({"tenant_id", "client_id", "federated_token_file"})),
    "managed_identity": (frozenset(), frozenset({"client_id"})),
}
_IDENTITY_KEYS = sorted(frozenset().union(*(needed | allowed for needed, allowed in _NEEDS.values())))


class EntraSettings(TargetSettings):
    """A target derives its own settings from it, and may narrow or widen ``auth``."""

    auth: str = "managed_identity"
    tenant_id: str | None = Field(default=None, pattern=_GUID, description="Directory (tenant) id of the application.")
    client_id: str | None = Field(
        default=None,
        pattern=_GUID,
        description="Application (client) id; with managed_identity that of a user-assigned identity.",
    )
    client_secret_file: Secret | None = Field(
        default=None, description="auth client_secret: file with the secret; read again when it changes."
    )
    certificate_file: Path | None = Field(
        default=None, description="auth certificate: PEM file with certificate and private key; read for every token."
    )
    certificate_password_file: Secret | None = Field(
        default=None, description="auth certificate: file with the password of the private key."
    )
    federated_token_file: Path | None = Field(
        default=None,
        description="auth workload_identity: file with the projected token; default: what AKS says in AZURE_FEDERATED_TOKEN_FILE. Read for every token.",
    )
    cloud: Literal["public", "us_government", "china"] = Field(
        default="public", description="Which Azure cloud; decides the login address and the token's audience."
    )
    authority: str | None = Field(
        default=None, pattern=r"^https://[^\s/?#@]+/?$", description="Login address instead of the cloud's own."
    )
    ca_file: Path | None = Field(
        default=None,
        description="PEM bundle that certificates are checked against, instead of the system's (inspecting proxies, private links).",
    )

    @model_validator(mode="after")
    def _identity_is_whole(self) -> Self:
        needed, allowed = _NEEDS.get(self.auth, (frozenset(), frozenset()))
        given = {key for key in _IDENTITY_KEYS if getattr(self, key) is not None}
        if missing := sorted(needed - given):
            raise ValueError(f"auth {self.auth} needs {', '.join(missing)}")
        if foreign := sorted(given - needed - allowed):
            raise ValueError(f"auth {self.auth} has no use for {', '.join(foreign)}")
        return self


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, where nothing is sent over a network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
