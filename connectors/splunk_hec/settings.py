"""What can be configured of a Splunk HEC target."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from connectors.base import TargetSettings
from exporter.domain.secrets import Secret

#: Splunk Cloud takes 1 MB a request; the rest is room for a proxy that counts headers (Splunk Enterprise takes 800 MB).
DEFAULT_MAX_CONTENT_LENGTH = 900_000
_URL = r"^https?://[^\s/?#]+(/[^\s?#]*)?$"


class SplunkHecSettings(TargetSettings):
    """One Splunk deployment. Its certificate is always verified; a private CA goes into ``ca_file``."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    url: str | None = Field(
        default=None,
        pattern=_URL,
        description="Base address of the collector, e.g. https://splunk.example.com:8088, without /services/collector.",
    )
    urls: tuple[str, ...] = Field(
        default=(),
        description="Several addresses (indexers or heavy forwarders) instead of one; the least busy is used.",
    )
    token_file: Secret = Field(description="File with the HEC token; read again when it changes.")
    index: str | None = Field(
        default=None,
        min_length=1,
        description="Index of all events; without it, the token's default. Give the token an explicit list of indexes: "
        "without one, Splunk answers 200 for an index that does not exist.",
    )
    sourcetype: str = Field(
        default="loki:siem",
        min_length=1,
        description="Source type. Raise TRUNCATE (10,000 bytes) for it in props.conf, or Splunk cuts long events.",
    )
    source: str = Field(default="loki", min_length=1, description="Source of all events.")
    host: str | None = Field(
        default=None, min_length=1, description="Host of all events; without it, Splunk's own choice."
    )
    ca_file: Path | None = Field(default=None, description="PEM bundle that the certificate is checked against.")
    cert_file: Path | None = Field(default=None, description="Client certificate (mTLS).")
    key_file: Path | None = Field(default=None, description="Key of the client certificate.")
    gzip: bool = Field(default=True, description="Compress requests.")
    max_content_length: int = Field(
        default=DEFAULT_MAX_CONTENT_LENGTH,
        ge=10_000,
        le=838_860_800,
        description="Most bytes of a request before compression; at most Splunk's own max_content_length.",
    )
    timeout_seconds: float = Field(
        default=60.0,
        ge=1,
        le=600,
        description="Wait for an answer. Keep it long: after a time-out nobody knows whether the events are stored, "
        "so they are sent again.",
    )

    @property
    def endpoints(self) -> tuple[str, ...]:
        return self.urls or (self.url or "",)

    @model_validator(mode="after")
    def _one_kind_of_address(self) -> Self:
        if (self.url is None) == (not self.urls):
            raise ValueError("give either url or urls")
        for url in self.urls:
            if not url.startswith(("https://", "http://")) or any(c.isspace() or c in "?#" for c in url):
                raise ValueError("every address in urls looks like https://host:8088")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together")
        return self
