"""Linux hosts: syslog, journald, the audit daemon, and messages of sshd, PAM, sudo and their like.

Sources: RFC 5424; systemd.journal-fields(7); the audit project's field and message-type dictionaries (linux-audit
``audit-documentation``).
"""

from __future__ import annotations

from typing import Any

from exporter.domain.kinds import KINDS
from exporter.pipeline.normalise.severity import SYSLOG_WORDS
from exporter.pipeline.normalise.source import Derive, Source, Variant, first_text, keys

_WORD = Derive("log.syslog.severity.code", "severity.text", SYSLOG_WORDS.get)
_HEADER = {
    "host.name": "host.name hostname host syslog.hostname",
    "service.name": "service.name appname app_name program tag syslog.appname",
    "process.pid": "process.pid procid pid syslog.procid",
    "log.syslog.msgid": "msgid syslog.msgid",
    "log.syslog.severity.code": "log.syslog.severity.code severity syslog.severity",
    "log.syslog.facility.code": "log.syslog.facility.code facility",
    "log.syslog.facility.name": "syslog.facility",
    "message": "message msg",
}
_SYSLOG = Source("syslog", "syslog (RFC 5424 and RFC 3164)", _HEADER, derive=(_WORD,), generic=True)
_JOURNALD = Source(
    "journald",
    "the systemd journal as JSON",
    {"message": "MESSAGE", "log.syslog.severity.code": "PRIORITY", "log.syslog.facility.code": "SYSLOG_FACILITY",
     "service.name": "SYSLOG_IDENTIFIER _COMM", "service.target.name": "UNIT _SYSTEMD_UNIT", "host.name": "_HOSTNAME", "host.id": "_MACHINE_ID",
     "process.pid": "_PID SYSLOG_PID", "process.name": "_COMM", "process.executable": "_EXE", "process.command_line": "_CMDLINE",
     "user.id": "_UID", "group.id": "_GID", "event.code": "MESSAGE_ID", "log.origin.file.name": "CODE_FILE", "log.origin.file.line": "CODE_LINE",
     "log.origin.function": "CODE_FUNC", "container.name": "CONTAINER_NAME", "container.id": "CONTAINER_ID_FULL"},
    keys("MESSAGE PRIORITY", "MESSAGE _SYSTEMD_UNIT", "MESSAGE __REALTIME_TIMESTAMP"),
    derive=(_WORD,),
)  # fmt: skip

_ACCOUNT = {"user.name": "acct UID AUID uid", "user.id": "auid uid"}
_TARGET = {"user.target.name": "acct", "user.target.id": "id", "user.name": "AUID UID", "user.id": "auid uid"}
_GROUP = {"group.name": "grp acct", "group.id": "id", "user.name": "AUID UID", "user.id": "auid uid"}
_ANOMALY = Variant("detection", {"rule.category": "anomaly"}, {"rule.name": "type"})
_LOGON = Variant("auth.logon", fields=_ACCOUNT)
_SESSION = Variant("auth.logoff", fields=_ACCOUNT)
#: Numbers of execve and execveat (linux ``unistd_64.h``) on x86-64 (AUDIT_ARCH c000003e) and arm64 (c00000b7).
_EXECVE = frozenset((("c000003e", "59"), ("c000003e", "322"), ("c00000b7", "221"), ("c00000b7", "281")))


def _audit_type(kind: Any, syscall: Any, arch: Any, name: Any) -> str:
    if kind == "SYSCALL" and ((arch, syscall) in _EXECVE or name in {"execve", "execveat"}):
        return "execve"
    return kind if type(kind) is str else ""


_AUDITD = Source(
    "auditd",
    "the Linux audit daemon",
    {"event.action": "type", "process.executable": "exe", "process.name": "comm", "process.pid": "pid", "process.parent.pid": "ppid",
     "process.command_line": "cmd proctitle command_line", "process.working_directory": "cwd", "file.path": "name path", "source.ip": "addr saddr laddr",
     "source.address": "hostname", "host.name": "node", "session.id": "ses", "event.outcome": "res success result", "rule.name": "key",
     "service.target.name": "unit", "user.name": "AUID UID acct", "user.id": "auid uid", "user.effective.id": "euid", "user.effective.name": "EUID",
     "process.exit_code": "exit", "auditd.serial": "auditd.serial serial", "group.id": "gid", "auth.method": "grantors"},
    keys("type auid ses exe", "type auditd.serial"),
    {"observer.vendor": "Linux", "observer.product": "auditd"},
    by=("type", "syscall", "arch", "SYSCALL"),
    choose=_audit_type,
    variants={
        "USER_LOGIN": _LOGON, "USER_AUTH": _LOGON, "USER_ACCT": Variant("", fields=_ACCOUNT), "LOGIN": Variant("", fields=_ACCOUNT),
        "USER_START": Variant("", fields=_ACCOUNT), "USER_LOGOUT": _SESSION, "USER_END": _SESSION, "CRED_ACQ": Variant("", fields=_ACCOUNT),
        "USER_CMD": Variant("auth.elevate"), "USER_ROLE_CHANGE": Variant("iam.priv.assign", fields=_TARGET),
        "ADD_USER": Variant("iam.user.create", fields=_TARGET), "DEL_USER": Variant("iam.user.delete", fields=_TARGET),
        "USER_MGMT": Variant("iam.user.update", fields=_TARGET), "USER_CHAUTHTOK": Variant("iam.password.change", fields=_TARGET),
        "ACCT_LOCK": Variant("iam.user.lock", fields=_TARGET), "ACCT_UNLOCK": Variant("iam.user.update", fields=_TARGET),
        "ADD_GROUP": Variant("iam.group.change", fields=_GROUP), "DEL_GROUP": Variant("iam.group.change", fields=_GROUP),
        "GRP_MGMT": Variant("iam.group.change", fields=_GROUP), "EXECVE": Variant("process.start"), "execve": Variant("process.start"), "SERVICE_START": Variant("service.change"),
        "SERVICE_STOP": Variant("service.change"), "KERN_MODULE": Variant("kernel.module", fields={"module.name": "name"}),
        "CONFIG_CHANGE": Variant("config.change", fields={"config.name": "op"}),
        **dict.fromkeys(("ANOM_ABEND", "ANOM_LOGIN_FAILURES", "ANOM_PROMISCUOUS", "ANOM_LOGIN_SESSIONS", "ANOM_ROOT_TRANS", "ANOM_CREAT",
                         "ANOM_LINK", "AVC", "SECCOMP", "INTEGRITY_DATA"), _ANOMALY),
    },
)  # fmt: skip


def _own(name: str, about: str) -> Source:
    """A parser of ours: it uses canonical names and says the kind itself."""
    return Source(
        name,
        about,
        _HEADER,
        by=("kind",),
        choose=first_text,
        variants={kind: Variant(kind, fields={"kind": "kind"}) for kind in KINDS},
        derive=(_WORD,),
        generic=True,
    )


SOURCES = (
    _SYSLOG,
    _JOURNALD,
    _AUDITD,
    _own("sshd", "messages of the SSH daemon"),
    _own("pam", "messages of PAM"),
    _own("sudo", "messages of sudo and su"),
    _own("auth", "messages of programs that manage accounts, sessions and jobs"),
    _own("packets", "packets, connections and logons that pfSense, OPNsense and Cisco ASA report"),
    _own("access", "access logs of web servers (common, combined and nginx' formats)"),
)
