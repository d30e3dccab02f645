"""What a Loki is configured with, as far as a reader feels it. Names and defaults: loki ``pkg/validation/limits.go``,
``pkg/ingester/ingester.go``, ``pkg/querier/queryrange/limits/definitions.go``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from exporter.domain.windows import NS_PER_SECOND


@dataclass(slots=True)
class LokiLimits:
    """Limits of every tenant, and the switches that change what an answer looks like. A test may change them while the
    stand-in runs. A duration or rate of 0 switches the rule off.
    """

    max_entries_limit_per_query: int = 5000
    max_query_series: int = 500
    max_query_length_seconds: float = 721 * 3600.0
    max_query_lookback_seconds: float = 0.0
    max_line_size_bytes: int = 262_144
    max_label_names_per_series: int = 15
    reject_old_samples_max_age_seconds: float = 7 * 86_400.0
    creation_grace_period_seconds: float = 600.0
    #: An entry of a stream may be this far behind its newest one: half of ``max_chunk_age`` (ingester/stream.go).
    too_far_behind_seconds: float = 3600.0
    #: Ingesters are not asked for sub-queries that end before now minus this (querier/intervals.go).
    query_ingesters_within_seconds: float = 3 * 3600.0
    split_queries_by_interval_seconds: float = 3600.0
    retention_seconds: float = 0.0
    #: How long queriers go on showing entries after a delete request (they cache the list).
    delete_cache_seconds: float = 0.0
    #: Uncompressed bytes after which an ingester cuts a block; duplicates are recognised only inside one.
    block_bytes: int = 262_144
    #: ``grpc_server_max_send_msg_size`` of the ingester, and the querier's limit for a whole answer.
    ingester_message_bytes: int = 4_194_304
    max_response_bytes: int = 104_857_600
    #: A cell's answer above this is never told to the frontend: the connection is closed after ``query_timeout_seconds``
    #: without a status (``docs/loki-differences.md``, fact 1).
    frontend_message_bytes: int = 4_194_304
    query_timeout_seconds: float = 60.0
    #: What an ingester's message above the limit does in a cell: its lines vanish from a 200, or the query fails.
    message_overflow: Literal["vanishes", "fails"] = "vanishes"
    #: How long the frontend retries before such a failure is told: 16-18 s on a real one.
    overflow_error_seconds: float = 0.0
    tail_max_duration_seconds: float = 3600.0
    max_concurrent_tail_requests: int = 10
    #: Empty answers are remembered (``cache_results``) for windows that ended this long ago.
    cache_results: bool = False
    max_cache_freshness_seconds: float = 600.0
    #: Before 3.7 ``Cache-Control: no-cache`` was ignored for range queries; index/stats never obeys it.
    obey_no_cache: bool = True
    align_queries_with_step: bool = False
    #: ``sometimes``: every other answer, as behind a proxy pool with mixed settings.
    compress_responses: Literal["always", "sometimes", "never"] = "always"
    #: False: entries that differ only in metadata are one (before 3.7), the later ones are lost.
    metadata_distinguishes: bool = True
    discover_service_name: bool = False
    discover_log_levels: bool = False
    #: Above 1: streams get a ``__stream_shard__`` label, entries are dealt out in turn.
    stream_shards: int = 1
    #: Above 0: entries older than this get a ``__time_shard__`` label and escape the too-far-behind rule.
    time_shard_seconds: float = 0.0
    publish_limits: bool = True

    def as_yaml(self) -> str:
        """Return the answer of ``/config/tenant/v1/limits``: the keys that Loki publishes unless told otherwise, to which
        ``max_line_size`` does not belong (loki ``pkg/validation/limits.go`` ``DefaultTenantLimitsAllowPublish``; seen).
        """
        values = {
            "discover_log_levels": str(self.discover_log_levels).lower(),
            "max_entries_limit_per_query": self.max_entries_limit_per_query,
            "max_line_size_truncate": "false",
            "max_query_bytes_read": "0B",
            "max_query_length": _duration(self.max_query_length_seconds),
            "max_query_lookback": _duration(self.max_query_lookback_seconds),
            "max_query_range": "0s",
            "max_query_series": self.max_query_series,
            "query_timeout": "1m",
            "retention_period": _duration(self.retention_seconds),
            "volume_enabled": "true",
            "volume_max_series": 1000,
        }
        return "".join(f"{key}: {value}\n" for key, value in values.items())


def ns(seconds: float) -> int:
    """Seconds to nanoseconds."""
    return round(seconds * NS_PER_SECOND)


def _duration(seconds: float) -> str:
    """Write a duration as Prometheus does, down to milliseconds."""
    if seconds == 0:
        return "0s"
    text = ""
    rest = round(seconds * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text
