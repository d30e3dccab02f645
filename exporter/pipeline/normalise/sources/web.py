"""JSON access logs of proxies: Traefik, Caddy, Envoy, HAProxy and nginx with a ``log_format`` of ``escape=json``.

Sources: doc.traefik.io, "Access logs"; caddyserver.com, "log"; envoyproxy.io, "Access logging"; nginx.org,
"ngx_http_core_module: embedded variables"; docs.haproxy.org, "Log format". nginx' and Envoy's names are what an administrator
writes; the ones here are those of the variables themselves.
"""

from __future__ import annotations

from exporter.pipeline.normalise.source import Source, keys

_TRAEFIK = Source(
    "traefik",
    "Traefik's access log",
    {"source.ip": "ClientHost ClientAddr", "source.port": "ClientPort", "user.name": "ClientUsername", "http.request.method": "RequestMethod",
     "url.full": "RequestPath", "url.domain": "RequestHost", "url.scheme": "RequestScheme", "network.protocol.version": "RequestProtocol",
     "http.response.status_code": "DownstreamStatus OriginStatus", "http.response.body.size": "DownstreamContentSize OriginContentSize",
     "http.request.body.size": "RequestContentSize", "service.name": "ServiceName", "event.duration": "Duration", "user_agent.original": "request_User-Agent",
     "http.request.header.referer": "request_Referer", "tls.protocol.version": "TLSVersion", "tls.cipher": "TLSCipher", "trace.id": "TraceId", "span.id": "SpanId",
     "destination.ip": "ServiceAddr", "rule.name": "RouterName"},
    keys("ClientHost RequestMethod", "ClientAddr RequestMethod", "RequestMethod DownstreamStatus"),
    {"observer.product": "Traefik"},
    generic=True,
)  # fmt: skip
_CADDY = Source(
    "caddy",
    "Caddy's access log",
    {"source.ip": "request.client_ip request.remote_ip request.remote_addr", "source.port": "request.remote_port", "http.request.method": "request.method",
     "url.full": "request.uri", "url.domain": "request.host", "network.protocol.version": "request.proto", "http.response.status_code": "status",
     "http.response.body.size": "size", "http.request.body.size": "bytes_read", "event.duration": "duration", "user.name": "user_id",
     "user_agent.original": "request.headers.User-Agent[0]", "http.request.header.referer": "request.headers.Referer[0]",
     "tls.server.name": "request.tls.server_name"},
    keys("request status size", "request status resp_headers"),
    {"observer.product": "Caddy"},
    generic=True,
)  # fmt: skip
_ENVOY = Source(
    "envoy",
    "Envoy's and Istio's access log",
    {"source.ip": "downstream_remote_address downstream_direct_remote_address", "http.request.method": "method", "url.full": "path x_envoy_original_path",
     "url.domain": "authority", "network.protocol.version": "protocol", "http.response.status_code": "response_code", "event.reason": "response_code_details",
     "event.action": "response_flags", "http.response.body.size": "bytes_sent", "http.request.body.size": "bytes_received", "event.duration": "duration",
     "user_agent.original": "user_agent", "event.request_id": "request_id", "destination.ip": "upstream_host", "service.target.name": "upstream_cluster",
     "tls.server.name": "requested_server_name", "rule.name": "route_name"},
    keys("response_code response_flags", "response_code downstream_remote_address", "response_code upstream_cluster"),
    {"observer.product": "Envoy"},
    generic=True,
)  # fmt: skip
_HAPROXY = Source(
    "haproxy",
    "HAProxy's HTTP log as JSON",
    {"source.ip": "client_ip client_address", "source.port": "client_port", "http.request.method": "http_method method", "url.full": "http_uri uri path",
     "http.response.status_code": "status_code status", "service.name": "frontend_name frontend", "service.target.name": "backend_name backend",
     "http.response.body.size": "bytes_read", "event.action": "termination_state"},
    keys("frontend_name backend_name", "frontend backend status", "frontend backend status_code"),
    {"observer.product": "HAProxy"},
    generic=True,
)  # fmt: skip
_NGINX = Source(
    "nginx",
    "nginx access logs as JSON, named after nginx' variables",
    {"source.ip": "remote_addr", "source.port": "remote_port", "user.name": "remote_user", "http.request.method": "request_method", "url.path": "uri",
        "url.full": "request_uri",
     "url.query": "args query_string", "url.domain": "http_host host", "url.scheme": "scheme", "http.response.status_code": "status",
     "http.response.body.size": "body_bytes_sent bytes_sent", "http.request.body.size": "request_length", "event.duration": "request_time",
     "user_agent.original": "http_user_agent", "http.request.header.referer": "http_referer http_referrer", "event.request_id": "request_id",
     "network.protocol.version": "server_protocol", "tls.protocol.version": "ssl_protocol", "tls.cipher": "ssl_cipher", "destination.ip": "server_addr upstream_addr",
     "destination.port": "server_port", "message": "request"},
    keys("remote_addr request_method status", "remote_addr request status", "remote_addr body_bytes_sent"),
    {"observer.product": "nginx"},
    generic=True,
)  # fmt: skip

SOURCES = (_TRAEFIK, _CADDY, _ENVOY, _HAPROXY, _NGINX)
