"""Levels of any scale → OpenTelemetry's severity numbers (logs data model, "Mapping of SeverityNumber")."""

from __future__ import annotations

from typing import Any

#: By word, and by number where every logger means the same by it: bunyan's and pino's tens, which Python's agree with up to 40.
SEVERITY_NUMBERS: dict[str, int] = {
    "trace": 1, "finest": 1, "verbose": 1, "10": 1, "debug": 5, "fine": 5, "dbg": 5, "20": 5, "config": 8, "info": 9, "information": 9,
    "informational": 9, "inf": 9, "30": 9, "notice": 10, "audit": 10, "warn": 13, "warning": 13, "wrn": 13, "40": 13, "error": 17,
    "err": 17, "severe": 17, "50": 17, "crit": 18, "critical": 18, "dpanic": 18, "alert": 19, "fatal": 21, "panic": 21, "emerg": 21,
    "emergency": 21, "60": 21,
}  # fmt: skip
#: The same by every spelling that programs use, so that one look-up does.
SEVERITY_OF: dict[Any, int] = {
    spelling: number
    for name, number in SEVERITY_NUMBERS.items()
    for spelling in (name, name.upper(), name.capitalize(), *([int(name)] if name.isdigit() else []))
}
#: RFC 5424 section 6.2.1, table 2.
SYSLOG_WORDS: dict[int, str] = {
    0: "emergency",
    1: "alert",
    2: "critical",
    3: "error",
    4: "warning",
    5: "notice",
    6: "informational",
    7: "debug",
}
#: Micro Focus ArcSight CEF implementation standard, "Severity": 0-3 low, 4-6 medium, 7-8 high, 9-10 very high, or the words.
CEF_SEVERITY: dict[Any, int] = {
    **{str(n): number for n, number in enumerate((9, 9, 9, 9, 13, 13, 13, 17, 17, 21, 21))},
    "Unknown": 9,
    "Low": 9,
    "Medium": 13,
    "High": 17,
    "Very-High": 21,
}
#: Windows event levels (winmeta.xml): 0 and 4 information, 1 critical, 2 error, 3 warning, 5 verbose.
WINDOWS_SEVERITY: dict[Any, int] = {
    spelling: number
    for level, number in {"0": 9, "1": 21, "2": 17, "3": 13, "4": 9, "5": 5}.items()
    for spelling in (level, int(level))
}
#: Suricata's alert severity (1 is the highest) on the same scale.
SURICATA_SEVERITY: dict[Any, int] = {"1": 17, "2": 13, "3": 9, "4": 9}
