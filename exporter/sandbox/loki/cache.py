"""Loki's result caches, whose stale answers hide late lines (finding 6): empty answers of filtered log queries, values of
metric range queries, index statistics. Off unless ``LokiLimits.cache_results``.

Sources: loki ``pkg/querier/queryrange/log_result_cache.go``, ``roundtrip.go``.
"""

from __future__ import annotations

from typing import Any

from exporter.sandbox.loki.limits import LokiLimits, ns


class ResultCache:
    """Everything is keyed by tenant and the query's text, so a nonce matcher defeats it."""

    def __init__(self, limits: LokiLimits) -> None:
        self._limits = limits
        self._empty: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self._points: dict[tuple[str, str, int, int], int] = {}
        self._stats: dict[tuple[str, str, int, int], dict[str, Any]] = {}

    def is_fresh(self, end_ns: int, now_ns: int) -> bool:
        """Tell whether a window is too young to be cached, or caching is off."""
        return not self._limits.cache_results or end_ns > now_ns - ns(self._limits.max_cache_freshness_seconds)

    def known_empty(self, tenant: str, text: str, start_ns: int, end_ns: int) -> bool:
        """Tell whether the window lies in one that was answered empty before."""
        return any(low <= start_ns and end_ns <= high for low, high in self._empty.get((tenant, text), ()))

    def remember_empty(self, tenant: str, text: str, start_ns: int, end_ns: int) -> None:
        """Keep an empty answer."""
        self._empty.setdefault((tenant, text), []).append((start_ns, end_ns))

    def point(self, tenant: str, text: str, step_ns: int, time_ns: int) -> int | None:
        """Return the value of a metric query at one step."""
        return self._points.get((tenant, text, step_ns, time_ns))

    def remember_point(self, tenant: str, text: str, step_ns: int, time_ns: int, value: int) -> None:
        """Keep a value, zero too."""
        self._points[tenant, text, step_ns, time_ns] = value

    def stats(self, tenant: str, text: str, start_ns: int, end_ns: int) -> dict[str, Any] | None:
        """Return index statistics answered before."""
        return self._stats.get((tenant, text, start_ns, end_ns))

    def remember_stats(self, tenant: str, text: str, start_ns: int, end_ns: int, answer: dict[str, Any]) -> None:
        """Keep index statistics."""
        self._stats[tenant, text, start_ns, end_ns] = answer
