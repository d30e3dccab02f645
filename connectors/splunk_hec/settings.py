"""What can be configured of a Splunk HEC target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from connectors.base import TargetSettings
from connectors.splunk_hec.templates import Template
from exporter.domain.secrets import Secret

#: Splunk Cloud takes 1 MB a request; the rest is room for a proxy that counts headers (Splunk Enterprise takes 800 MB).
DEFAULT_MAX_CONTENT_LENGTH = 900_000
#: Splunk's advice; the last small batch before a pause can stand in an indexer's buffer for two minutes, so less than that
#: would send it again and again.
DEFAULT_ACK_TIMEOUT_SECONDS = 300.0
#: What Splunk allows as the name of an index that events may be sent to.
_IndexName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,79}$")]
_FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.:-]{0,79}$")]
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
    endpoint: Literal["event", "raw"] = Field(
        default="event",
        description="event: one envelope an event, with its own time and metadata. raw: one line an event, for Splunk to take time and "
        "fields from by its own rules (props.conf); a line break within an event is written as \\n.",
    )
    ack: Literal["auto", "require", "never"] = Field(
        default="auto",
        description="Wait until Splunk says that events are indexed. auto: where the token asks for it (useACK). require: pause "
        "where it does not. never: only for tokens without it; HTTP 200 is enough.",
    )
    ack_timeout_seconds: float = Field(
        default=DEFAULT_ACK_TIMEOUT_SECONDS,
        ge=1,
        le=3600,
        description="A request that is not acknowledged for so long is sent again. Below two minutes quiet tenants' events may be "
        "sent again and again, because an indexer holds a small last batch back that long.",
    )
    ack_refused_head: Literal["resend", "accept"] = Field(
        default="resend",
        description="When Splunk refuses one event of a request it has indexed those before it, but acknowledges nothing. resend: "
        "send them again for an acknowledgement (counted as possible duplicates). accept: take its word.",
    )
    index: str | None = Field(
        default=None,
        min_length=1,
        description="Index of the events, also from a template ({loki.labels.team|main}, with allowed_indexes); without it, the "
        "token's default. Give the token an explicit list of indexes: without one, Splunk answers 200 for an index that does "
        "not exist.",
    )
    allowed_indexes: tuple[_IndexName, ...] = Field(
        default=(),
        description="Indexes that a template in index may choose; any other becomes the first of them. So no log line chooses an "
        "index that is not meant for it.",
    )
    sourcetype: str = Field(
        default="loki:siem",
        min_length=1,
        description="Source type, also from a template ({kind}). Raise TRUNCATE (10,000 bytes) for it in props.conf, or Splunk "
        "cuts long events.",
    )
    source: str = Field(
        default="loki", min_length=1, description="Source of the events, also from a template ({tenant.id})."
    )
    host: str | None = Field(
        default=None,
        min_length=1,
        description="Host of the events, also from a template ({loki.labels.instance|unknown}); without it, Splunk's own choice.",
    )
    fields: Mapping[_FieldName, str] = Field(
        default_factory=dict,
        max_length=30,
        description="Indexed fields, name to text or template ({loki.labels.app|none}); for tstats. Not with endpoint raw.",
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

    @field_validator("index", "sourcetype", "source", "host")
    @classmethod
    def _template(cls, text: str | None) -> str | None:
        if text is not None:
            Template(text)
        return text

    @field_validator("fields")
    @classmethod
    def _field_templates(cls, fields: Mapping[str, str]) -> Mapping[str, str]:
        for name, text in fields.items():
            try:
                Template(text)
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        return fields

    @model_validator(mode="after")
    def _index_of_a_template(self) -> Self:
        if self.index is not None and Template(self.index).keys and not self.allowed_indexes:
            raise ValueError(
                "index is a template, so list the indexes it may choose in allowed_indexes (the first one is for all others)"
            )
        if self.allowed_indexes and (self.index is None or not Template(self.index).keys):
            raise ValueError("allowed_indexes is for a template in index; make index one, or leave allowed_indexes out")
        if self.endpoint == "raw" and self.fields:
            raise ValueError("endpoint raw takes no indexed fields; use endpoint event, or leave fields out")
        return self
