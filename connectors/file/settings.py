"""What can be configured of a file target."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict, Field

from connectors.base import TargetSettings


class FileSettings(TargetSettings):
    """A directory on this machine. While it is written a file ends in ``.ndjson.part``; follow it with ``tail -F``, its
    last line may be incomplete. Once it is full, old or the service stops, it is renamed to ``.ndjson`` and never
    changes again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    directory: Path = Field(description="Where the files go: <tenant>/<tenant>-<partition>-<first offset>.ndjson.")
    rotate_bytes: int = Field(
        default=268_435_456, ge=1_000, description="A file of this size is finished and a new one begun."
    )
    rotate_seconds: float = Field(
        default=3600.0, ge=1, description="A file this long after its first event is finished, also without new events."
    )
    retain_days: int | None = Field(
        default=None,
        ge=1,
        description="Finished files go this many days after their last event; without it they stay. Each lane keeps its newest file.",
    )
    retain_bytes: int | None = Field(
        default=None,
        ge=1_000_000,
        description="Above this many bytes of finished files in all, the oldest go. Each lane keeps its newest file.",
    )
