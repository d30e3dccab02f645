"""What programs commonly call things: the vocabulary of application logs in JSON and logfmt, of labels and metadata.

Canonical name → names, most telling first (the first that is there wins). Every canonical name is also its own.
"""

from __future__ import annotations

from exporter.domain.keys import KEYS

FIELD_NAMES: dict[str, str] = {
    "message": "message msg @message body short_message",
    "severity.text": "severity.text severity_text severity level log.level log_level loglevel lvl levelname detected_level",
    "log.logger": "log.logger logger loggerName logger_name logger.name",
    "log.origin.file.name": "log.origin.file.name filename source_file",
    "log.origin.file.line": "log.origin.file.line lineno line_number",
    "log.origin.function": "log.origin.function funcName",
    "service.name": "service.name service_name service app application",
    "service.version": "service.version service_version",
    "service.environment": "service.environment environment env",
    "host.name": "host.name hostname host",
    "user.name": "user.name user_name username user",
    "user.id": "user.id user_id userid uid",
    "user.email": "user.email user_email",
    "session.id": "session.id session_id sessionId",
    "source.ip": "source.ip src_ip client_ip clientip source_ip remote_addr remote_ip client.ip client.address src.ip",
    "source.port": "source.port src_port client_port remote_port source_port client.port",
    "destination.ip": "destination.ip dst_ip dest_ip destination_ip dst.ip server.address",
    "destination.port": "destination.port dst_port dest_port destination_port server.port",
    "http.request.method": "http.request.method http.method http_method request_method req.method request.method method",
    "http.response.status_code": (
        "http.response.status_code http.status_code http.status http_status status_code response.status res.statusCode "
        "response.status_code statusCode status"
    ),
    "http.request.header.referer": "http.request.header.referer http.request.referrer http_referer http_referrer referer referrer",
    "event.request_id": "event.request_id request_id requestId x_request_id http.request.id req.id",
    "url.path": "url.path http.path http.target uri_path request_path req.path request.path path",
    "url.query": "url.query http.query query_string",
    "url.full": "url.full http.url request_url req.url request.url url uri",
    "user_agent.original": "user_agent.original http.user_agent user_agent useragent http_user_agent userAgent",
    "process.pid": "process.pid process_id pid",
    "process.name": "process.name process_name",
    "process.executable": "process.executable exe",
    "process.command_line": "process.command_line command_line cmdline",
    "process.thread.name": "process.thread.name thread_name threadName",
    "file.path": "file.path file_path",
    "error.type": "error.type exception.type exception_type exception.class exc_type err.type error.kind error.class err.name error.name",
    "error.message": "error.message exception.message exception_message err.message error err errorMessage",
    "error.stack_trace": (
        "error.stack_trace exception.stacktrace exception_stacktrace stack_trace stacktrace err.stack error.stack exc_info "
        "exception.stack_trace stack exception traceback"
    ),
    "error.code": "error.code err.code error_code",
    "trace.id": "trace.id trace_id traceId traceID traceid dd.trace_id",
    "span.id": "span.id span_id spanId spanID spanid dd.span_id",
    "event.outcome": "event.outcome outcome",
    "event.action": "event.action",
}
#: Labels and structured metadata: Prometheus' names, OpenTelemetry's as Loki writes them (``_`` for ``.``), Loki's own.
LABEL_NAMES: dict[str, str] = {
    "service.name": "service_name service app app_kubernetes_io_name",
    "host.name": "host hostname host_name",
    "severity.text": "severity_text level severity detected_level",
    "severity.number": "severity_number",
    "k8s.namespace.name": "k8s_namespace_name namespace",
    "k8s.pod.name": "k8s_pod_name pod",
    "k8s.container.name": "k8s_container_name container",
    "k8s.node.name": "k8s_node_name node_name",
    "k8s.deployment.name": "k8s_deployment_name deployment",
    "k8s.cluster.name": "k8s_cluster_name cluster",
    "log.logger": "scope_name logger",
    "log.file.path": "filename log_file_path",
    "observed_time": "observed_timestamp",
    "error.type": "exception_type",
    "error.message": "exception_message",
    "error.stack_trace": "exception_stacktrace",
    "source.ip": "client_address",
    "destination.ip": "server_address",
    "service.environment": "deployment_environment_name deployment_environment",
    "trace.id": "trace_id traceID",
    "span.id": "span_id spanID",
    "user.id": "user_id",
}


def by_name(table: dict[str, str]) -> dict[str, tuple[int, str]]:
    """Return name → rank and canonical name."""
    return {name: (rank, target) for target, names in table.items() for rank, name in enumerate(names.split())}


#: A canonical name that no row above names is itself of the first rank.
FIELD_ALIASES: dict[str, tuple[int, str]] = {name: (0, name) for name in KEYS} | by_name(FIELD_NAMES)
LABEL_ALIASES: dict[str, tuple[int, str]] = {
    name.replace(".", "_"): (9, name) for name in KEYS if "." in name and name != "trace.url"
} | by_name(LABEL_NAMES)
#: What Loki's own detection writes where it found no level; it tells nothing.
NO_LEVEL = "unknown"
