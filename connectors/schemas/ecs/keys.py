"""Canonical keys → ECS fields. Most have the same name: the canonical event took them from ECS and OpenTelemetry."""

from __future__ import annotations

from connectors.schemas.values import Convert, base_name, integer, ip, port, text

_SAME = (
    "message", "event.action", "event.code", "event.original", "event.provider", "event.reason", "event.module",
    "event.dataset", "error.message", "error.type", "service.name", "service.version", "user.id", "user.name",
    "user.domain", "user.email", "group.id", "group.name", "source.ip", "source.address", "source.port", "source.mac",
    "source.domain", "source.bytes", "destination.ip", "destination.address", "destination.port", "destination.mac",
    "destination.domain", "destination.bytes", "network.protocol", "network.transport", "network.direction",
    "http.request.method", "http.request.referrer", "http.request.id", "http.response.status_code", "http.version",
    "http.request.body.bytes", "http.response.body.bytes", "url.full", "url.path", "url.query", "url.domain",
    "url.scheme", "user_agent.original", "dns.question.name", "dns.question.type", "dns.response_code",
    "email.subject", "email.message_id", "process.pid", "process.name", "process.executable", "process.command_line",
    "process.exit_code", "process.working_directory", "process.parent.pid", "process.parent.name",
    "process.parent.executable", "process.parent.command_line", "file.path", "file.name", "file.size", "file.mode",
    "file.owner", "file.hash.sha256", "file.hash.sha1", "file.hash.md5", "process.hash.sha256", "registry.path",
    "registry.key", "registry.value", "rule.id", "rule.name", "rule.description", "rule.category",
    "threat.technique.id", "host.name", "host.ip", "observer.product", "observer.vendor", "observer.version",
    "observer.name", "cloud.provider", "cloud.region", "cloud.account.id", "cloud.service.name", "container.id",
    "container.name", "trace.id", "span.id",
)  # fmt: skip
#: Keys that ECS calls otherwise. ``labels`` holds texts only (ECS, "Base fields").
_RENAMED: dict[str, tuple[str, ...]] = {
    "tenant.id": ("organization.id",),
    "data.class": ("labels.data_class",),
    "policy.id": ("labels.redaction_policy",),
    "late": ("labels.late",),
    "severity.text": ("log.level",),
    "severity.number": ("event.severity",),
    "error.stack_trace": ("error.stack_trace",),
    "user.target.name": ("user.target.name",),
    "user.target.id": ("user.target.id",),
    "user.effective.name": ("user.effective.name",),
    "email.from.address": ("email.from.address",),
    "email.to.address": ("email.to.address",),
    "k8s.namespace.name": ("kubernetes.namespace", "orchestrator.namespace"),
    "k8s.pod.name": ("kubernetes.pod.name",),
    "k8s.container.name": ("kubernetes.container.name",),
    "k8s.node.name": ("kubernetes.node.name",),
    "k8s.deployment.name": ("kubernetes.deployment.name",),
    "k8s.cluster.name": ("orchestrator.cluster.name",),
    "k8s.resource.type": ("orchestrator.resource.type",),
    "k8s.resource.name": ("orchestrator.resource.name",),
    "module.name": ("driver.name",),
}
KEYS: dict[str, tuple[str, ...]] = {name: (name,) for name in _SAME} | _RENAMED
#: Filled besides, where nothing else fills it: file.name is asked for by Elastic's own rules.
DERIVED: dict[str, tuple[str, ...]] = {"file.path": ("file.name",)}

CONVERT: dict[str, Convert] = {
    "source.ip": ip,
    "destination.ip": ip,
    "host.ip": ip,
    "source.port": port,
    "destination.port": port,
    "file.name": base_name,
    **dict.fromkeys(
        (
            "source.bytes", "destination.bytes", "http.response.status_code", "http.request.body.bytes",
            "http.response.body.bytes", "process.pid", "process.exit_code", "process.parent.pid", "file.size",
            "event.severity",
        ),
        integer,
    ),
}  # fmt: skip

#: ``related.*``: what an analyst pivots on.
RELATED: dict[str, tuple[str, ...]] = {
    "related.ip": ("source.ip", "destination.ip", "host.ip"),
    "related.user": ("user.name", "user.target.name", "user.effective.name"),
    "related.hosts": ("host.name", "source.domain", "destination.domain"),
    "related.hash": ("file.hash.sha256", "file.hash.sha1", "file.hash.md5", "process.hash.sha256"),
}


def convert_of(field: str) -> Convert:
    """Return what makes a value fit a field."""
    return CONVERT.get(field, text)
