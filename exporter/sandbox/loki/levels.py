"""``detected_level``, which Loki adds to the structured metadata of every entry when ``discover_log_levels`` is on.

A shortened form of loki ``pkg/distributor/field_detection.go``: labels first, then metadata, then a level field in the
line, then words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_FIELDS = ("level", "LEVEL", "Level", "severity", "SEVERITY", "Severity", "lvl", "LVL", "Lvl")
_IN_LINE = re.compile(r"""["\s{,]?(?:level|severity|lvl)"?\s*[=:]\s*"?([a-z]+)""", re.IGNORECASE)
_NAMES = {
    "trace": "trace", "trc": "trace", "debug": "debug", "dbg": "debug", "info": "info", "inf": "info",
    "information": "info", "warn": "warn", "wrn": "warn", "warning": "warn", "error": "error", "err": "error",
    "critical": "critical", "fatal": "fatal",
}  # fmt: skip
_WORDS = re.compile(r"\b(trace|debug|fatal|critical|error|err|warning|warn|info)\b", re.IGNORECASE)


def detected_level(labels: Mapping[str, str], metadata: Mapping[str, str], line: str) -> str:
    """Return the level of an entry, ``unknown`` when nothing tells it."""
    if "detected_level" in metadata:
        return _name(metadata["detected_level"])
    for source in (labels, metadata):
        for name in _FIELDS:
            if name in source:
                return _name(source[name])
    found = _IN_LINE.search(line) or _WORDS.search(line)
    return _NAMES.get(found[1].lower(), "unknown") if found else "unknown"


def _name(value: str) -> str:
    return _NAMES.get(value.lower(), value)
