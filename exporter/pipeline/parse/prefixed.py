"""Text lines of programs: a time, a level, perhaps a logger and a thread, then the message; and two web servers' error logs.

Python (logging's usual formats), Java (logback, log4j, Spring Boot), Go, .NET, PostgreSQL, nginx ``error_log``, Apache httpd
2.4 ``ErrorLog``. Keys are canonical names. Only the front of a line is read; the rest is its message.
"""

from __future__ import annotations

import re

from exporter.pipeline.parse import Parsed
from exporter.pipeline.parse.fields import bound, collect, present

_DAY_TIME = (
    r"[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?"
    r"(?: ?(?:Z|UTC|GMT|CET|CEST)\b| ?[+-][0-9]{2}:?[0-9]{2})?"
)
_LEVEL = (
    r"(?P<level>TRACE|DEBUG|DBG|INFO|INFORMATION|INF|NOTICE|WARN|WARNING|WRN|ERROR|ERR|SEVERE|CRITICAL|CRIT|FATAL|PANIC|ALERT|EMERG|LOG"
    r"|trace|debug|info|notice|warn|warning|error|err|critical|crit|fatal|panic|alert|emerg)"
)
_LOGGER = r"[A-Za-z_$\[][\w.$\-/\[\]]{0,127}"
#: The forms, tried in turn; groups are named by what they hold. Every repetition is bounded.
_FORMS = (
    # nginx: 2026/01/02 15:04:05 [error] 31#31: *7 open() failed
    re.compile(
        r"(?P<timestamp>[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}) \[(?P<level>[a-z]{3,8})\] "
        r"(?P<pid>[0-9]{1,10})#(?P<thread>[0-9]{1,10}): (?:\*(?P<connection>[0-9]{1,20}) )?"
    ),
    # Apache httpd 2.4: [Thu Jun 09 11:12:13.123456 2026] [core:error] [pid 1:tid 2] [client 192.0.2.1:443] AH00128: …
    re.compile(
        r"\[(?P<timestamp>[A-Z][a-z]{2} [A-Z][a-z]{2} {1,2}[0-9]{1,2} [0-9:.]{8,18} [0-9]{4})\] "
        r"\[(?:(?P<logger>[A-Za-z0-9_\-]{0,64}):)?(?P<level>[a-z]{3,8}[0-9]?)\] "
        r"(?:\[pid (?P<pid>[0-9]{1,10})(?::tid (?P<thread>[0-9]{1,20}))?\] )?"
        r"(?:\[client (?P<client>[^\s\]]{1,64}\]?|\[[^\s\]]{1,64}\]:[0-9]{1,5})\] )?(?:(?P<code>AH[0-9]{5}): )?"
    ),
    # Spring Boot: 2026-01-02 15:04:05.123  INFO 17 --- [main] c.e.Application : text
    re.compile(
        rf"(?P<timestamp>{_DAY_TIME}) {{1,4}}{_LEVEL} {{1,4}}(?P<pid>[0-9]{{1,10}}) --- "
        rf"(?:\[[^\]\n]{{1,64}}\] )?\[ {{0,32}}(?P<thread>[^\]\n]{{1,128}})\] (?P<logger>{_LOGGER}) {{0,64}}: "
    ),
    # logback: 2026-01-02 15:04:05.123 [main] INFO com.example.App - text
    re.compile(
        rf"\[?(?P<timestamp>{_DAY_TIME})\]? {{1,4}}\[(?P<thread>[^\]\n]{{1,128}})\] {{1,4}}{_LEVEL} {{1,4}}"
        rf"(?P<logger>{_LOGGER}) {{0,64}}(?:- |: )"
    ),
    # Python: 2026-01-02 15:04:05,123 - app.module - WARNING - text
    re.compile(rf"\[?(?P<timestamp>{_DAY_TIME})\]? {{1,4}}- (?P<logger>{_LOGGER}) {{0,32}}- {_LEVEL} {{0,8}}- "),
    # 2026-01-02 15:04:05,123 WARNING [app.module] text, [2026-…] [INFO] text, 2026-… [INFO] app.module: text
    re.compile(
        rf"\[?(?P<timestamp>{_DAY_TIME})\]?[ \t|]{{1,4}}(?:\[(?P<pid>[0-9]{{1,10}})\][ \t]{{1,4}})?\[? {{0,4}}"
        rf"{_LEVEL}\b {{0,8}}\]?[:|]?(?:[ \t|]{{1,4}}|$)(?:\[(?P<logger>{_LOGGER})\] {{1,4}}(?:- |: )?)?"
    ),
    # Go's log package: 2026/01/02 15:04:05.123456 main.go:12: text
    re.compile(
        r"(?P<timestamp>[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?) "
        r"(?P<file>[\w./\-]{1,200}\.go:[0-9]{1,6})?(?(file): )"
    ),
    # Python's basicConfig: WARNING:app.module:text
    re.compile(r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):(?P<logger>[A-Za-z_][\w.\-]{0,127}):"),
    # Level first: INFO  2026-01-02 15:04:05,123 text, [ERROR] 2026-… text
    re.compile(rf"\[?{_LEVEL}\]?:? {{1,8}}\[?(?P<timestamp>{_DAY_TIME})\]?:? {{1,4}}(?:- )?"),
    # Level first, nothing else: ERROR: text, [warn] text
    re.compile(rf"{_LEVEL}: {{1,4}}"),
    re.compile(rf"\[{_LEVEL}\]:? {{1,4}}"),
)
_NAMES = {
    "timestamp": "timestamp",
    "level": "severity.text",
    "pid": "process.pid",
    "thread": "thread.name",
    "logger": "log.logger",
    "connection": "nginx.connection",
    "client": "client",
    "code": "event.code",
    "file": "code.filepath",
}
_STARTS = frozenset("0123456789[TDINWESCFPALtdinwescfpal")
_HOST_PORT = re.compile(r"\[?(.+?)\]?:([0-9]{1,5})")
_NGINX_CLIENT = re.compile(r", client: ([^,\s]{1,64})(?:, server: ([^,\s]{0,255}))?")


def parse_prefixed(line: str) -> Parsed | None:
    """Return what stands before the message, and the message, or None when nothing is known of it. Raises OverBound."""
    if line[:1] not in _STARTS:
        return None
    head = line[:1024]  # no form is longer
    for number, form in enumerate(_FORMS):
        match = form.match(head)
        if match is not None:
            return _fields(line, match, is_nginx=number == 0)
    return None


def _fields(line: str, match: re.Match[str], *, is_nginx: bool) -> Parsed:
    bound(line)
    found = match.groupdict()
    client = found.pop("client", None)
    pairs = present([_NAMES[name] for name in found], found.values())
    message = line[match.end() :]
    if client is not None:
        peer = _HOST_PORT.fullmatch(client)
        pairs += [("source.ip", peer[1]), ("source.port", peer[2])] if peer else [("source.ip", client)]
    if is_nginx and (peer := _NGINX_CLIENT.search(message)):
        pairs += present(("source.ip", "server.name"), peer.groups())
    return collect([*pairs, ("message", message)])
