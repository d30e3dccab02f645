"""What the administrator is told about Splunk is what the connector does."""

from __future__ import annotations

import re
from pathlib import Path

from connectors.registry import factories
from connectors.splunk_hec.answers import _TEXT

ROOT = Path(__file__).parents[3]
DOC = (ROOT / "docs/targets/splunk_hec.md").read_text("utf-8")


def test_every_code_stands_in_the_table():
    table = DOC[DOC.index("## Answers and what they do") :]
    named: set[int] = set()
    for cell in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE):
        for first, last in re.findall(r"(\d+) to (\d+)", cell):
            named |= set(range(int(first), int(last) + 1))
        named |= {int(number) for number in re.findall(r"\d+", cell)}
    health_only = {17, 21, 22}
    assert set(_TEXT) - health_only <= named


def test_every_setting_is_spoken_of_or_plain():
    plain = {"kind", "gzip", "timeout_seconds", "url"}
    shared = set(factories()["file"].settings.__mro__[1].model_fields)
    missing = [name for name in factories()["splunk_hec"].settings.model_fields if name not in plain | shared]
    assert [name for name in missing if f"`{name}" not in DOC and f"{name}:" not in DOC] == []
