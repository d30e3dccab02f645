"""Canonical keys → columns of ASIM's tables, for all schemas and for single ones (learn.microsoft.com, ASIM schemas)."""

from __future__ import annotations

from connectors.schemas.values import Convert, base_name, integer, ip, port, text

KEYS: dict[str, tuple[str, ...]] = {
    "message": ("EventMessage",),
    "severity.text": ("EventOriginalSeverity",),
    "event.code": ("EventOriginalType",),
    "host.name": ("Dvc", "DvcHostname"),
    "host.ip": ("DvcIpAddr",),
    "observer.vendor": ("EventVendor",),
    "observer.product": ("EventProduct",),
    "observer.version": ("EventProductVersion",),
    "rule.name": ("RuleName",),
    "source.ip": ("SrcIpAddr",),
    "source.address": ("SrcHostname",),
    "source.port": ("SrcPortNumber",),
    "destination.ip": ("DstIpAddr",),
    "destination.address": ("DstHostname",),
    "destination.port": ("DstPortNumber",),
    "user_agent.original": ("HttpUserAgent",),
}
_ACTOR: dict[str, tuple[str, ...]] = {"user.name": ("ActorUsername",), "user.id": ("ActorUserId",)}
_TARGET: dict[str, tuple[str, ...]] = {
    "user.target.name": ("TargetUsername",),
    "user.target.id": ("TargetUserId",),
}
_ACTING: dict[str, tuple[str, ...]] = {
    "process.name": ("ActingProcessName",),
    "process.pid": ("ActingProcessId",),
    "process.command_line": ("ActingProcessCommandLine",),
}
_SOURCE_USER: dict[str, tuple[str, ...]] = {"user.name": ("SrcUsername",), "user.id": ("SrcUserId",)}
_TRAFFIC: dict[str, tuple[str, ...]] = {
    "network.transport": ("NetworkProtocol",),
    "network.protocol": ("NetworkApplicationProtocol",),
    "source.mac": ("SrcMacAddr",),
    "destination.mac": ("DstMacAddr",),
    "source.bytes": ("SrcBytes",),
    "destination.bytes": ("DstBytes",),
}
SCHEMA_KEYS: dict[str, dict[str, tuple[str, ...]]] = {
    "Authentication": {
        "user.name": ("TargetUsername",),
        "user.id": ("TargetUserId",),
        "service.name": ("TargetAppName",),
        "network.protocol": ("LogonProtocol",),
    },
    "UserManagement": _ACTOR | _TARGET | {"group.name": ("GroupName",), "group.id": ("GroupId",)},
    "NetworkSession": _SOURCE_USER | _TRAFFIC,
    "WebSession": _SOURCE_USER
    | _TRAFFIC
    | {
        "url.full": ("Url",),
        "http.request.method": ("HttpRequestMethod",),
        "http.response.status_code": ("EventResultDetails",),
        "http.request.referrer": ("HttpReferrer",),
        "http.version": ("HttpVersion",),
    },
    "Dns": _SOURCE_USER
    | _TRAFFIC
    | {
        "dns.question.name": ("DnsQuery",),
        "dns.question.type": ("DnsQueryTypeName",),
        "dns.response_code": ("DnsResponseCodeName",),
    },
    "DhcpEvent": _SOURCE_USER | {"source.mac": ("SrcMacAddr",)},
    "ProcessEvent": _ACTOR
    | {
        "process.name": ("TargetProcessName",),
        "process.executable": ("TargetProcessName",),
        "process.pid": ("TargetProcessId",),
        "process.command_line": ("TargetProcessCommandLine",),
        "process.parent.name": ("ActingProcessName",),
        "process.parent.pid": ("ActingProcessId",),
        "process.parent.command_line": ("ActingProcessCommandLine",),
    },
    "FileEvent": _ACTOR
    | _ACTING
    | {
        "file.path": ("TargetFilePath", "TargetFileName"),
        "file.size": ("TargetFileSize",),
        "file.hash.sha256": ("TargetFileSHA256",),
        "file.hash.sha1": ("TargetFileSHA1",),
        "file.hash.md5": ("TargetFileMD5",),
    },
    "RegistryEvent": _ACTOR | _ACTING | {"registry.path": ("RegistryKey",), "registry.value": ("RegistryValue",)},
    "AuditEvent": _ACTOR | {"api.operation": ("Operation",), "service.name": ("TargetAppName",)},
    "AlertEvent": {
        "user.name": ("Username",),
        "user.id": ("UserId",),
        "process.name": ("ProcessName",),
        "process.pid": ("ProcessId",),
        "process.command_line": ("ProcessCommandLine",),
        "file.path": ("FilePath",),
        "file.hash.sha256": ("FileSHA256",),
        "source.ip": ("IpAddr",),
        "url.full": ("Url",),
        "rule.id": ("AlertOriginalId",),
        "rule.name": ("AlertName",),
        "rule.description": ("AlertDescription",),
    },
}
#: What an AuditEvent's ``Object`` is, by what the event has, most telling first. Of a key taken, nothing is lost: it stays
#: in AdditionalFields too.
OBJECT_KEYS = (
    "k8s.resource.name", "k8s.resource.type", "config.name", "policy.name", "service.target.name", "job.name",
    "module.name", "user.target.name", "user.target.id", "group.name", "group.id", "role.name", "file.path",
    "registry.path", "url.path", "api.service.name", "cloud.service.name", "process.name", "dns.question.name",
    "destination.ip", "service.name", "host.name",
)  # fmt: skip

CONVERT: dict[str, Convert] = {
    "SrcIpAddr": ip,
    "DstIpAddr": ip,
    "DvcIpAddr": ip,
    "IpAddr": ip,
    "SrcPortNumber": port,
    "DstPortNumber": port,
    "SrcBytes": integer,
    "DstBytes": integer,
    "TargetFileSize": integer,
    "TargetFileName": base_name,
}


def convert_of(column: str) -> Convert:
    """Return what makes a value fit a column."""
    return CONVERT.get(column, text)
