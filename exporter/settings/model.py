"""The configuration as frozen, typed models; every key's unit is in its name. One declaration serves the parser, the
JSON Schema, ``loki-siem init`` and the documentation.

Secrets are ``*_file`` paths or ``${env:NAME}`` and arrive here as :class:`exporter.domain.secrets.Secret`. Relative paths
are taken from the folder of the configuration file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from exporter.domain.secrets import Secret

#: Loki: letters, digits and these, at most 150 bytes (loki ``pkg/tenant``).
TENANT_PATTERN = r"^[A-Za-z0-9!\-_.*'()]{1,150}$"
NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class Model(BaseModel):
    """Base: frozen, unknown keys refused, values never echoed in error texts."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)


class ClientTls(Model):
    """TLS towards a peer. Verification is always on; a private CA goes into ``ca_file``."""

    ca_file: Path | None = Field(default=None, description="PEM bundle that the peer's certificate is checked against.")
    cert_file: Path | None = Field(default=None, description="Client certificate (mTLS).")
    key_file: Path | None = Field(default=None, description="Key of the client certificate.")


class NoAuth(Model):
    type: Literal["none"] = "none"


class BasicAuth(Model):
    type: Literal["basic"]
    username: str
    password_file: Secret


class BearerAuth(Model):
    type: Literal["bearer"]
    token_file: Secret


class OAuth2ClientAuth(Model):
    """OAuth 2.0 client credentials (RFC 6749 §4.4)."""

    type: Literal["oauth2"]
    token_url: str
    client_id: str
    client_secret_file: Secret
    scope: str = ""
    audience: str = ""


Auth = Annotated[NoAuth | BasicAuth | BearerAuth | OAuth2ClientAuth, Field(discriminator="type")]


class LokiSettings(Model):
    """How Loki is reached and how hard it may be asked."""

    url: str = Field(
        description="Base address of Loki or its gateway, without /loki/api/v1.", pattern=r"^https?://[^\s/]+(/\S*)?$"
    )
    auth: Auth = NoAuth()
    tls: ClientTls = ClientTls()
    send_org_id: bool = Field(
        default=True, description="Send X-Scope-OrgID. Off for a Loki with auth_enabled: false behind a strict gateway."
    )
    max_concurrent_requests: int = Field(
        default=16, ge=1, le=512, description="Requests under way at once, all tenants of a process together."
    )
    max_concurrent_requests_per_tenant: int = Field(
        default=4, ge=1, le=64, description="Requests under way at once for one tenant."
    )
    request_timeout_seconds: float = Field(
        default=65.0, gt=0, description="Longer than Loki's own query_timeout (1 minute), so that Loki's error arrives."
    )
    hot_delay_seconds: float = Field(
        default=1.0, ge=0.1, le=60, description="How far behind now the live edge is read."
    )
    poll_interval_seconds: float = Field(
        default=1.0, ge=0.1, le=60, description="Pause between two cycles at the live edge."
    )
    near_horizon_seconds: int = Field(
        default=300, ge=10, le=3600, description="How far back late lines are looked for every cycle."
    )
    page_entries: int = Field(
        default=5000,
        ge=1,
        description="Entries asked for at most; lowered to the tenant's max_entries_limit_per_query.",
    )
    page_bytes: int = Field(
        default=3_500_000,
        ge=65_536,
        description="Bytes of lines a page should stay below (gRPC limit inside Loki: 4 MiB).",
    )
    ingester_message_bytes: int = Field(
        default=4_194_304, ge=65_536, description="Loki's grpc_server_max_send_msg_size between querier and ingester."
    )


class SqliteBus(Model):
    """The embedded bus: one file, one machine, several processes."""

    kind: Literal["sqlite"] = "sqlite"
    path: Path = Path("state/bus.db")
    shard_count: int = Field(default=8, ge=1, le=256)
    partitions: int = Field(
        default=4, ge=1, le=64, description="Lanes per tenant; order is kept per stream within a lane."
    )
    retention_bytes: int = Field(
        default=20_000_000_000,
        ge=1_000_000,
        description="Upper bound of stored events. Delivered events go first; when undelivered ones alone reach it, reading pauses (Loki is the buffer).",
    )
    retention_seconds: int = Field(default=86_400, ge=0, description="Delivered events are kept this long.")


