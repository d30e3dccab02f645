"""Settings of ``filters`` and ``tests`` of a tenant, read by ``exporter.pipeline.filters`` and ``exporter.pipeline.checks``.

Only the form is declared here; what needs the vocabulary of events (names of fields, patterns, lookup files) is checked when
the filters are compiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

#: What a filter may be called: it becomes a metric's label and stands in the ledger.
FILTER_NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Scalar = str | int | FiniteFloat | bool


class _Model(BaseModel):
    """As ``exporter.settings.model.Model``, which imports this module."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Condition(_Model):
    """What has to hold: ``field`` or ``label`` with exactly one operator, or one of ``all``, ``any``, ``none``.

    A name that an event does not have fulfils nothing but ``exists: false``.
    """

    field: str | None = Field(
        default=None, description="Name of a field of the event, such as url.path, or unmapped.NAME.", min_length=1
    )
    label: str | None = Field(
        default=None, description="Name of a stream label; decided once per stream, so it is cheap.", min_length=1
    )
    equals: Scalar | None = Field(default=None, description="The value is this one.")
    one_of: tuple[Scalar, ...] | None = Field(default=None, description="The value is one of these.", min_length=1)
    matches: str | None = Field(
        default=None,
        description="The pattern occurs in the first 8192 bytes of the value (Vectorscan's dialect: no references back, no looking around).",
        min_length=1,
    )
    starts_with: str | None = Field(default=None, description="The value begins with this text.", min_length=1)
    ends_with: str | None = Field(default=None, description="The value ends with this text.", min_length=1)
    contains: str | None = Field(default=None, description="The value holds this text.", min_length=1)
    in_network: tuple[str, ...] | None = Field(
        default=None, description="The value is an IP address in one of these networks.", min_length=1
    )
    exists: bool | None = Field(default=None, description="The name is there (true) or not (false).")
    at_least: FiniteFloat | None = Field(default=None, description="The value is a number of at least this.")
    above: FiniteFloat | None = Field(default=None, description="The value is a number above this.")
    at_most: FiniteFloat | None = Field(default=None, description="The value is a number of at most this.")
    below: FiniteFloat | None = Field(default=None, description="The value is a number below this.")
    all: tuple[Condition, ...] | None = Field(default=None, description="All of these hold.", min_length=1)
    any: tuple[Condition, ...] | None = Field(default=None, description="At least one of these holds.", min_length=1)
    none: tuple[Condition, ...] | None = Field(default=None, description="None of these holds.", min_length=1)


class Lookup(_Model):
    """A table that adds fields to events."""

    file: Path = Field(
        description="CSV file with a header line; the names of its columns are the names of the fields. Read again when it changes."
    )
    column: str = Field(description="The column that is compared with the event.", min_length=1)
    field: str | None = Field(default=None, description="Field of the event that the column is compared with.")
    label: str | None = Field(default=None, description="Label of the stream that the column is compared with.")


class Filter(_Model):
    """One step. Steps are taken in order; ``drop`` and ``keep`` end the way of an event through them."""

    name: str | None = Field(
        default=None,
        description="Name in metrics, ledger and explanations; default: filter-N.",
        pattern=FILTER_NAME_PATTERN,
    )
    when: Condition | None = Field(default=None, description="Which events; default: all that come so far.")
    then: Literal["keep", "drop", "sample", "cap", "enrich"] = Field(description="What happens to them.")
    share: FiniteFloat | None = Field(
        default=None, ge=0, le=1, description="sample: the part that is kept, from 0 to 1, chosen by event id."
    )
    per_second: int | None = Field(
        default=None, ge=1, le=100_000, description="cap: events of a stream that are kept per second of event time."
    )
    add: Mapping[str, Scalar] | None = Field(default=None, description="enrich: fields with fixed values.")
    lookup: Lookup | None = Field(default=None, description="enrich: fields from a table.")


class Expectation(_Model):
    """What a test expects of its event."""

    outcome: Literal["kept", "dropped"] = Field(default="kept", description="What the filters make of the event.")
    fields: Mapping[str, Scalar] = Field(
        default={}, description="Fields of the event and their values; unmapped.NAME and loki.labels.NAME too."
    )
    absent: tuple[str, ...] = Field(default=(), description="Texts that stand nowhere in the event.")


class PolicyTest(_Model):
    """An example of a line, and what has to become of it. Run by ``check``, ``policy test`` and at every start."""

    name: str = Field(description="Name in reports.", min_length=1, max_length=100)
    line: str = Field(description="The line as it stands in Loki. Use made-up values, never real ones.")
    labels: Mapping[str, str] = Field(default={}, description="Labels of its stream.")
    expect: Expectation = Field(description="What has to become of it.")
