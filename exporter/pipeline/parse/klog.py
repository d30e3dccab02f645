"""klog (Kubernetes): ``Lmmdd hh:mm:ss.uuuuuu threadid file:line] msg``, structured: ``"msg" key="value"``.

Source: k8s.io/klog/v2, header comment and "structured logging" (values are Go-quoted).
"""

from __future__ import annotations

import re

from exporter.pipeline.parse import Parsed
from exporter.pipeline.parse.fields import bound, collect
from exporter.pipeline.parse.logfmt import LogfmtParser, unquote

_HEADER = re.compile(
    r"([IWEF])([0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}) {1,8}([0-9]{1,10}) ([^\s:\]]{1,256}):([0-9]{1,7})\] ?"
)
_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "fatal"}
_QUOTED = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(?: |$)', re.DOTALL)


def parse_klog(line: str, logfmt: LogfmtParser) -> Parsed | None:
    """Return header, message and the pairs behind a quoted message. Raises OverBound."""
    match = _HEADER.match(line)
    if match is None:
        return None
    bound(line)
    level, time, thread, file, number = match.groups()
    pairs: list[tuple[str, object]] = [
        ("severity.text", _LEVELS[level]),
        ("timestamp", time),
        ("thread.id", thread),
        ("code.filepath", file),
        ("code.lineno", number),
    ]
    text = line[match.end() :]
    quoted = _QUOTED.match(text)
    tail = text[quoted.end() :] if quoted else ""
    parsed = logfmt.parse(tail) if tail else None
    if quoted is None or (tail and parsed is None):
        return collect([*pairs, ("message", text)])
    pairs.append(("message", unquote(quoted[1])))
    if parsed is not None:
        taken = {key for key, _ in pairs}
        pairs += [(f"klog.{key}" if key in taken else key, value) for key, value in zip(*parsed, strict=True)]
    return collect(pairs)
