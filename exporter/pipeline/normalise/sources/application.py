"""Application logs: Log4j, logback, serilog, zap, zerolog, pino, bunyan, structlog, GELF, OTLP.

Sources: the loggers' own documentation of their JSON layouts; GELF 1.1 (Graylog documentation); OpenTelemetry logs data model.
"""

from __future__ import annotations

from exporter.pipeline.normalise.severity import SYSLOG_WORDS
from exporter.pipeline.normalise.source import Derive, Source, keys
from exporter.pipeline.normalise.sources.packed import open_otlp

#: What the names say that programs commonly use, and no more.
APPLICATION = Source("application", "programs that log JSON, logfmt or other key=value lines", generic=True)

_SERILOG = Source(
    "serilog",
    "Serilog's compact JSON (CLEF)",
    # serilog-formatting-compact: @t time, @m message, @mt template, @l level (absent: Information), @x exception.
    {"message": "@m @mt", "severity.text": "@l", "error.stack_trace": "@x", "trace.id": "@tr", "span.id": "@sp", "event.code": "@i",
     "log.logger": "SourceContext"},
    keys("@t @m", "@t @mt"),
    absent=(("severity.text", "severity.text", "Information"),),
    generic=True,
)  # fmt: skip
_LOG4J = Source(
    "log4j",
    "Log4j 2 JsonLayout",
    {"log.logger": "loggerName", "process.thread.name": "thread", "error.type": "thrown.name", "error.message": "thrown.message",
     "error.stack_trace": "thrown.extendedStackTrace", "log.origin.file.name": "source.file", "log.origin.file.line": "source.line",
     "log.origin.function": "source.method"},
    keys("loggerName level thread", "loggerName level instant"),
    generic=True,
)  # fmt: skip
_BUNYAN = Source(
    "bunyan", "bunyan (Node.js)", {"service.name": "name"}, keys("name hostname pid level msg v"), generic=True
)
_GELF = Source(
    "gelf",
    "Graylog Extended Log Format 1.1",
    {"message": "short_message", "host.name": "host", "log.syslog.severity.code": "level", "log.origin.file.name": "file _file",
     "log.origin.file.line": "line _line", "log.logger": "facility _logger _LoggerName", "error.stack_trace": "_stack_trace",
     "user.name": "_user _username _user_name", "source.ip": "_src_ip _client_ip _remote_addr", "service.name": "_app _service _application_name",
     "http.request.method": "_method _http_method _request_method", "http.response.status_code": "_status _http_status",
     "url.path": "_path _http_path", "trace.id": "_trace_id _traceId", "span.id": "_span_id _spanId", "process.thread.name": "_thread_name",
     "container.id": "_container_id", "container.name": "_container_name", "event.request_id": "_request_id"},
    keys("version host short_message"),
    derive=(Derive("log.syslog.severity.code", "severity.text", SYSLOG_WORDS.get),),
)  # fmt: skip
_OTLP = Source(
    "otlp",
    "a log record of OTLP as JSON, the attributes as an object",
    {"message": "body.stringValue body.string body Body", "severity.text": "severityText SeverityText severity", "severity.number": "severityNumber SeverityNumber",
     "trace.id": "traceId TraceId", "span.id": "spanId SpanId", "observed_time": "observedTimeUnixNano"},
    generic=True,
)  # fmt: skip
_OTLP_PACKED = Source(
    "otlp_packed",
    "the same as collectors write it: attributes as a list, the resource's beside them",
    signatures=keys(
        "body attributes severity",
        "body attributes traceid",
        "body resources",
        "severityText body",
        "severityNumber body",
        "timeUnixNano body",
        "SeverityText Body",
    ),
    prepare=open_otlp,
)

SOURCES = (_SERILOG, _LOG4J, _BUNYAN, _GELF, _OTLP, _OTLP_PACKED, APPLICATION)
