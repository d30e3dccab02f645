"""`policy diff`: counts what would change, from standard input and from Loki, and shows no text."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from exporter.cli.config import read_settings
from exporter.cli.recent import PAGE_ENTRIES, read_recent
from exporter.errors import ExporterError
from exporter.sandbox.loki import StandInLoki
from tests.support.cli import invoke

CONFIG = """\
version: 1
loki: {{url: "{loki}"}}
tenants:
  acme:
    selector: '{{job=~".+"}}'
    redaction: [secrets, eu-pii]
    policy: {{actions: {{email: {email}}}}}
    filters: [{{name: debug, when: {{field: severity.number, below: {below}}}, then: drop}}]
"""
LINES = b"""\
level=debug msg=one
level=info msg=two to=ann@example.com
level=info msg=three to=bob@example.com
level=error msg=four password=hunter2
"""


def config(tmp_path: Path, name: str, loki: str = "http://127.0.0.1:9", **changes: Any) -> Path:
    file = tmp_path / name
    file.write_text(CONFIG.format(**{"loki": loki, "email": "mask", "below": 9, **changes}))
    return file


def compared(tmp_path: Path, *options: str, **changes: Any) -> tuple[int, dict[str, Any]]:
    first, second = config(tmp_path, "a.yaml"), config(tmp_path, "b.yaml", **changes)
    done = invoke("policy", "diff", "-c", first, "--with", second, "--tenant", "acme", "--json", *options, stdin=LINES)
    assert not any(text in done.output for text in ("hunter2", "ann@", "three"))
    return done.exit_code, json.loads(done.stdout)


def test_the_same_policy_changes_nothing(tmp_path: Path) -> None:
    code, found = compared(tmp_path)
    assert (code, found["events"], found["changed"]) == (0, 4, 0)
    assert found["policies"]["before"] == found["policies"]["after"]
    # Pseudonyms come from one source, so the same value has the same one under either.
    first = config(tmp_path, "p.yaml", email="pseudonym")
    assert invoke("policy", "diff", "-c", first, "--with", first, "--tenant", "acme", stdin=LINES).exit_code == 0


def test_another_action_changes_the_events_that_it_acts_on(tmp_path: Path) -> None:
    code, found = compared(tmp_path, email="keep")
    assert (code, found["changed"], found["outcomes"], found["kinds"]) == (3, 2, {"kept → kept": 2}, {"log": 2})
    assert found["rules"]["email"] == {"before": 2, "after": 0}
    assert found["rules"]["password"] == {"before": 1, "after": 1}
    assert set(found["fields"].values()) == {2}


def test_another_filter_changes_outcomes(tmp_path: Path) -> None:
    code, found = compared(tmp_path, below=10)
    assert (code, found["changed"], found["outcomes"]) == (3, 2, {"kept → dropped": 2})
    assert (found["filters"], found["fields"]) == ({"debug": {"before": 1, "after": 3}}, {})
    table = invoke(
        "policy", "diff", "-c", tmp_path / "a.yaml", "--with", tmp_path / "b.yaml", "--tenant", "acme", stdin=LINES
    )
    assert table.exit_code == 3
    assert "2 of 4 event(s) would change" in table.stdout
    assert "debug  1 → 3" in table.stdout


def test_a_loki_out_of_reach_and_faults_of_usage_are_no_change(tmp_path: Path) -> None:
    file = config(tmp_path, "a.yaml")
    base = ("policy", "diff", "-c", file, "--with", file, "--tenant", "acme")
    done = invoke(*base, "--since", "1h")
    assert (done.exit_code, "Loki" in done.stderr) == (1, True)
    assert invoke(*base, "--since", "soon").exit_code == 2
    assert invoke(*base[:-1], "acne").exit_code == 2


@pytest.mark.parametrize("limit", [10_000, PAGE_ENTRIES + 5])
async def test_recent_lines_are_read_newest_first_and_bounded(tmp_path: Path, limit: int) -> None:
    number, now = 2 * PAGE_ENTRIES + 50, time.time_ns()
    loki = StandInLoki()
    await loki.start()
    try:
        old = (now - 7200 * 10**9, "too old")
        recent = [(now - 60 * 10**9 + i * 10**6, f"n={i}") for i in range(number)]
        assert loki.push("acme", {"job": "a"}, [old, *recent]).errors == []
        settings = read_settings(config(tmp_path, "a.yaml", loki=loki.url), policies=False)
        batches = await read_recent(settings, "acme", 3600, limit, b"")
    finally:
        await loki.stop()
    lines = [line for batch in batches for stream in batch.streams for line in stream.lines]
    assert lines == [f"n={i}" for i in range(max(0, number - limit), number)]


async def test_reading_raises_what_the_client_raises(tmp_path: Path) -> None:
    settings = read_settings(config(tmp_path, "a.yaml"), policies=False)
    with pytest.raises(ExporterError):
        await read_recent(settings, "acme", 3600, 10, b"")
