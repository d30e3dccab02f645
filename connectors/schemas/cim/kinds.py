"""Kinds → data models of Splunk CIM 6: tags, and what ``action`` is called (help.splunk.com, Common Information Model).

One row a kind: model, tags, action of a success, action of a failure. The empty string: the model has no such field there.
"""

from __future__ import annotations

SOURCETYPE = "loki:siem:"

KINDS: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    "log": ("", (), "", ""),
    "app.error": ("", ("error",), "", ""),
    "auth.logon": ("Authentication", ("authentication",), "success", "failure"),
    "auth.logoff": ("Authentication", ("authentication",), "success", "failure"),
    "auth.elevate": ("Authentication", ("authentication", "privileged"), "success", "failure"),
    "auth.ticket": ("Authentication", ("authentication",), "success", "failure"),
    "iam.user.create": ("Change", ("change", "account"), "created", "created"),
    "iam.user.update": ("Change", ("change", "account"), "modified", "modified"),
    "iam.user.delete": ("Change", ("change", "account"), "deleted", "deleted"),
    "iam.user.lock": ("Change", ("change", "account"), "lockout", "lockout"),
    "iam.password.change": ("Change", ("change", "account"), "modified", "modified"),
    "iam.group.change": ("Change", ("change", "account"), "modified", "modified"),
    "iam.priv.assign": ("Change", ("change", "account"), "modified", "modified"),
    "iam.priv.revoke": ("Change", ("change", "account"), "modified", "modified"),
    "net.flow": ("Network_Traffic", ("network", "communicate"), "allowed", "blocked"),
    "net.session": ("Network_Sessions", ("network", "session", "start"), "started", "blocked"),
    "dns.query": ("Network_Resolution", ("network", "resolution", "dns"), "", ""),
    "dhcp.lease": ("Network_Sessions", ("network", "session", "dhcp"), "added", "blocked"),
    "http.request": ("Web", ("web",), "allowed", "blocked"),
    "email.message": ("Email", ("email",), "delivered", "blocked"),
    "process.start": ("Endpoint.Processes", ("process", "report"), "allowed", "blocked"),
    "process.stop": ("Endpoint.Processes", ("process", "report"), "allowed", "blocked"),
    "file.create": ("Endpoint.Filesystem", ("endpoint", "filesystem"), "created", "created"),
    "file.read": ("Endpoint.Filesystem", ("endpoint", "filesystem"), "read", "read"),
    "file.write": ("Endpoint.Filesystem", ("endpoint", "filesystem"), "modified", "modified"),
    "file.delete": ("Endpoint.Filesystem", ("endpoint", "filesystem"), "deleted", "deleted"),
    "file.attributes": ("Endpoint.Filesystem", ("endpoint", "filesystem"), "acl_modified", "acl_modified"),
    "registry.change": ("Endpoint.Registry", ("endpoint", "registry"), "modified", "modified"),
    "service.change": ("Endpoint.Services", ("service", "report"), "", ""),
    "job.run": ("Endpoint.Processes", ("process", "report"), "allowed", "blocked"),
    "kernel.module": ("Change", ("change", "endpoint"), "modified", "modified"),
    "k8s.api": ("Change", ("change",), "modified", "modified"),
    "cloud.api": ("Change", ("change", "cloud"), "modified", "modified"),
    "config.change": ("Change", ("change",), "modified", "modified"),
    "detection": ("Alerts", ("alert",), "", ""),
}
#: Models whose events without an outcome are taken for let through or done: their action is required.
DEFAULT_SUCCESS = frozenset(("Network_Traffic", "Endpoint.Processes", "Web", "Change", "Endpoint.Filesystem"))
