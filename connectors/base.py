"""The contract between the delivery engine and a connector: three verbs, one result, five errors.

A connector is the code that speaks one target's protocol. The engine calls

* ``open()`` once before the first batch, and for ``check --connect``: connect and prove credentials without writing an event;
* ``deliver(batch)`` with the records of one lane in order; never twice at the same time for one lane, but for several lanes
  at once. It returns only when the target has *stored* what the result calls stored. It must not keep the batch;
* ``close()`` once: flush and let go, within the deadline of the engine.

Errors, by what the engine does::

    TargetError
    ├── TargetUnavailable     whole batch again after ``retry_after_seconds`` or a back-off (outcome may be unknown)
    ├── TargetThrottled       the same, and lower the concurrency
    ├── TargetUnauthorized    pause the target, alarm, re-read the credentials, probe again
    ├── TargetMisconfigured   pause the target, alarm, probe again
    └── BatchTooLarge         halve the batch; a single record goes to the dead letters with its size

Messages of errors and rejections never contain event text or secrets.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from connectors import schemas
from connectors.schemas.ocsf.classes import VERSIONS

#: Partition of batches that hold dead letters sent again (``exporter.delivery.redrive``). Their offsets are the numbers of
#: the letters, so that a connector which skips what it has does not take them for events of the lane that are long past.
REDRIVE_PARTITION = -1


class Record(NamedTuple):
    """One event at its offset in the lane: ``value`` is what is to be stored, in the target's schema.

    ``canonical`` is the canonical event (see ``exporter.domain.events``), whose head tells id and time; None where that is
    the value itself (schema canonical).
    """

    offset: int
    key: bytes
    value: bytes
    canonical: bytes | None = None

    @property
    def head(self) -> bytes:
        """The canonical event, to read id and time from."""
        return self.value if self.canonical is None else self.canonical


def heads_of(records: Sequence[Record]) -> list[bytes]:
    """Return the canonical events of a batch's records, which are all of one schema."""
    if records and records[0].canonical is None:
        return [record.value for record in records]
    return [record.head for record in records]


@dataclass(frozen=True, slots=True, repr=False)
class Batch:
    """Records of one lane in offset order. ``(tenant, partition, first offset)`` names it across retries and restarts."""

    tenant: str
    partition: int
    records: Sequence[Record]
    size_bytes: int

    @property
    def first_offset(self) -> int:
        return self.records[0].offset

    @property
    def last_offset(self) -> int:
        return self.records[-1].offset

    def __repr__(self) -> str:
        return f"Batch({self.tenant!r}/{self.partition}, {len(self.records)} records, {self.size_bytes} bytes)"


@dataclass(frozen=True, slots=True)
class Rejection:
    """This record is refused for good. ``index`` counts within the batch.

    ``withheld``: its bytes must not be stored anywhere, so its dead letter has none; the event stays on the bus.
    """

    index: int
    code: str
    reason: str
    withheld: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What happened to a batch: every index that is neither in ``rejected`` nor in ``retry`` is stored.

    The engine dead-letters the rejected ones and hands the ``retry`` ones in again, in order, before anything that
    follows them. ``receipt`` is what the target said (ids, object keys, checksums), kept in the ledger.
    ``possible_duplicates`` counts records that the protocol forced to be sent twice.
    """

    rejected: tuple[Rejection, ...] = ()
    retry: tuple[int, ...] = ()
    receipt: Mapping[str, Any] = field(default_factory=dict)
    possible_duplicates: int = 0
    #: The target asks to slow down although it took the batch (HEC codes 24 and 25).
    slow_down: bool = False


class TargetError(Exception):
    """Base; see the module docstring."""

    def __init__(
        self, message: str, *, hint: str = "", code: str = "", retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.code = code or type(self).__name__
        self.retry_after_seconds = retry_after_seconds


class TargetUnavailable(TargetError):
    """Outage, time-out, 5xx."""


class TargetThrottled(TargetError):
    """429, 503 busy."""


class TargetUnauthorized(TargetError):
    """Credentials are refused."""


class TargetMisconfigured(TargetError):
    """The target's or our configuration is wrong for every batch."""


class BatchTooLarge(TargetError):
    """More bytes than the target takes in one call."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Facts of the implementation that the engine keeps to."""

    max_batch_bytes: int
    max_batch_records: int
    #: How many batches of different lanes may be under way at once.
    max_in_flight: int = 8
    #: Delivering the same batch again stores it once.
    idempotent: bool = False


class Connector(Protocol):
    """See the module docstring."""

    @property
    def capabilities(self) -> Capabilities: ...

    async def open(self) -> None: ...

    async def deliver(self, batch: Batch) -> DeliveryResult: ...

    async def close(self) -> None: ...


class Guard(Protocol):
    """The last look at what leaves, with the rules of one tenant. Built by ``app``; connectors never see it."""

    def hits(self, bodies: Sequence[bytes], canonical: Sequence[bytes]) -> list[int]:
        """Return the ascending places of the bodies that hold what the rules would have removed; ``canonical`` are the
        events that they were made from.
        """
        ...


# pydantic v1 left a class method ``schema`` behind, which the field may well hide.
warnings.filterwarnings("ignore", message='Field name "schema"', category=UserWarning)


class TargetSettings(BaseModel):
    """Keys that every target has; a connector derives its own settings from it. Unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    kind: str
    schema: schemas.Name = Field(  # type: ignore[assignment]
        default="canonical",
        description="What events look like there: canonical, ocsf, ecs (Elastic), cim (Splunk), asim (Microsoft), message (only the text), raw (the redacted line).",
    )
    schema_version: str | None = Field(
        default=None,
        description="Version of OCSF: 1.1.0, 1.3.0, 1.5.0 (default) or 1.7.0; other schemas have one version.",
    )
    batch_max_bytes: int | None = Field(
        default=None,
        gt=0,
        description="Upper bound of a batch in bytes of canonical events; default and ceiling: the connector's own.",
    )
    batch_max_records: int | None = Field(default=None, gt=0, description="Upper bound of a batch in records.")
    batch_linger_seconds: float = Field(default=0.5, ge=0, le=60, description="How long a batch may wait to fill.")
    retry_max_seconds: float = Field(default=60.0, gt=0, description="Longest pause between two tries.")
    max_dead_letter_ratio: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of refused events in the last 1,000 above which the target is paused instead of emptied into the dead letters.",
    )

    @model_validator(mode="after")
    def _known_version(self) -> Self:
        if self.schema_version is None:
            return self
        if self.schema != "ocsf":
            raise ValueError(f"schema_version is for schema ocsf, but schema is {self.schema}; remove schema_version")
        if self.schema_version not in VERSIONS:
            raise ValueError(f"schema_version is none that can be written; choose one of {', '.join(VERSIONS)}")
        return self


@dataclass(frozen=True, slots=True)
class ConnectorContext:
    """What a factory gets besides its settings."""

    target: str
    #: Directory of the exporter's state that belongs to this target (exists); for connectors that keep positions.
    state_dir: str
    #: Names shown to the peer.
    user_agent: str = "loki-siem-exporter"


@dataclass(frozen=True, slots=True)
class ConnectorFactory:
    """What a connector registers: its kind, its settings model, and how to build it.

    Outside packages register one under the entry point group ``loki_siem.connectors``.
    """

    GROUP: ClassVar[str] = "loki_siem.connectors"

    kind: str
    settings: type[TargetSettings]
    build: Callable[[Any, ConnectorContext], Connector]
