"""Kinds → schemas of ASIM and their native tables (learn.microsoft.com, Microsoft Sentinel, "ASIM schemas").

An event that lacks what its schema requires is written as an AuditEvent, which every change or act can be.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schema:
    """``requires``: of each group of canonical keys one."""

    name: str
    version: str
    table: str
    requires: tuple[tuple[str, ...], ...] = ()


_USER = ("user.name", "user.id")
_SOURCE = ("source.ip", "source.address")
_ENDS = (*_SOURCE, "destination.ip", "destination.address")

AUDIT = Schema("AuditEvent", "0.1.2", "ASimAuditEventLogs")
AUTHENTICATION = Schema("Authentication", "0.1.4", "ASimAuthenticationEventLogs", (_USER,))
USERS = Schema(
    "UserManagement",
    "0.1.2",
    "ASimUserManagementActivityLogs",
    (_USER, ("user.target.name", "user.target.id", "group.name")),
)
NETWORK = Schema("NetworkSession", "0.2.7", "ASimNetworkSessionLogs", (_ENDS,))
DNS = Schema("Dns", "0.1.7", "ASimDnsActivityLogs", (("dns.question.name",), _SOURCE))
DHCP = Schema("DhcpEvent", "0.1.1", "ASimDhcpEventLogs", (("source.ip",),))
WEB = Schema("WebSession", "0.2.7", "ASimWebSessionLogs", (("url.full", "url.path"), _SOURCE))
PROCESS = Schema("ProcessEvent", "0.1.4", "ASimProcessEventLogs", (("process.name", "process.executable"), _USER))
FILE = Schema("FileEvent", "0.2.2", "ASimFileEventLogs", (("file.path",), _USER))
REGISTRY = Schema("RegistryEvent", "0.1.3", "ASimRegistryEventLogs", (("registry.path",), _USER))
ALERT = Schema("AlertEvent", "0.1", "ASimAlertEventLogs", (("rule.name", "rule.id"),))

#: Kind → schema and EventType. Kinds that are no act of anybody have no native table: they need a custom one.
KINDS: dict[str, tuple[Schema, str]] = {
    "app.error": (AUDIT, "Other"),
    "auth.logon": (AUTHENTICATION, "Logon"),
    "auth.logoff": (AUTHENTICATION, "Logoff"),
    "auth.elevate": (AUTHENTICATION, "Elevate"),
    "auth.ticket": (AUTHENTICATION, "Logon"),
    "iam.user.create": (USERS, "UserCreated"),
    "iam.user.update": (USERS, "UserModified"),
    "iam.user.delete": (USERS, "UserDeleted"),
    "iam.user.lock": (USERS, "UserLocked"),
    "iam.password.change": (USERS, "PasswordChanged"),
    "iam.group.change": (USERS, "GroupModified"),
    "iam.priv.assign": (USERS, "UserModified"),
    "iam.priv.revoke": (USERS, "UserModified"),
    "net.flow": (NETWORK, "NetworkSession"),
    "net.session": (NETWORK, "NetworkSession"),
    "dns.query": (DNS, "Query"),
    "dhcp.lease": (DHCP, "Assign"),
    "http.request": (WEB, "HTTPsession"),
    "process.start": (PROCESS, "ProcessCreated"),
    "process.stop": (PROCESS, "ProcessTerminated"),
    "file.create": (FILE, "FileCreated"),
    "file.read": (FILE, "FileAccessed"),
    "file.write": (FILE, "FileModified"),
    "file.delete": (FILE, "FileDeleted"),
    "file.attributes": (FILE, "FileModified"),
    "registry.change": (REGISTRY, "RegistryValueSet"),
    "service.change": (AUDIT, "Set"),
    "job.run": (AUDIT, "Execute"),
    "kernel.module": (AUDIT, "Install"),
    "k8s.api": (AUDIT, "Other"),
    "cloud.api": (AUDIT, "Other"),
    "config.change": (AUDIT, "Set"),
    "detection": (ALERT, "Alert"),
    "email.message": (AUDIT, "Other"),
    "log": (AUDIT, "Other"),
}
#: Kinds for which no native table was made; ``table_of`` gives them none.
WITHOUT_TABLE = frozenset(("log", "app.error", "email.message"))
