"""What can be configured of a Microsoft Sentinel target (Logs Ingestion API)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, model_validator

from connectors.azure.settings import EntraSettings, is_loopback
from connectors.sentinel.columns import DEFAULT_COLUMNS, SPEC_PATTERN, faults_of


class SentinelSettings(EntraSettings):
    """One stream of one data collection rule (DCR), which leads into one custom table."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    endpoint: str = Field(
        pattern=r"^https?://[^\s/?#@]+/?$",
        examples=["https://my-dce-abcd.westeurope-1.ingest.monitor.azure.com"],
        description="Logs ingestion endpoint of the DCR or of the data collection endpoint (DCE); https unless it is on this machine.",
    )
    dcr_id: str = Field(
        pattern=r"^dcr-[0-9a-f]{32}$",
        examples=["dcr-00000000000000000000000000000000"],
        description="Immutable id of the DCR (immutableId of its JSON view), not its resource id.",
    )
    stream: str = Field(
        pattern=r"^Custom-[A-Za-z0-9_]{1,120}$",
        examples=["Custom-LokiEvents"],
        description="Name of the input stream in the DCR's streamDeclarations, with Custom- in front.",
    )
    auth: Literal["client_secret", "certificate", "workload_identity", "managed_identity"] = Field(
        default="managed_identity",
        description="How we prove who we are to Microsoft Entra; the identity needs the role Monitoring Metrics Publisher on the DCR.",
    )
    columns: Mapping[str, Annotated[str, Field(pattern=SPEC_PATTERN)]] = Field(
        default_factory=lambda: dict(DEFAULT_COLUMNS),
        description="Canonical key → column, or column:type (string, int, long, real, boolean, datetime, dynamic). All of it: "
        "what is not named goes into the column of unmapped. Every column must be declared in the DCR, or Azure drops it silently.",
    )
    quota_share: float = Field(
        default=1.0,
        gt=0,
        le=16,
        description="Share of the DCR's quota (12,000 requests and 2 GB before compression a minute) that this process keeps to; with N delivery processes set 1/N, above 1 only where Azure granted more.",
    )
    timeout_seconds: float = Field(
        default=60.0,
        ge=1,
        le=600,
        description="Wait for an answer. Keep it long: after a time-out nobody knows whether the events are stored, so they are sent again.",
    )

    @model_validator(mode="after")
    def _endpoint_is_safe(self) -> Self:
        """A bearer token never crosses a network in the clear."""
        parts = urlsplit(self.endpoint)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise ValueError("endpoint must start with https://")
        return self

    @model_validator(mode="after")
    def _schema_has_columns(self) -> Self:
        if self.schema not in {"canonical", "asim"}:
            raise ValueError(f"schema {self.schema} has no columns for a table of Sentinel; choose canonical or asim")
        return self

    @model_validator(mode="after")
    def _columns_are_sound(self) -> Self:
        if faults := faults_of(self.columns):
            raise ValueError("columns: " + "; ".join(faults))
        return self
