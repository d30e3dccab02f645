"""What an event tells of: its ``kind``, the one class key of the canonical event.

Parsers and the mapping tables of sources set it; target schemas (``connectors.schemas``) turn it into OCSF's class and
activity, ECS's categories, CIM's data model and ASIM's schema, one table row for each name here. An event is given a
kind only when it holds the keys that make it one, else it stays ``log``: nobody's detection rule is served by a logon that
names no user.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """``requires``: of each group at least one canonical key must be there."""

    name: str
    about: str
    requires: tuple[tuple[str, ...], ...] = ()


_USER = ("user.name", "user.id")
_TARGET_USER = ("user.target.name", "user.target.id")
_PROCESS = ("process.name", "process.executable", "process.command_line")
_FILE = ("file.path",)
_ENDS = ("source.ip", "destination.ip", "source.address", "destination.address")

_ALL = (
    Kind("log", "anything that is none of the others"),
    Kind(
        "app.error",
        "an application reports an error with its type or stack",
        (("error.type", "error.message", "error.stack_trace"),),
    ),
    Kind("auth.logon", "somebody logs on, or tries to (event.outcome)", (_USER,)),
    Kind("auth.logoff", "a session ends", (_USER,)),
    Kind("auth.elevate", "somebody acts as another: sudo, su, runas, assumed roles", (_USER,)),
    Kind("auth.ticket", "a ticket or token is granted: Kerberos, OAuth, STS", (_USER,)),
    Kind("iam.user.create", "an account is made", (_TARGET_USER,)),
    Kind("iam.user.update", "an account is changed, enabled, unlocked or renamed", (_TARGET_USER,)),
    Kind("iam.user.delete", "an account is deleted", (_TARGET_USER,)),
    Kind("iam.user.lock", "an account is locked or disabled", (_TARGET_USER,)),
    Kind("iam.password.change", "a password is changed or reset", (_TARGET_USER,)),
    Kind(
        "iam.group.change",
        "a member joins or leaves a group, a group is made or deleted",
        (("group.name", "group.id"),),
    ),
    Kind("iam.priv.assign", "a right or role is granted", ((*_TARGET_USER, "group.name", "role.name"),)),
    Kind("iam.priv.revoke", "a right or role is taken away", ((*_TARGET_USER, "group.name", "role.name"),)),
    Kind("net.flow", "a connection or flow, allowed or denied (event.outcome)", (_ENDS,)),
    Kind("net.session", "a remote session of a network service such as SSH, VPN or RDP is opened or closed", (_ENDS,)),
    Kind("dns.query", "a name is looked up", (("dns.question.name",),)),
    Kind("dhcp.lease", "an address is leased or released", (("source.ip", "source.mac"),)),
    Kind(
        "http.request",
        "a web request",
        (("http.request.method",), ("http.response.status_code", "url.path", "url.full")),
    ),
    Kind(
        "email.message",
        "a message is sent, received or refused",
        (("email.from.address", "email.to.address", "email.message_id"),),
    ),
    Kind("process.start", "a process starts", (_PROCESS,)),
    Kind("process.stop", "a process ends", (_PROCESS,)),
    Kind("file.create", "a file is made", (_FILE,)),
    Kind("file.read", "a file is read or opened", (_FILE,)),
    Kind("file.write", "a file is changed", (_FILE,)),
    Kind("file.delete", "a file is deleted", (_FILE,)),
    Kind("file.attributes", "owner, mode or other attributes of a file are changed", (_FILE,)),
    Kind("registry.change", "a Windows registry key or value is changed", (("registry.path",),)),
    Kind(
        "service.change",
        "a service or unit starts, stops, is installed or changed",
        (("service.target.name", "service.name"),),
    ),
    Kind("job.run", "a scheduled job runs or is changed", ((*_PROCESS, "job.name"),)),
    Kind("kernel.module", "a driver or kernel module is loaded or unloaded", (("module.name", "file.path"),)),
    Kind(
        "k8s.api",
        "a request to the Kubernetes API server",
        (("api.operation",), ("k8s.resource.type", "url.path", "url.full")),
    ),
    Kind(
        "cloud.api",
        "a call of a cloud provider's API",
        (("api.operation",), ("api.service.name", "cloud.service.name")),
    ),
    Kind("config.change", "a policy, rule or audit setting is changed", (("config.name", "policy.name", "file.path"),)),
    Kind("detection", "a security product raises an alert", (("rule.name", "rule.id"),)),
)

#: By name.
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
