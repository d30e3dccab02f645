"""Linux audit records (``type=SYSCALL msg=audit(1700000000.123:456): key=value …``).

Sources: audit-userspace "audit events" (fields that users control are hex where they hold blanks, quotes or control
characters; user-space records carry a second ``msg='…'``; enriched ones follow a group separator, 0x1D). Records of one event
share ``auditd.serial`` and ``auditd.timestamp``; they stay one event a line (docs/adr/0007).
"""

from __future__ import annotations

import re
from typing import Any

from exporter.pipeline.parse import Parsed
from exporter.pipeline.parse.fields import bound, collect

_HEADER = re.compile(
    r"(?:node=(\S++) )?(?:type=([A-Z0-9_\[\]]{1,64}) )?(?:msg=)?audit\(([0-9]{1,20}(?:\.[0-9]{1,9})?):([0-9]{1,20})\): ?"
)
_PAIR = re.compile(r"""([A-Za-z_][A-Za-z0-9_.\-]*+)=(?:"([^"]*+)"|'([^']*+)'|([^\s,]*+))""")
#: Fields the kernel writes as hex when it cannot quote them (audit-userspace ``lib/fieldtab``/"encoded" fields).
_ENCODED = frozenset(
    ("acct", "cmd", "comm", "cwd", "data", "exe", "file", "key", "name", "new_pwd", "ocomm", "path", "proctitle",
     "terminal", "vm", "watch")
)  # fmt: skip
_ARGUMENT = re.compile(r"a[0-9]{1,3}(?:\[[0-9]{1,3}\])?")
_HEX = re.compile(r"(?:[0-9A-F]{2})++")


def parse_auditd(line: str) -> Parsed | None:
    """Return header and fields of a record; those of an inner ``msg='…'`` stand beside the outer. Raises OverBound."""
    match = _HEADER.match(line)
    if match is None:
        return None
    bound(line)
    node, kind, time, serial = match.groups()
    pairs: list[tuple[str, Any]] = [("auditd.timestamp", time), ("auditd.serial", serial)]
    pairs += [("type", kind)] if kind else []
    pairs += [("node", node)] if node else []
    pairs += _pairs(line[match.end() :], kind or "")
    if kind == "EXECVE":
        words = [value for key, value in pairs if _ARGUMENT.fullmatch(key)]
        pairs += [("command_line", " ".join(words))] if words else []
    return collect(pairs)


def _pairs(text: str, kind: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, quoted, single, plain in _PAIR.findall(text):
        if single and key == "msg":
            pairs += _pairs(single, kind)
        elif plain and _is_encoded(key, kind) and _HEX.fullmatch(plain):
            pairs.append((key, _decoded(plain)))
        else:
            pairs.append((key, quoted or single or plain))
    return pairs


def _is_encoded(key: str, kind: str) -> bool:
    """Arguments are strings in EXECVE records, but numbers of registers in SYSCALL records."""
    return key in _ENCODED or (kind == "EXECVE" and _ARGUMENT.fullmatch(key) is not None)


def _decoded(text: str) -> str:
    """Return the text of hex; NUL stands between the words of a command line. What is no UTF-8 stays hex."""
    try:
        return bytes.fromhex(text).rstrip(b"\0").replace(b"\0", b" ").decode()
    except UnicodeDecodeError:
        return text
