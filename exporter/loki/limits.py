"""A tenant's limits in Loki (``GET /config/tenant/v1/limits``, YAML), or Loki's defaults where it does not tell.

Names and defaults: loki ``pkg/validation/limits.go``. Sizes are written like ``256KB`` (1024-based, loki
``pkg/util/flagext/bytesize.go``), durations like ``30d1h`` (prometheus ``model.Duration``) or ``1m0s``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import yaml

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|[smhdwy])")
_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0,
    "d": 86_400.0, "w": 604_800.0, "y": 31_536_000.0,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", re.IGNORECASE)
_SIZE_EXPONENT = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What bounds a reader. A length, lookback or retention of 0 means unlimited; so does ``max_line_size_bytes`` 0."""

    max_entries: int = 5000
    max_line_size_bytes: int = 262_144
    max_structured_metadata_size_bytes: int = 65_536
    max_label_names: int = 15
    max_label_name_bytes: int = 1024
    max_label_value_bytes: int = 2048
    max_query_lookback_seconds: float = 0.0
    max_query_length_seconds: float = 721 * 3600.0
    rejects_old_samples: bool = True
    max_age_seconds: float = 7 * 86_400.0  # older entries are refused, if rejects_old_samples
    retention_seconds: float = 0.0
    stream_retention_seconds: float = 0.0  # the shortest of retention_stream; 0: no such rule

    @property
    def shortest_retention_seconds(self) -> float:
        """How long Loki keeps every line at least; 0: for ever."""
        periods = [period for period in (self.retention_seconds, self.stream_retention_seconds) if period]
        return min(periods, default=0.0)

    @property
    def max_entry_bytes(self) -> int | None:
        """Upper bound of one entry inside an ingester's message (line, structured metadata and, at worst, labels of its
        own); ``None`` when Loki sets none.
        """
        if self.max_line_size_bytes <= 0:
            return None
        labels = self.max_label_names * (self.max_label_name_bytes + self.max_label_value_bytes)
        return self.max_line_size_bytes + self.max_structured_metadata_size_bytes + labels

    def safe_page(self, message_bytes: int) -> int:
        """Entries a page may ask for so that no ingester's message can pass its gRPC limit (finding 11); at least 1."""
        return max(1, (message_bytes - 1) // self.max_entry_bytes) if self.max_entry_bytes else 1

    def is_safe_page(self, entries: int, message_bytes: int) -> bool:
        """Tell whether a page of that many entries cannot hide an ingester."""
        return self.max_entry_bytes is not None and entries * self.max_entry_bytes < message_bytes


def parse_limits(text: str) -> TenantLimits:
    """Read Loki's answer. What is missing or unreadable keeps its default."""
    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except yaml.YAMLError:
        return TenantLimits()
    if not isinstance(document, dict):
        return TenantLimits()
    found: dict[str, Any] = {}
    for field, (key, read) in zip(fields(TenantLimits), _KEYS, strict=True):
        value = read(document.get(key))
        if value is not None:
            found[field.name] = value
    if found.get("max_entries", 1) <= 0:
        del found["max_entries"]  # 0 switches the limit off; ours stays, see LokiSettings.page_entries
    return TenantLimits(**found)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _size_bytes(value: object) -> int | None:
    match = _SIZE.fullmatch(str(value)) if isinstance(value, (int, str)) else None
    return None if match is None else int(float(match[1]) * 1024 ** _SIZE_EXPONENT[match[2].upper()])


def _duration_seconds(value: object) -> float | None:
    if value in {0, "0"}:
        return 0.0
    if not isinstance(value, str) or _DURATION_PART.sub("", value).strip():
        return None
    parts = _DURATION_PART.findall(value)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts) if parts else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _shortest_period(value: object) -> float | None:
    """Of ``retention_stream``: a list of rules with a ``period`` each."""
    rules = value if isinstance(value, list) else []
    periods = [_duration_seconds(rule.get("period")) for rule in rules if isinstance(rule, dict)]
    return min((period for period in periods if period), default=None)


#: In the order of TenantLimits' fields.
_KEYS: tuple[tuple[str, Callable[[object], float | None]], ...] = (
    ("max_entries_limit_per_query", _count),
    ("max_line_size", _size_bytes),
    ("max_structured_metadata_size", _size_bytes),
    ("max_label_names_per_series", _count),
    ("max_label_name_length", _count),
    ("max_label_value_length", _count),
    ("max_query_lookback", _duration_seconds),
    ("max_query_length", _duration_seconds),
    ("reject_old_samples", _flag),
    ("reject_old_samples_max_age", _duration_seconds),
    ("retention_period", _duration_seconds),
    ("retention_stream", _shortest_period),
)
