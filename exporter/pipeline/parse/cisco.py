"""Messages of Cisco ASA, Firepower and IOS that tell of connections and logons, one regular expression a number.

Sources: Cisco "ASA Series Syslog Messages" (106xxx access lists, 302xxx connections, 605xxx and 611xxx logons, 113xxx AAA);
Cisco IOS "System Message Guide" (SEC_LOGIN). Interface, address and port are ``outside:192.0.2.1/80``. Other messages stay text.
"""

from __future__ import annotations

import re
from typing import Any

from exporter.pipeline.parse import Parsed
from exporter.pipeline.parse.fields import collect

#: Longest message that is matched.
_MAX_CHARS = 4096
_FROM = r"(?:(?P<network__interface__in>[^\s:/]{1,64}):)?(?P<source__ip>[^\s/(]{1,64})(?:/(?P<source__port>[0-9]{1,5}))?(?:\([^)]{0,128}\))?"
_TO = (
    r"(?:(?P<network__interface__out>[^\s:/]{1,64}):)?(?P<destination__ip>[^\s/(]{1,64})(?:/(?P<destination__port>[0-9]{1,5}|[a-z]{1,16}))?"
    r"(?:\([^)]{0,128}\))?"
)
_USER = r"(?P<user__name>[^\s\"\]]{1,256})"


def _row(pattern: str, kind: str, outcome: str) -> tuple[re.Pattern[str], dict[str, str]]:
    return re.compile(pattern), {"kind": kind, "event.outcome": outcome}


_DENY = _row(
    rf"(?:Inbound |Deny inbound |Deny )(?:TCP )?(?:(?P<network__transport>tcp|udp|icmp|TCP|UDP|[0-9]{{1,3}}) )?"
    rf"(?:connection denied |\(no connection\) )?(?:from |src ){_FROM}(?:\([^)]{{0,64}}\))? (?:to |dst ){_TO}",
    "net.flow",
    "failure",
)
_BUILT = _row(
    rf"Built (?:(?P<network__direction>inbound|outbound) )?(?P<network__transport>[A-Z]{{2,8}}) connection "
    rf"(?P<session__id>[0-9]{{1,20}}) for {_FROM}(?: \([^)]{{0,128}}\))?(?:\([^)]{{0,128}}\))? to {_TO}",
    "net.flow",
    "success",
)
_TEARDOWN = _row(
    rf"Teardown (?P<network__transport>[A-Z]{{2,8}}) connection (?P<session__id>[0-9]{{1,20}}) for {_FROM} to {_TO} "
    r"duration (?P<event__duration>[0-9:]{1,16})(?: bytes (?P<source__bytes>[0-9]{1,20}))?",
    "net.flow",
    "success",
)
_LOGIN = rf"from {_FROM} to {_TO} for user \"{_USER}\""
_IOS = (
    rf"\[user: {_USER}\] \[Source: (?P<source__ip>[^\s\]]{{1,64}})\] \[localport: (?P<destination__port>[0-9]{{1,5}})\]"
)
_AAA = rf".{{0,256}}?: user = {_USER}(?: : user IP = (?P<source__ip>\S{{1,64}}))?"
#: By number, or mnemonic of IOS: the last part of the mark.
_MESSAGES = {
    "106001": _DENY,
    "106006": _DENY,
    "106014": _DENY,
    "106015": _DENY,
    "106023": _DENY,
    "302013": _BUILT,
    "302015": _BUILT,
    "302014": _TEARDOWN,
    "302016": _TEARDOWN,
    "605004": _row(f"Login denied {_LOGIN}", "auth.logon", "failure"),
    "605005": _row(f"Login permitted {_LOGIN}", "auth.logon", "success"),
    "113004": _row(f"AAA user authentication Successful{_AAA}", "auth.logon", "success"),
    "113005": _row(rf"AAA user authentication Rejected : reason = (?P<event__reason>[^:]{{1,128}}) :{_AAA}", "auth.logon", "failure"),
    "113015": _row(rf"AAA user authentication Rejected : reason = (?P<event__reason>[^:]{{1,128}}) :{_AAA}", "auth.logon", "failure"),
    "113012": _row(f"AAA user authentication Successful{_AAA}", "auth.logon", "success"),
    "LOGIN_FAILED": _row(rf"Login failed {_IOS}(?: \[Reason: (?P<event__reason>[^\]]{{1,128}})\])?", "auth.logon", "failure"),
    "LOGIN_SUCCESS": _row(f"Login Success {_IOS}", "auth.logon", "success"),
}  # fmt: skip


def parse_cisco_message(code: str, text: str) -> tuple[str, Parsed] | None:
    """Return the source and the fields of a message, or None when no row knows it. ``code``: ``ASA-4-106023``."""
    row = _MESSAGES.get(code.rpartition("-")[2])
    match = row[0].match(text) if row is not None and len(text) <= _MAX_CHARS else None
    if row is None or match is None:
        return None
    named = {key.replace("__", "."): value for key, value in match.groupdict().items() if value}
    pairs: dict[str, Any] = {**row[1], "observer.vendor": "Cisco", **named, "message": text}
    return "packets", collect(pairs.items())
