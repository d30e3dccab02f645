"""What can be configured of an S3 target."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from connectors.base import TargetSettings
from exporter.domain.secrets import Secret

#: What a prefix may name. Tenant and time only: both are known without parsing an event, and nothing in a log line can
#: choose where its object goes.
PLACEHOLDERS = frozenset({"tenant", "date", "year", "month", "day", "hour"})
#: Characters that S3 calls safe, and ``=`` for the partition names that Athena and Spark read.
_LITERAL = re.compile(r"[A-Za-z0-9!_.*'()=/-]*")
#: Of the storage classes only those that answer a GET at once: an existing object is read before its events are skipped.
StorageClass = Literal["STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"]
_TagText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 _.:/=+@-]*$", max_length=256)]


class ObjectLock(BaseModel):
    """Headers of each object. Prefer the bucket's default retention: it needs no permission of the exporter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["GOVERNANCE", "COMPLIANCE"] | None = Field(
        default=None,
        description="COMPLIANCE: nobody can delete the object or shorten its retention, not even the account's root.",
    )
    retain_days: int | None = Field(
        default=None, ge=1, le=36_500, description="Days from the writing of the object on which it cannot be deleted."
    )
    legal_hold: bool = Field(default=False, description="Set a legal hold, which stands until somebody lifts it.")

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if (self.mode is None) != (self.retain_days is None):
            raise ValueError("mode and retain_days belong together")
        if self.mode is None and not self.legal_hold:
            raise ValueError("give mode and retain_days, or legal_hold: true, or leave object_lock out")
        return self


class S3Settings(TargetSettings):
    """One bucket. A data class with its own retention or key is a target of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="Name of the bucket.")
    prefix: str = Field(
        default="{tenant}/dt={date}/hour={hour}/",
        max_length=200,
        description="Where objects go; {tenant}, {date} or {year}, {month}, {day}, and {hour} of the events' own time in UTC. "
        "Changing it while a batch is unfinished can store that batch a second time under the new prefix.",
    )
    region: str | None = Field(
        default=None, pattern=r"^[a-z0-9-]{2,40}$", description="Region of the bucket; without it, AWS_REGION."
    )
    endpoint_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/?#@]+/?$",
        description="Address of a compatible store or of a VPC endpoint; without it, AWS.",
    )
    path_style: bool = Field(
        default=False, description="Name the bucket in the path and not in the host, as most compatible stores want it."
    )
    ca_file: Path | None = Field(
        default=None, description="PEM bundle that the store's certificate is checked against."
    )
    access_key_id: str | None = Field(
        default=None,
        pattern=r"^[\x21-\x7e]{3,128}$",
        description="Access key; without it, the chain of the AWS SDK (environment, profile, web identity, instance role).",
    )
    secret_access_key_file: Secret | None = Field(
        default=None, description="File with the secret of access_key_id; read again when it changes."
    )
    session_token_file: Secret | None = Field(default=None, description="File with the token of temporary credentials.")
    conditional_writes: Literal["required", "preferred"] = Field(
        default="required",
        description="required: pause the target when the store ignores If-None-Match. preferred: then write all the same, "
        "with the last offset in the name; an event can be stored twice, and what may be is counted.",
    )
    checksum: Literal["sha256", "crc32", "md5"] = Field(
        default="sha256", description="Checksum sent with each object; md5 (Content-MD5) for stores without the others."
    )
    object_lock: ObjectLock | None = Field(default=None, description="Retention of each object.")
    kms_key_id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9:/_.-]{1,2048}$",
        description="SSE-KMS with this key; the full ARN for a key of another account. Without it, the bucket's default.",
    )
    kms_bucket_key: bool = Field(default=True, description="Use a bucket key with SSE-KMS: far fewer calls to KMS.")
    storage_class: StorageClass | None = Field(
        default=None,
        description="Storage class; without it, the store's default. Move to GLACIER and below by a lifecycle rule.",
    )
    tags: Mapping[_TagText, _TagText] = Field(
        default_factory=dict, max_length=10, description="Tags of each object, for lifecycle rules and cost reports."
    )
    expected_bucket_owner: str | None = Field(
        default=None,
        pattern=r"^\d{12}$",
        description="Account that must own the bucket; guards against a bucket that somebody else made anew.",
    )
    probe_prefix: str = Field(
        default="_loki-siem/",
        pattern=r"^[A-Za-z0-9!_.*'()=-]+(/[A-Za-z0-9!_.*'()=-]+)*/$",
        max_length=200,
        description="Where the small object of the start-up probe stands. It is written once and never deleted.",
    )
    batch_linger_seconds: float = Field(
        default=15.0, ge=0, le=60, description="How long a batch, and so an object, may wait to fill."
    )
    timeout_seconds: float = Field(default=60.0, ge=1, le=600, description="Longest wait for an answer.")

    @field_validator("prefix")
    @classmethod
    def _usable_prefix(cls, value: str) -> str:
        try:
            parts = list(Formatter().parse(value))
        except ValueError:
            raise ValueError("has unmatched braces") from None
        names = [name for _, name, _, _ in parts if name is not None]
        if any(
            name not in PLACEHOLDERS or spec or conversion for _, name, spec, conversion in parts if name is not None
        ):
            raise ValueError("may only have " + ", ".join("{" + name + "}" for name in sorted(PLACEHOLDERS)))
        if names.count("tenant") != 1:
            raise ValueError("must have {tenant} once, so that tenants are apart")
        _check_times(names)
        if any(not _LITERAL.fullmatch(literal) for literal, *_ in parts):
            raise ValueError("may only have letters, digits and !_.*'()=/- beside placeholders")
        segments = value.removesuffix("/").split("/")
        if any(segment in {"", ".", ".."} for segment in segments):
            raise ValueError("must not begin with / or have an empty, . or .. part")
        return "/".join(segments) + "/"

    @field_validator("tags")
    @classmethod
    def _usable_tags(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        if any(not key or len(key) > 128 or key.lower().startswith("aws:") for key in value):
            raise ValueError("a tag's name has 1 to 128 characters and does not begin with aws:")
        return value

    @model_validator(mode="after")
    def _credentials_belong_together(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key_file is None):
            raise ValueError("access_key_id and secret_access_key_file belong together")
        if self.session_token_file is not None and self.access_key_id is None:
            raise ValueError("session_token_file goes with access_key_id")
        return self


def _check_times(names: list[str]) -> None:
    """An hour without its day would put the same hour of all days together."""
    has_day = "date" in names or {"year", "month", "day"} <= set(names)
    if "hour" in names and not has_day:
        raise ValueError("{hour} needs {date}, or {year}, {month} and {day}")
    if {"year", "month", "day"} & set(names) and not has_day:
        raise ValueError("{year}, {month} and {day} go together")
