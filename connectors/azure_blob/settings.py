"""What can be configured of an Azure Blob Storage target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from connectors.azure.settings import EntraSettings, is_loopback
from connectors.s3.settings import S3Settings
from exporter.domain.secrets import Secret

#: Azure Storage, blob index tags: keys to 128 and values to 256 characters of these.
_TagKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 +./:=_-]{1,128}$")]
_TagValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 +./:=_-]{0,256}$")]
#: Keys of ``auth`` that are not Entra's.
_OWN_KEYS = {"shared_key": "account_key_file", "sas": "sas_file"}


class Immutability(BaseModel):
    """Policy of each blob. Prefer a policy of the container: it needs no permission of the exporter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["unlocked", "locked"] | None = Field(
        default=None,
        description="locked: nobody can delete the blob or shorten its retention. unlocked: who has the permission can; to try it out.",
    )
    retain_days: int | None = Field(
        default=None, ge=1, le=146_000, description="Days from the writing of the blob on which it cannot be deleted."
    )
    legal_hold: bool = Field(default=False, description="Set a legal hold, which stands until somebody lifts it.")

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if (self.mode is None) != (self.retain_days is None):
            raise ValueError("mode and retain_days belong together")
        if self.mode is None and not self.legal_hold:
            raise ValueError("give mode and retain_days, or legal_hold: true, or leave immutability out")
        return self


class AzureBlobSettings(EntraSettings):
    """One container. A data class with its own retention is a target of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    account_url: str = Field(
        pattern=r"^https?://[^\s/?#@]+(/[a-z0-9]{3,24})?/?$",
        examples=["https://examplesiem.blob.core.windows.net"],
        description="Address of the storage account's blob service; https unless it is on this machine.",
    )
    container: str = Field(
        pattern=r"^[a-z0-9](-?[a-z0-9])*$",
        min_length=3,
        max_length=63,
        description="Name of the container, which must be there.",
    )
    prefix: str = Field(
        default="{tenant}/dt={date}/hour={hour}/",
        max_length=200,
        description="Where blobs go; {tenant}, {date} or {year}, {month}, {day}, and {hour} of the events' own time in UTC. "
        "Changing it while a batch is unfinished can store that batch a second time under the new prefix.",
    )
    auth: Literal["managed_identity", "workload_identity", "client_secret", "certificate", "sas", "shared_key"] = Field(
        default="managed_identity",
        description="How we prove who we are. By Entra the identity needs the role Storage Blob Data Contributor on the container; "
        "a SAS needs read, create, write and list; a shared key can do everything in the account, so prefer the others.",
    )
    account_key_file: Secret | None = Field(
        default=None, description="auth shared_key: file with a key of the account; read again when it changes."
    )
    sas_file: Secret | None = Field(
        default=None,
        description="auth sas: file with a shared access signature (sv=…&sig=…); read again when it changes.",
    )
    immutability: Immutability | None = Field(default=None, description="Retention of each blob.")
    access_tier: Literal["Hot", "Cool", "Cold"] | None = Field(
        default=None,
        description="Access tier; without it, the account's default. Move to Archive by a lifecycle rule, not here: a blob that "
        "stands there already is read before its events are skipped.",
    )
    encryption_scope: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9-]{3,63}$",
        description="Encryption scope (customer-managed key) of each blob.",
    )
    tags: Mapping[_TagKey, _TagValue] = Field(
        default_factory=dict, max_length=10, description="Index tags of each blob, for lifecycle rules and searches."
    )
    batch_linger_seconds: float = Field(
        default=15.0, ge=0, le=60, description="How long a batch, and so a blob, may wait to fill."
    )
    timeout_seconds: float = Field(default=60.0, ge=1, le=600, description="Longest wait for an answer.")

    @property
    def account(self) -> str:
        """Name of the storage account: first label of the host, or the path where the host is an address (emulators)."""
        parts = urlsplit(self.account_url)
        return parts.path.strip("/") or (parts.hostname or "").split(".")[0]

    @field_validator("prefix")
    @classmethod
    def _usable_prefix(cls, value: str) -> str:
        return S3Settings._usable_prefix(value)  # noqa: SLF001 - the same names as S3's objects, by the same writer

    @model_validator(mode="after")
    def _login_is_whole(self) -> Self:
        for auth, key in _OWN_KEYS.items():
            given = getattr(self, key) is not None
            if given != (self.auth == auth):
                raise ValueError(f"auth {self.auth} " + (f"has no use for {key}" if given else f"needs {key}"))
        parts = urlsplit(self.account_url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise ValueError("account_url must start with https://")
        return self
