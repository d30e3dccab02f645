"""The configuration as frozen, typed models; every key's unit is in its name. One declaration serves the parser, the
JSON Schema, ``loki-siem init`` and the documentation.

Secrets are ``*_file`` paths or ``${env:NAME}`` and arrive here as :class:`exporter.domain.secrets.Secret`. Relative paths
are taken from the folder of the configuration file.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from exporter.domain.secrets import Secret
from exporter.settings.filters import Filter, PolicyTest
from exporter.settings.policy import PolicySettings

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


def _require_rfc3339(text: str) -> None:
    """Raise ValueError unless this is an RFC 3339 time with its offset: local time would mean another moment elsewhere."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None or "T" not in text.upper():
        raise ValueError("is no time; write earliest, now, or a time with its offset such as 2026-01-31T00:00:00Z")


class NoAuth(Model):
    type: Literal["none"] = "none"


class BasicAuth(Model):
    type: Literal["basic"]
    username: str = Field(description="User name.")
    password_file: Secret = Field(description="File that holds the password, or ${env:NAME}.")


class BearerAuth(Model):
    type: Literal["bearer"]
    token_file: Secret = Field(description="File that holds the token, or ${env:NAME}.")


class OAuth2ClientAuth(Model):
    """OAuth 2.0 client credentials (RFC 6749 §4.4)."""

    type: Literal["oauth2"]
    token_url: str = Field(description="Token endpoint of the authorization server.", pattern=r"^https?://\S+$")
    client_id: str = Field(description="Client id.")
    client_secret_file: Secret = Field(description="File that holds the client's secret, or ${env:NAME}.")
    scope: str = Field(default="", description="Scopes to ask for, separated by spaces.")
    audience: str = Field(default="", description="Audience to ask for, where the server wants one.")


Auth = Annotated[NoAuth | BasicAuth | BearerAuth | OAuth2ClientAuth, Field(discriminator="type")]