class KafkaBus(Model):
    """Apache Kafka 2.5 or newer."""

    kind: Literal["kafka"]
    bootstrap_servers: str
    topic_prefix: str = Field(default="siem", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    shard_count: int = Field(
        default=16, ge=1, le=256, description="Fixed at installation; raising it later moves tenants between shards."
    )
    partitions: int = Field(
        default=6, ge=1, le=1024, description="Partitions of a tenant's event topic when it is created."
    )
    replication_factor: int = Field(default=3, ge=1, le=9)
    min_insync_replicas: int = Field(default=2, ge=1, le=9)
    retention_seconds: int = Field(default=604_800, ge=3600, description="Retention of event topics that are created.")
    create_topics: bool = True
    compression: Literal["lz4", "zstd", "none"] = "zstd"
    group_protocol: Literal["classic", "consumer"] = Field(
        default="classic", description="consumer (KIP-848) needs brokers 4.0 or newer."
    )
    session_timeout_seconds: float = Field(
        default=45.0, ge=6, le=1800, description="How long a dead worker's shards wait (classic protocol)."
    )
    transaction_timeout_seconds: float = Field(default=60.0, ge=10, le=900)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password_file: Secret | None = None
    tls: ClientTls = ClientTls()


BusSettings = Annotated[SqliteBus | KafkaBus, Field(discriminator="kind")]


class TenantSettings(Model):
    """One Loki org id (or, with ``org_id``, a named view of one)."""

    selector: str = Field(description='LogQL stream selector without pipeline stages, e.g. {job=~".+"}.')
    org_id: str | None = Field(
        default=None, description="Loki org id when it differs from the tenant's name here.", pattern=TENANT_PATTERN
    )
    start: str = Field(default="earliest", description="earliest | now | RFC 3339 time: where the first run begins.")
    data_class: str = Field(
        default="ops",
        description="Data class, carried in every event as data.class.",
        pattern=r"^[a-z][a-z0-9_/-]{0,62}$",
    )
    redaction: tuple[str, ...] = Field(default=("eu-pii", "secrets"), description="Redaction packs, by name or file.")
    original: Literal["unparsed", "always", "never"] = Field(
        default="unparsed", description="When the redacted line is kept beside the fields."
    )
    targets: tuple[str, ...] = Field(
        default=(), description="Names of targets that get this tenant's events; empty: the bus only."
    )
    format: Literal["auto", "json", "logfmt", "text"] = Field(default="auto", description="Forces a line format.")


class ServiceSettings(Model):
    """The processes themselves."""

    state_dir: Path = Path("state")
    listen: str = Field(
        default="127.0.0.1:9464",
        description="host:port of /healthz/*, /metrics.",
        pattern=r"^[^\s:]*(\[[0-9a-fA-F:]+\])?:\d{1,5}$",
    )
    reader_processes: int | None = Field(
        default=None, ge=1, le=256, description="Default: one per core, at most one per tenant."
    )
    delivery_processes: int | None = Field(
        default=None, ge=1, le=256, description="Default: one per core, at most one per target."
    )
    memory_bytes: int = Field(default=134_217_728, ge=33_554_432, description="Bound of log data held by one process.")
    drain_deadline_seconds: float = Field(
        default=25.0, gt=0, le=600, description="SIGTERM: finish and commit within this time."
    )
    identity_key_file: Secret | None = Field(
        default=None,
        description="Key of event ids. With it nobody can find a redacted line by hashing guesses; set it before the first run and never change it.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"


class Settings(Model):
    """The whole configuration. ``targets`` hold the connectors' own settings models (see ``connectors.registry``)."""

    version: Literal[1]
    loki: LokiSettings
    bus: BusSettings = SqliteBus()
    service: ServiceSettings = ServiceSettings()
    tenants: Mapping[str, TenantSettings]
    targets: Mapping[str, Any] = Field(default_factory=dict)

    def tenants_of(self, target: str) -> tuple[str, ...]:
        """Names of the tenants whose events go to this target."""
        return tuple(name for name, tenant in self.tenants.items() if target in tenant.targets)
