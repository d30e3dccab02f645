"""The messages of :mod:`exporter.pipeline.parse.programs`, one row each.

Wordings are those of the programs' own sources: OpenSSH ``auth.c``, ``packet.c``; Linux-PAM ``pam_unix``, ``pam_tally2``,
``pam_faillock``; sudo ``logging.c``; shadow ``useradd.c``, ``usermod.c``, ``userdel.c``, ``groupadd.c``, ``passwd.c``; vixie
cron; systemd ``logind``. A user's name is what a stranger typed: it may hold blanks and `` from ``, so it reaches up to the
*last* `` from … port …`` and the row is anchored at its end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """``lead``: words that stand in each such message; looked for before the pattern is tried."""

    lead: str
    pattern: re.Pattern[str]
    constants: Mapping[str, str]


def _row(lead: str, pattern: str, kind: str, outcome: str = "", **constants: str) -> Message:
    fixed = {"kind": kind} | ({"event.outcome": outcome} if outcome else {})
    fixed |= {key.replace("__", "."): value for key, value in constants.items()}
    return Message(lead, re.compile(pattern, re.DOTALL), fixed)


_PEER = r"(?P<source__ip>\S++) port (?P<source__port>\d{1,5}+)"
_END = r"(?: ssh2)?(?: \[preauth\])?(?:: .{0,512})?$"
_SSHD = (
    _row(
        "Accepted ",
        rf"Accepted (?P<auth__method>[\w/\-]++) for (?P<user__name>.+) from {_PEER}{_END}",
        "auth.logon",
        "success",
    ),
    _row(
        "Failed ",
        rf"Failed (?P<auth__method>[\w/\-]++) for (?:invalid user |illegal user )?(?P<user__name>.*) from {_PEER}{_END}",
        "auth.logon",
        "failure",
    ),
    _row(
        "Invalid user ",
        r"Invalid user (?P<user__name>.*) from (?P<source__ip>\S++)(?: port (?P<source__port>\d{1,5}+))?$",
        "auth.logon",
        "failure",
        event__reason="invalid user",
    ),
    _row(
        "maximum authentication attempts",
        rf"(?:error: )?maximum authentication attempts exceeded for (?:invalid user )?(?P<user__name>.*) from {_PEER}{_END}",
        "auth.logon",
        "failure",
        event__reason="maximum authentication attempts exceeded",
    ),
    _row(
        "not allowed because",
        r"User (?P<user__name>.+) from (?P<source__ip>\S++) not allowed because (?P<event__reason>.{1,256})$",
        "auth.logon",
        "failure",
    ),
    _row(
        "Connection from ",
        rf"Connection from {_PEER}(?: on (?P<destination__ip>\S++) port (?P<destination__port>\d{{1,5}}+))?",
        "net.session",
        "success",
    ),
    _row(
        "by authenticating user ",
        r"(?:Connection (?:closed|reset)|Disconnected|Disconnecting) (?:by|from) authenticating user (?P<user__name>.*) "
        rf"{_PEER}(?: \[preauth\])?(?:: .{{0,512}})?$",
        "net.session",
        event__reason="closed before logon",
    ),
    _row(
        "by invalid user ",
        r"(?:Connection (?:closed|reset)|Disconnected|Disconnecting) (?:by|from) invalid user (?P<user__name>.*) "
        rf"{_PEER}(?: \[preauth\])?(?:: .{{0,512}})?$",
        "net.session",
        event__reason="closed before logon",
    ),
    _row(
        "Disconnected from user ",
        rf"Disconnected from user (?P<user__name>.*) {_PEER}$",
        "auth.logoff",
    ),
    _row(
        "Received disconnect from ",
        rf"Received disconnect from {_PEER}:(?P<event__code>\d{{1,5}}+): (?P<event__reason>.{{0,256}})",
        "net.session",
    ),
    _row("Connection ", rf"Connection (?:closed|reset) by {_PEER}(?: \[preauth\])?$", "net.session"),
    _row(
        "Did not receive identification",
        rf"Did not receive identification string from {_PEER}",
        "net.session",
        event__reason="no identification",
    ),
    _row("Bad protocol version", rf"Bad protocol version identification .{{0,512}} from {_PEER}$", "net.session"),
    _row(
        "Server listening", r"Server listening on (?P<destination__ip>\S++) port (?P<destination__port>\d{1,5}+)", "log"
    ),
)
_PAM_NAMES = r"(?P<pam__module>pam_\w{1,32}+)\((?P<pam__service>[\w\-.]{1,64}+):(?P<pam__type>\w{1,16}+)\): "
PAM = (
    _row(
        "session opened",
        _PAM_NAMES + r"session opened for user (?P<user__name>[^\s(]++)(?:\(uid=(?P<user__id>\d++)\))?"
        r"(?: by (?P<user__actor>[^\s(]*+)\(uid=\d{1,12}\))?",
        "auth.logon",
        "success",
    ),
    _row(
        "session closed",
        _PAM_NAMES + r"session closed for user (?P<user__name>\S++)",
        "auth.logoff",
    ),
    _row(
        "authentication failure",
        _PAM_NAMES
        + r"authentication failure; logname=(?P<user__logname>\S*+) uid=\d{1,12}+ euid=\d{1,12}+ tty=(?P<tty>\S*+) "
        r"ruser=(?P<user__remote>\S*+) rhost=(?P<source__ip>\S*+)(?: {1,4}user=(?P<user__name>.{1,256}))?$",
        "auth.logon",
        "failure",
    ),
    _row(
        "check pass; user unknown",
        _PAM_NAMES + r"check pass; user unknown",
        "log",
        "failure",
        event__reason="user unknown",
    ),
    _row(
        "temporarily locked",
        _PAM_NAMES + r"Consecutive login failures for user (?P<user__target__name>.{1,256}) account temporarily locked",
        "iam.user.lock",
    ),
    _row(
        "password changed for",
        _PAM_NAMES + r"password changed for (?P<user__target__name>\S++)",
        "iam.password.change",
        "success",
    ),
)
_SUDO_TAIL = (
    r"(?:TTY=(?P<tty>\S++) ; )?(?:PWD=(?P<process__working_directory>[^;]{0,1024}) ; )"
    r"(?:USER=(?P<user__effective__name>\S++))?(?: ; GROUP=(?P<group__name>\S++))?(?: ; ENV=[^;]{0,1024})?"
    r"(?: ; TSID=\S++)? ; COMMAND=(?P<process__command_line>.*)"
)
_SUDO = (
    _row(
        "incorrect password attempt",
        r"\s*+(?P<user__name>\S++) : (?P<event__reason>\d{1,4} incorrect password attempts?) ; " + _SUDO_TAIL,
        "auth.elevate",
        "failure",
    ),
    _row(
        " NOT ",
        r"\s*+(?P<user__name>\S++) : (?P<event__reason>(?:user|command) NOT [^;]{1,128}) ; " + _SUDO_TAIL,
        "auth.elevate",
        "failure",
    ),
    _row("COMMAND=", r"\s*+(?P<user__name>\S++) : " + _SUDO_TAIL, "auth.elevate", "success"),
)
_SU = (
    _row(
        "FAILED",
        r"FAILED (?:su|SU) (?:for |\(to )(?P<user__effective__name>\S+?)\)? (?:by )?(?P<user__name>\S++)(?: on (?P<tty>\S++))?",
        "auth.elevate",
        "failure",
    ),
    _row(
        "Successful",
        r"Successful su for (?P<user__effective__name>\S++) by (?P<user__name>\S++)",
        "auth.elevate",
        "success",
    ),
    _row(
        "(to ",
        r"\(to (?P<user__effective__name>[^\s)]++)\) (?P<user__name>\S++) on (?P<tty>\S++)",
        "auth.elevate",
        "success",
    ),
)
_USERADD = (
    _row(
        "new user",
        r"new user: name=(?P<user__target__name>[^,]++), UID=(?P<user__target__id>\d++), GID=(?P<group__id>\d++), "
        r"home=(?P<user__target__home>[^,]*+), shell=(?P<user__target__shell>[^,]*+)(?:, from=(?P<tty>.{1,256}))?",
        "iam.user.create",
        "success",
    ),
    _row(
        "new group",
        r"new group: name=(?P<group__name>[^,]++), GID=(?P<group__id>\d++)",
        "iam.group.change",
        "success",
    ),
    _row(
        "add '",
        r"add '(?P<user__target__name>[^']++)' to (?:shadow )?group '(?P<group__name>[^']++)'",
        "iam.group.change",
        "success",
    ),
    _row(
        "failed adding user",
        r"failed adding user '(?P<user__target__name>[^']++)'(?:, (?P<event__reason>.{1,256}))?",
        "iam.user.create",
        "failure",
    ),
)
_USERMOD = (
    _row(
        "change user",
        r"change user '(?P<user__target__name>[^']++)' (?P<event__action>\w{1,32}+)(?: from '[^']*+' to '[^']*+')?",
        "iam.user.update",
        "success",
    ),
    _row("lock user", r"lock user '(?P<user__target__name>[^']++)' password", "iam.user.lock", "success"),
    _row("unlock user", r"unlock user '(?P<user__target__name>[^']++)' password", "iam.user.update", "success"),
    _row(
        "add '",
        r"add '(?P<user__target__name>[^']++)' to (?:shadow )?group '(?P<group__name>[^']++)'",
        "iam.group.change",
        "success",
    ),
    _row(
        "delete '",
        r"delete '(?P<user__target__name>[^']++)' from (?:shadow )?group '(?P<group__name>[^']++)'",
        "iam.group.change",
        "success",
    ),
)
_USERDEL = (
    _row("delete user", r"delete user '(?P<user__target__name>[^']++)'", "iam.user.delete", "success"),
    _row("removed ", r"removed (?:shadow )?group '(?P<group__name>[^']++)'", "iam.group.change", "success"),
)
_GROUPS = (
    _row(
        "new group",
        r"new group: name=(?P<group__name>[^,]++), GID=(?P<group__id>\d++)",
        "iam.group.change",
        "success",
    ),
    _row("group", r"group '(?P<group__name>[^']++)' (?:added|removed|changed)", "iam.group.change", "success"),
)
_PASSWD = (
    _row("password for", r"password for '(?P<user__target__name>[^']++)' changed", "iam.password.change", "success"),
    _row("changed by", r"password for '?(?P<user__target__name>[^\s']++)'? changed by '?(?P<user__name>[^\s']++)", "iam.password.change", "success"),
)  # fmt: skip
_CRON = (
    _row("CMD", r"\((?P<user__name>[^)]++)\) CMD \((?P<process__command_line>.*)\)$", "job.run"),
    _row(
        "(", r"\((?P<user__name>[^)]++)\) (?P<event__action>RELOAD|REPLACE|LIST|BEGIN EDIT|END EDIT|DELETE) \(", "log"
    ),
)
_LOGIND = (
    _row(
        "New session",
        r"New session '?(?P<session__id>[^\s']++)'? of user '?(?P<user__name>[^\s']+?)'?(?: with class .{1,64})?\.?$",
        "auth.logon",
        "success",
    ),
    _row("Removed session", r"Removed session (?P<session__id>\S+?)\.$", "log"),
    _row("logged out", r"Session (?P<session__id>\S++) logged out", "log"),
)
_SYSTEMD = (
    _row("Started ", r"Started (?P<service__target__name>.{1,256}?)\.?$", "service.change", "success", event__action="started"),
    _row("Stopped ", r"Stopped (?P<service__target__name>.{1,256}?)\.?$", "service.change", "success", event__action="stopped"),
    _row("Failed to start ", r"Failed to start (?P<service__target__name>.{1,256}?)\.?$", "service.change", "failure", event__action="started"),
)  # fmt: skip

#: By program.
MESSAGES: dict[str, tuple[Message, ...]] = {
    "sshd": _SSHD,
    "sudo": _SUDO,
    "su": _SU,
    "login": PAM,
    "useradd": _USERADD,
    "usermod": _USERMOD,
    "userdel": _USERDEL,
    "groupadd": _GROUPS,
    "groupdel": _GROUPS,
    "passwd": _PASSWD,
    "cron": _CRON,
    "systemd-logind": _LOGIND,
    "systemd": _SYSTEMD,
}
