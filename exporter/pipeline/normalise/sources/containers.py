"""Kubernetes and what runs beside it: API server audit, klog, docker's json-file, Falco.

Sources: kubernetes.io, "kube-apiserver Audit Configuration (v1)"; falco.org, "Supported fields" and "JSON output".
"""

from __future__ import annotations

from typing import Any

from exporter.pipeline.normalise.source import Derive, Source, keys

_AUDIT = Source(
    "kubernetes_audit",
    "Kubernetes API server audit (audit.k8s.io)",
    {"api.operation": "verb", "api.version": "objectRef.apiVersion", "url.full": "requestURI", "event.source_id": "auditID",
     "event.category": "level", "k8s.audit.stage": "stage", "user.name": "user.username", "user.id": "user.uid",
     "user.effective.name": "impersonatedUser.username", "source.ip": "sourceIPs[0]", "user_agent.original": "userAgent",
     "k8s.resource.type": "objectRef.resource", "k8s.resource.name": "objectRef.name", "k8s.resource.namespace": "objectRef.namespace",
     "k8s.resource.subresource": "objectRef.subresource", "http.response.status_code": "responseStatus.code",
     "message": "responseStatus.message", "event.reason": "responseStatus.reason", "event.action": "annotations.authorization.k8s.io/decision",
     "rule.name": "annotations.authorization.k8s.io/reason"},
    keys("auditID verb stage", "auditID verb requestURI"),
    {"observer.vendor": "Kubernetes", "observer.product": "Kubernetes API server", "api.service.name": "kubernetes"},
    kind="k8s.api",
)  # fmt: skip


#: Falco's priorities (falco.org, "Rules: priority") on OpenTelemetry's scale.
_PRIORITIES: dict[Any, int] = {
    word: number
    for name, number in {"emergency": 21, "alert": 19, "critical": 18, "error": 17, "warning": 13, "notice": 10,
                         "informational": 9, "info": 9, "debug": 5}.items()
    for word in (name, name.capitalize(), name.upper())
}  # fmt: skip
_FALCO = Source(
    "falco",
    "Falco's alerts",
    {"message": "output", "severity.text": "priority", "rule.name": "rule", "rule.tags": "tags", "event.category": "source", "host.name": "hostname",
     "event.action": "output_fields.evt.type", "user.name": "output_fields.user.name output_fields.ka.user.name", "user.id": "output_fields.user.uid",
     "process.name": "output_fields.proc.name", "process.pid": "output_fields.proc.pid", "process.executable": "output_fields.proc.exepath",
     "process.command_line": "output_fields.proc.cmdline", "process.working_directory": "output_fields.proc.cwd",
     "process.parent.name": "output_fields.proc.pname", "process.parent.pid": "output_fields.proc.ppid",
     "process.parent.command_line": "output_fields.proc.pcmdline", "file.path": "output_fields.fd.name",
     "source.ip": "output_fields.fd.cip", "source.port": "output_fields.fd.cport", "destination.ip": "output_fields.fd.sip",
     "destination.port": "output_fields.fd.sport", "network.transport": "output_fields.fd.l4proto",
     "container.id": "output_fields.container.id", "container.name": "output_fields.container.name",
     "container.image.name": "output_fields.container.image.repository", "k8s.namespace.name": "output_fields.k8s.ns.name",
     "k8s.pod.name": "output_fields.k8s.pod.name"},
    keys("output priority rule output_fields"),
    {"observer.vendor": "Falco", "observer.product": "Falco"},
    kind="detection",
    derive=(Derive("severity.text", "severity.number", _PRIORITIES.get),),
)  # fmt: skip
_DOCKER = Source(
    "docker",
    "Docker's json-file driver",
    {"message": "log", "log.iostream": "stream"},
    keys("log stream time"),
    generic=True,
)
_CRI = Source("cri", "the container runtime's files (CRI)", {"log.iostream": "stream"}, generic=True)
_KLOG = Source(
    "klog",
    "Kubernetes components (klog)",
    {
        "log.origin.file.name": "code.filepath file",
        "log.origin.file.line": "code.lineno line",
        "error.message": "err error",
        "k8s.pod.name": "pod",
        "k8s.node.name": "node",
    },
    generic=True,
)

SOURCES = (_AUDIT, _FALCO, _DOCKER, _CRI, _KLOG)
