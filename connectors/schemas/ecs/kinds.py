"""Kinds → ECS categorisation, with the values that ECS 9 allows (elastic.co/docs/reference/ecs, "Categorization fields").

One row a kind: ``event.category``, ``event.type``.
"""

from __future__ import annotations

VERSION = "9.0.0"

KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "log": ((), ()),
    "app.error": ((), ("error",)),
    "auth.logon": (("authentication",), ("start",)),
    "auth.logoff": (("authentication",), ("end",)),
    "auth.elevate": (("authentication",), ("start",)),
    "auth.ticket": (("authentication",), ("info",)),
    "iam.user.create": (("iam",), ("user", "creation")),
    "iam.user.update": (("iam",), ("user", "change")),
    "iam.user.delete": (("iam",), ("user", "deletion")),
    "iam.user.lock": (("iam",), ("user", "change")),
    "iam.password.change": (("iam",), ("user", "change")),
    "iam.group.change": (("iam",), ("group", "change")),
    "iam.priv.assign": (("iam",), ("admin", "change")),
    "iam.priv.revoke": (("iam",), ("admin", "change")),
    "net.flow": (("network",), ("connection",)),
    "net.session": (("network", "session"), ("connection", "start")),
    "dns.query": (("network",), ("protocol",)),
    "dhcp.lease": (("network",), ("protocol",)),
    "http.request": (("web",), ("access",)),
    "email.message": (("email",), ("info",)),
    "process.start": (("process",), ("start",)),
    "process.stop": (("process",), ("end",)),
    "file.create": (("file",), ("creation",)),
    "file.read": (("file",), ("access",)),
    "file.write": (("file",), ("change",)),
    "file.delete": (("file",), ("deletion",)),
    "file.attributes": (("file",), ("change",)),
    "registry.change": (("registry",), ("change",)),
    "service.change": (("configuration",), ("change",)),
    "job.run": (("process",), ("info",)),
    "kernel.module": (("driver",), ("start",)),
    "k8s.api": (("configuration",), ("access",)),
    "cloud.api": (("configuration",), ("access",)),
    "config.change": (("configuration",), ("change",)),
    "detection": (("threat",), ("indicator",)),
}
#: Kinds that are alerts; all others are plain events.
ALERTS = frozenset(("detection",))
#: Kinds whose type also says whether it was let through.
DECIDED = frozenset(("net.flow",))
