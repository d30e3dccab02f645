"""Canonical keys → attributes of OCSF: candidates in order; the first one whose class has it is taken."""

from __future__ import annotations

from connectors.schemas.values import Convert, base_name, email, emails, hostname, integer, ip, port, text, texts

#: Key → groups of candidates; each group fills one attribute.
KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "message": (("message",),),
    "event.original": (("raw_data",),),
    "event.code": (("metadata.event_code",),),
    "severity.text": (("metadata.log_level",),),
    "tenant.id": (("metadata.tenant_uid",),),
    "trace.id": (("metadata.correlation_uid",),),
    "observer.product": (("metadata.product.name",),),
    "observer.vendor": (("metadata.product.vendor_name",),),
    "observer.version": (("metadata.product.version",),),
    "service.name": (("service.name", "app.name", "app_name"),),
    "service.target.name": (("app.name",),),
    "host.name": (("device.hostname",),),
    "host.ip": (("device.ip",),),
    "user.name": (("user.name", "actor.user.name"),),
    "user.id": (("user.uid", "actor.user.uid"),),
    "user.domain": (("user.domain", "actor.user.domain"),),
    "group.name": (("group.name",),),
    "group.id": (("group.uid",),),
    "role.name": (("privileges",),),
    "source.ip": (("src_endpoint.ip",),),
    "source.address": (("src_endpoint.name",),),
    "source.port": (("src_endpoint.port",),),
    "destination.ip": (("dst_endpoint.ip",),),
    "destination.address": (("dst_endpoint.name",),),
    "destination.port": (("dst_endpoint.port",),),
    "http.request.method": (("http_request.http_method",),),
    "http.response.status_code": (("http_response.code",),),
    "http.request.referrer": (("http_request.referrer",),),
    "url.full": (("http_request.url.url_string",),),
    "url.path": (("http_request.url.path",),),
    "url.query": (("http_request.url.query_string",),),
    "user_agent.original": (("http_request.user_agent",),),
    "dns.question.name": (("query.hostname",),),
    "dns.question.type": (("query.type",),),
    "email.from.address": (("email.from",),),
    "email.to.address": (("email.to",),),
    "email.subject": (("email.subject",),),
    "email.message_id": (("email.message_uid",),),
    "process.name": (("process.name", "actor.process.name"),),
    "process.pid": (("process.pid", "actor.process.pid"),),
    "process.command_line": (("process.cmd_line", "actor.process.cmd_line"),),
    "process.executable": (
        ("process.file.path", "actor.process.file.path"),
        ("process.file.name", "actor.process.file.name"),
    ),
    "process.parent.pid": (("process.parent_process.pid",),),
    "process.parent.name": (("process.parent_process.name",),),
    "process.parent.command_line": (("process.parent_process.cmd_line",),),
    "file.path": (("file.path", "module.file.path"), ("file.name", "module.file.name")),
    "file.size": (("file.size",),),
    "registry.path": (("reg_key.path",),),
    "job.name": (("job.name",),),
    "module.name": (("module.file.name",),),
    "api.operation": (("api.operation",),),
    "api.service.name": (("api.service.name",),),
    "rule.name": (("finding_info.title",),),
    "rule.id": (("finding_info.analytic.uid",),),
    "rule.description": (("finding_info.desc",),),
}
#: Keys that mean something else in events about an account.
ACCOUNT_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "user.target.name": (("user.name",),),
    "user.target.id": (("user.uid",),),
    "user.name": (("actor.user.name",),),
    "user.id": (("actor.user.uid",),),
    "user.domain": (("actor.user.domain",),),
}
#: A Process Activity tells of ``process``, done by the parent or else the user; an application's name is its own.
SERVICE_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {"service.name": (), "service.target.name": (("app.name",),)}

#: The methods that every version has; PATCH came with 1.7.
_METHODS = frozenset(("OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT"))


def http_method(value: object) -> str | None:
    """Return a method of the schema's list; others are told by the activity's name and stay unmapped."""
    return value if type(value) is str and value in _METHODS else None


#: How values are made to fit; all others are text.
CONVERT: dict[str, Convert] = {
    "device.hostname": hostname,
    "device.ip": ip,
    "src_endpoint.ip": ip,
    "dst_endpoint.ip": ip,
    "src_endpoint.port": port,
    "dst_endpoint.port": port,
    "http_request.http_method": http_method,
    "http_response.code": integer,
    "process.pid": integer,
    "actor.process.pid": integer,
    "process.parent_process.pid": integer,
    "process.file.name": base_name,
    "actor.process.file.name": base_name,
    "file.name": base_name,
    "module.file.name": base_name,
    "file.size": integer,
    "email.from": email,
    "email.to": emails,
    "privileges": texts,
    "query.hostname": hostname,
}


def convert_of(path: str) -> Convert:
    """Return what makes a value fit an attribute."""
    return CONVERT.get(path, text)


#: Constants within objects; they stand only where the object holds something of the event.
CONSTANTS: dict[str, object] = {
    "device.type_id": 0,
    "app.vendor_name": "unknown",
    "file.type_id": 0,
    "module.load_type_id": 0,
    "module.file.type_id": 0,
    "process.file.type_id": 0,
    "actor.process.file.type_id": 0,
    "finding_info.analytic.type_id": 1,
}
