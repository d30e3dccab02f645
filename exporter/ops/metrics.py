"""Every metric of the service, in one place: what it says and what to do about it.

Labels are bounded: tenants and targets of the configuration, fixed reasons. Time is exposed as timestamps, not ages: an
age stops growing when the process hangs. Gauges are summed or taken as newest over the processes of one ``run``
(prometheus-client's multiprocess mode), as each says.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# --- reading Loki -----------------------------------------------------------------------------------------------------
LOKI_REQUESTS = Counter(
    "loki_siem_loki_requests_total",
    "Requests to Loki by kind and outcome (ok, or the error class).",
    ["tenant", "kind", "outcome"],
)
LOKI_REQUEST_SECONDS = Histogram(
    "loki_siem_loki_request_duration_seconds",
    "Duration of requests to Loki.",
    ["kind"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60),
)
LOKI_ENTRIES = Counter(
    "loki_siem_loki_entries_total",
    "Unique entries read from Loki (late: found after their window was read once).",
    ["tenant", "late"],
)
LOKI_PAGE_REFUSED = Counter(
    "loki_siem_loki_pages_refused_total",
    "Pages not accepted as whole, by reason; each was read again in smaller parts.",
    ["tenant", "reason"],
)
FRONTIER = Gauge(
    "loki_siem_frontier_timestamp_seconds",
    "Everything before this time was read once and is on the bus.",
    ["tenant"],
    multiprocess_mode="mostrecent",
)
SEALED_FRONTIER = Gauge(
    "loki_siem_sealed_frontier_timestamp_seconds",
    "Everything before this time is on the bus and proven complete.",
    ["tenant"],
    multiprocess_mode="mostrecent",
)
PASS_HOURS = Counter(
    "loki_siem_pass_hours_total",
    "Hours of history looked at again, by pass and outcome (unchanged, or read: parts of it were read again).",
    ["tenant", "pass", "outcome"],
)
PASS_FOUND = Counter(
    "loki_siem_pass_found_total",
    "Late lines that a pass over history found.",
    ["tenant", "pass"],
)
TROUBLED_WINDOWS = Gauge(
    "loki_siem_troubled_windows",
    "Windows that are suspect, blocked or hold back events; see `loki-siem status`.",
    ["tenant", "state"],
    multiprocess_mode="mostrecent",
)
TENANT_STOPPED = Gauge(
    "loki_siem_tenant_stopped",
    "1 while a tenant cannot be read without a human (credentials, disabled queries).",
    ["tenant"],
    multiprocess_mode="mostrecent",
)

# --- pipeline ---------------------------------------------------------------------------------------------------------
EVENTS = Counter(
    "loki_siem_events_total",
    "Events by outcome: out (on the bus), held (not safely redactable).",
    ["tenant", "outcome"],
)
EVENT_BYTES = Counter("loki_siem_event_bytes_total", "Bytes of canonical events committed to the bus.", ["tenant"])
REDACTIONS = Counter("loki_siem_redactions_total", "Spans redacted, by rule.", ["tenant", "rule"])
PSEUDONYMS_UNAVAILABLE = Gauge(
    "loki_siem_pseudonyms_unavailable",
    "1 while a tenant waits for its store of pseudonyms; nothing is lost, nothing goes on.",
    ["tenant"],
    multiprocess_mode="mostrecent",
)
PARSE_DECLINED = Counter("loki_siem_parse_declined_total", "Lines no parser took; they left as kind log.", ["tenant"])
FILTERED = Counter(
    "loki_siem_filtered_events_total",
    "Events that a filter of the tenant took out, by the filter's name.",
    ["tenant", "filter"],
)
LOOKUP_FAULTS = Counter(
    "loki_siem_lookup_faults_total",
    "A changed lookup file could not be used; the content before is in use still. Mend the file.",
    ["tenant", "filter"],
)
EXIT_SCAN_HITS = Counter(
    "loki_siem_exit_scan_hits_total",
    "Encoded events in which the exit scan found something: a mapping fault; the event was held.",
    ["tenant"],
)

# --- bus --------------------------------------------------------------------------------------------------------------
COMMITS = Counter(
    "loki_siem_commits_total", "Transactions by outcome: committed, aborted, fenced, unavailable.", ["outcome"]
)
COMMIT_SECONDS = Histogram(
    "loki_siem_commit_duration_seconds",
    "Duration of one transaction.",
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
BUS_LOST = Counter(
    "loki_siem_bus_lost_records_total",
    "Positions that the bus's retention removed before a target took them: raise the retention and replay the gap.",
    ["target", "tenant"],
)
LEDGER_BREAKS = Gauge(
    "loki_siem_ledger_breaks",
    "Breaks of a ledger chain found when its shard or target started: run `loki-siem ledger verify`.",
    ["chain"],
    multiprocess_mode="mostrecent",
)
SHARDS_OWNED = Gauge("loki_siem_shards_owned", "Shards this run owns.", multiprocess_mode="livesum")

# --- delivery ---------------------------------------------------------------------------------------------------------
DELIVERIES = Counter(
    "loki_siem_deliveries_total", "Delivery calls by outcome (ok, partial, or the error class).", ["target", "outcome"]
)
DELIVERED_EVENTS = Counter("loki_siem_delivered_events_total", "Events stored by the target.", ["target", "tenant"])
DELIVERED_BYTES = Counter(
    "loki_siem_delivered_bytes_total", "Bytes of canonical events stored by the target.", ["target", "tenant"]
)
DELIVERY_SECONDS = Histogram(
    "loki_siem_delivery_duration_seconds",
    "Duration of one delivery call.",
    ["target"],
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60),
)
END_TO_END_SECONDS = Histogram(
    "loki_siem_end_to_end_latency_seconds",
    "From bus append to stored by the target.",
    ["target"],
    buckets=(0.1, 0.3, 0.5, 1, 2, 3, 5, 10, 30, 100, 300),
)
DELIVERY_LAG = Gauge(
    "loki_siem_delivery_lag_records",
    "Records on the bus that the target has not stored yet.",
    ["target"],
    multiprocess_mode="livesum",
)
DEAD_LETTERS = Counter(
    "loki_siem_dead_letters_total", "Events that a target refused for good, by its code.", ["target", "code"]
)
BREAKER_STATE = Gauge(
    "loki_siem_breaker_state", "0 closed, 1 half open, 2 open.", ["target", "failure"], multiprocess_mode="max"
)
CONCURRENCY = Gauge(
    "loki_siem_delivery_concurrency",
    "Deliveries a target may have under way at present.",
    ["target"],
    multiprocess_mode="livesum",
)
POSSIBLE_DUPLICATES = Counter(
    "loki_siem_possible_duplicates_total",
    "Events that had to be sent again with unknown outcome of the first try.",
    ["target"],
)
HELD_BYTES = Gauge("loki_siem_buffered_bytes", "Log data held in memory.", ["stage"], multiprocess_mode="livesum")