class PassSettings(Model):
    """When history is looked at again, after the end of each hour; see docs/completeness.md."""

    warm_after_seconds: float = Field(
        default=4500,
        ge=0,
        description="WARM: when lines that are out of order can no longer come (half of Loki's max_chunk_age, and some more).",
    )
    cold_after_seconds: float = Field(
        default=14_400,
        ge=0,
        description="COLD: when the store alone answers (Loki's query_ingesters_within, and an hour for flushing).",
    )
    seal_after_seconds: float | None = Field(
        default=None,
        gt=0,
        description="SEAL: when nothing can come any more; default: Loki's reject_old_samples_max_age (7 days unless it tells) and three hours.",
    )
    drift_every_seconds: float = Field(
        default=86_400, gt=0, description="DRIFT: everything between COLD and SEAL is looked at so often."
    )
    recheck_every_seconds: float = Field(
        default=2_592_000, gt=0, description="Sealed history is looked at so often, as long as Loki keeps it."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        seal = self.seal_after_seconds if self.seal_after_seconds is not None else float("inf")
        if not self.warm_after_seconds <= self.cold_after_seconds <= seal:
            raise ValueError("are out of order; choose warm_after_seconds <= cold_after_seconds <= seal_after_seconds")
        return self


class LokiSettings(Model):
    """How Loki is reached and how hard it may be asked."""

    url: str = Field(
        description="Base address of Loki or its gateway, without /loki/api/v1.",
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        examples=["http://127.0.0.1:3100"],
    )
    auth: Auth = Field(default=NoAuth(), description="How to log in: type none, basic, bearer or oauth2.")
    tls: ClientTls = Field(default=ClientTls(), description="TLS towards Loki, where the system's CAs do not suffice.")
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
    passes: PassSettings = Field(
        default=PassSettings(), description="When history is looked at again for lines that came late."
    )


class SqliteBus(Model):
    """The embedded bus: one file, one machine, several processes."""

    kind: Literal["sqlite"] = Field(default="sqlite", description="The embedded bus.")
    path: Path = Field(default=Path("state/bus.db"), description="The file; on a local disk, not on a network share.")
    shard_count: int = Field(
        default=8, ge=1, le=256, description="Units of ownership that tenants are spread over; fixed once in use."
    )
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

    kind: Literal["kafka"] = Field(description="Apache Kafka.")
    bootstrap_servers: str = Field(
        description="host:port of one or more brokers, separated by commas.",
        pattern=r"^[^\s,/]+(\s*,\s*[^\s,/]+)*$",
        examples=["kafka-1:9092,kafka-2:9092"],
    )
    topic_prefix: str = Field(
        default="siem", pattern=r"^[A-Za-z0-9._-]{1,100}$", description="All topics and groups start with it."
    )
    shard_count: int = Field(
        default=16, ge=1, le=256, description="Fixed at installation; raising it later moves tenants between shards."
    )
    partitions: int = Field(
        default=6, ge=1, le=1024, description="Partitions of a tenant's event topic when it is created."
    )
    replication_factor: int = Field(default=3, ge=1, le=9, description="Copies of topics that are created.")
    min_insync_replicas: int = Field(
        default=2, ge=1, le=9, description="Copies that must have a record before it counts; at most the factor."
    )
    retention_seconds: int = Field(default=604_800, ge=3600, description="Retention of event topics that are created.")
    create_topics: bool = Field(
        default=True, description="Create missing topics. Off: they are only verified, and an administrator makes them."
    )
    compression: Literal["lz4", "zstd", "none"] = Field(default="zstd", description="Compression of records.")
    group_protocol: Literal["classic", "consumer"] = Field(
        default="classic", description="consumer (KIP-848) needs brokers 4.0 or newer."
    )
    session_timeout_seconds: float = Field(
        default=45.0, ge=6, le=1800, description="How long a dead worker's shards wait (classic protocol)."
    )
    transaction_timeout_seconds: float = Field(
        default=60.0, ge=10, le=900, description="A transaction open for longer is aborted by the broker."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How brokers are reached."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="Used with SASL_PLAINTEXT and SASL_SSL."
    )
    sasl_username: str = Field(default="", description="User name for SASL.")
    sasl_password_file: Secret | None = Field(
        default=None, description="File that holds the password for SASL, or ${env:NAME}."
    )
    tls: ClientTls = Field(default=ClientTls(), description="TLS towards the brokers.")


BusSettings = Annotated[SqliteBus | KafkaBus, Field(discriminator="kind")]


#: Line formats (``exporter.pipeline.parse``). ``auto``: as each line shows; ``text``: none.
LineFormat = Literal[
    "auto", "json", "logfmt", "access", "syslog", "cef", "leef", "cri", "klog", "auditd", "winxml", "kv", "prefixed", "text"
]  # fmt: skip


class FormatRule(Model):
    """The format of some of a tenant's streams."""

    labels: Mapping[str, str] = Field(
        min_length=1,
        description="Labels that a stream must have; * and ? stand for any characters, an absent label is empty.",
        examples=[{"app": "firewall-*"}],
    )
    format: LineFormat = Field(description="Their line format.")


class TenantSettings(Model):
    """One Loki org id (or, with ``org_id``, a named view of one)."""

    selector: str = Field(
        description="LogQL stream selector without pipeline stages: which streams are exported.",
        min_length=2,
        examples=['{job=~".+"}'],
    )
    org_id: str | None = Field(
        default=None, description="Loki org id when it differs from the tenant's name here.", pattern=TENANT_PATTERN
    )
    start: str = Field(
        default="earliest",
        description="Where the first run begins: earliest, now, or an RFC 3339 time such as 2026-01-31T00:00:00Z.",
    )
    data_class: str = Field(
        default="ops",
        description="Data class, carried in every event as data.class.",
        pattern=r"^[a-z][a-z0-9_/-]{0,62}$",
    )
    redaction: tuple[str, ...] = Field(default=("eu-pii", "secrets"), description="Redaction packs, by name or file.")
    policy: PolicySettings = Field(
        default=PolicySettings(),
        description="Actions other than masking, by rule and by field: the name of a policy that ships, or an object.",
    )
    original: Literal["unparsed", "always", "never"] = Field(
        default="unparsed", description="When the redacted line is kept beside the fields."
    )
    targets: tuple[str, ...] = Field(
        default=(), description="Names of targets that get this tenant's events; empty: the bus only."
    )
    format: LineFormat | tuple[FormatRule, ...] = Field(
        default="auto",
        description="Forces a line format, or rules of which the first that fits a stream's labels holds; auto for the rest.",
    )
    fields: Mapping[str, str] = Field(
        default_factory=dict,
        description="Your own mapping: key of a line (dots for nesting) to canonical name; it wins over the tables.",
        examples=[{"customer.login": "user.name"}],
    )
    tempo_url: str = Field(
        default="",
        description="Address of a trace in Tempo or Grafana with {trace_id} in it; events with a trace id get trace.url.",
        pattern=r"^(https?://\S*\{trace_id\}\S*)?$",
        examples=["https://grafana.example.com/tempo/trace/{trace_id}"],
    )
    filters: tuple[Filter, ...] = Field(
        default=(), max_length=100, description="Steps that every redacted event goes through, in order."
    )
    tests: tuple[PolicyTest, ...] = Field(
        default=(), description="Examples with their outcome; the service does not start when one fails."
    )

    @field_validator("start")
    @classmethod
    def _known_start(cls, value: str) -> str:
        if value not in {"earliest", "now"}:
            _require_rfc3339(value)
        return value


class ServiceSettings(Model):
    """The processes themselves."""

    state_dir: Path = Field(default=Path("state"), description="Folder for what processes and file targets keep.")
    listen: str = Field(
        default="127.0.0.1:9464",
        description="host:port of /healthz/*, /metrics.",
        pattern=r"^[^\s:]*(\[[0-9a-fA-F:]+\])?:\d{1,5}$",
        examples=["0.0.0.0:9464"],
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
    pseudonym_key_file: Secret | None = Field(
        default=None,
        description="Master key of pseudonyms: one or more lines of at least 32 characters, the first seals, the others still open.",
    )
    signing_key_file: Secret | None = Field(
        default=None,
        description="Ed25519 private key (PEM) that signs the manifests of `ledger export`; openssl genpkey -algorithm ed25519 makes one.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console style on a terminal, JSON lines elsewhere."
    )

    @field_validator("listen")
    @classmethod
    def _port_exists(cls, value: str) -> str:
        if int(value.rpartition(":")[2]) > 65535:
            raise ValueError("names a port above 65535; choose one up to 65535, or 0 for any free one")
        return value


class Settings(Model):
    """The whole configuration. ``targets`` hold the connectors' own settings models (see ``connectors.registry``)."""

    version: Literal[1] = Field(description="Version of this format.")
    loki: LokiSettings = Field(description="How Loki is reached and how hard it may be asked.")
    bus: BusSettings = Field(
        default=SqliteBus(), description="The durable log in between: an SQLite file, or Kafka for several machines."
    )
    service: ServiceSettings = Field(default=ServiceSettings(), description="The processes themselves.")
    tenants: Mapping[str, TenantSettings] = Field(description="What is read, by Loki org id.")
    targets: Mapping[str, Any] = Field(default_factory=dict, description="Where events go; names are yours.")

    def tenants_of(self, target: str) -> tuple[str, ...]:
        """Names of the tenants whose events go to this target."""
        return tuple(name for name, tenant in self.tenants.items() if target in tenant.targets)
