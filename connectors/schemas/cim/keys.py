"""Canonical keys → CIM fields (help.splunk.com, Common Information Model, fields of each data model).

``MODEL_KEYS`` holds what a model calls otherwise. Keys without a row keep their canonical names.
"""

from __future__ import annotations

from connectors.schemas.values import Convert, base_name, integer, port, text

KEYS: dict[str, tuple[str, ...]] = {
    "message": ("message",),
    "tenant.id": ("tenant_id",),
    "data.class": ("data_class",),
    "policy.id": ("policy_id",),
    "severity.text": ("log_level",),
    "host.name": ("dvc",),
    "service.name": ("app",),
    "service.target.name": ("service",),
    "user.name": ("user",),
    "user.id": ("user_id",),
    "user.target.name": ("user",),
    "user.target.id": ("user_id",),
    "user.domain": ("user_domain",),
    "group.name": ("object",),
    "role.name": ("object_attrs",),
    "source.ip": ("src", "src_ip"),
    "source.address": ("src",),
    "source.port": ("src_port",),
    "source.mac": ("src_mac",),
    "source.bytes": ("bytes_out",),
    "destination.ip": ("dest", "dest_ip"),
    "destination.address": ("dest",),
    "destination.port": ("dest_port",),
    "destination.bytes": ("bytes_in",),
    "network.transport": ("transport",),
    "network.protocol": ("protocol",),
    "network.direction": ("direction",),
    "http.request.method": ("http_method",),
    "http.response.status_code": ("status",),
    "http.request.referrer": ("http_referrer",),
    "url.full": ("url",),
    "url.path": ("uri_path",),
    "url.query": ("uri_query",),
    "user_agent.original": ("http_user_agent",),
    "dns.question.name": ("query",),
    "dns.question.type": ("record_type",),
    "dns.response_code": ("reply_code",),
    "email.from.address": ("src_user",),
    "email.to.address": ("recipient",),
    "email.subject": ("subject",),
    "email.message_id": ("message_id",),
    "process.name": ("process_name",),
    "process.pid": ("process_id",),
    "process.executable": ("process_path",),
    "process.command_line": ("process",),
    "process.parent.name": ("parent_process_name",),
    "process.parent.pid": ("parent_process_id",),
    "process.parent.command_line": ("parent_process",),
    "file.path": ("file_path", "file_name"),
    "file.size": ("file_size",),
    "file.hash.sha256": ("file_hash",),
    "registry.path": ("registry_path",),
    "api.operation": ("command",),
    "rule.name": ("signature",),
    "rule.id": ("signature_id",),
    "rule.description": ("description",),
    "error.message": ("error",),
}
MODEL_KEYS: dict[str, dict[str, tuple[str, ...]]] = {
    "Authentication": {"user.name": ("user",), "user.target.name": ("user",), "host.name": ("dest", "dvc")},
    "Change": {"user.name": ("src_user", "user"), "user.target.name": ("user", "object"), "host.name": ("dest", "dvc")},
    "Endpoint.Processes": {"host.name": ("dest", "dvc")},
    "Endpoint.Filesystem": {"host.name": ("dest", "dvc")},
    "Endpoint.Registry": {"host.name": ("dest", "dvc")},
    "Endpoint.Services": {"host.name": ("dest", "dvc"), "service.name": ("service",)},
    "Alerts": {"service.name": ("app",), "host.name": ("dest", "dvc")},
}
CONVERT: dict[str, Convert] = {
    "src_port": port,
    "dest_port": port,
    "status": integer,
    "bytes_in": integer,
    "bytes_out": integer,
    "process_id": integer,
    "parent_process_id": integer,
    "file_size": integer,
    "file_name": base_name,
}
#: Which of two keys gives a field that both could: the earlier one.
FIRST = ("user.target.name", "user.target.id", "destination.ip", "destination.address", "service.target.name")


def convert_of(field: str) -> Convert:
    """Return what makes a value fit a field."""
    return CONVERT.get(field, text)
