"""The service with a policy of pseudonyms, and what a privacy officer does afterwards with the commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import ROOT, Processes, processes, stand_in_loki
from tests.support.service import SQLITE_BUS, Installation, kafka_bus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

PERSON = "zebulon.quux@example.com"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "sqlite":
        return SQLITE_BUS
    return kafka_bus(request.getfixturevalue("kafka"), f"ps-{time.time_ns()}", session_timeout_seconds=6)


def ask(installation: Installation, *arguments: str, value: str = "") -> Any:
    """Run a command of ``pseudonyms`` and return its JSON."""
    command = [sys.executable, "-m", "exporter", "pseudonyms", *arguments, "--tenant", "acme", "--json"]
    done = subprocess.run(
        [*command, "-c", str(installation.directory / "drain.yaml")],
        input=value.encode(),
        capture_output=True,
        check=False,
        cwd=installation.directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"zebulon" not in done.stdout + done.stderr
    return json.loads(done.stdout)


def test_from_line_to_deletion(running: Processes, bus: dict[str, Any]):
    loki = stand_in_loki(running)
    feed = running.feed(loki.url)
    now_ns = time.time_ns()
    lines = [f'{{"user":"u{i % 7}","msg":"mail to {PERSON} number {i}"}}' for i in range(200)]
    lines += [f"card 4111111111111111 number {i}" for i in range(3)]
    feed.push("acme", {"job": "shop"}, [(now_ns - 60 * 10**9 + i, line, None) for i, line in enumerate(lines)])
    key = running.directory / "master.key"
    key.write_text("k" * 64)
    installation = Installation(
        running,
        loki.url,
        bus,
        {"acme": {"targets": ["archive"], "policy": {"based_on": "security", "actions": {"card": "drop_event"}}}},
        {"archive": {"kind": "file", "directory": "out"}},
        service={"pseudonym_key_file": str(key)},
    )
    code, printed = installation.drain(seconds=100)
    assert code == 0, printed
    stored = b"".join(p.read_bytes() for p in (running.directory / "out").rglob("*") if p.is_file())
    assert b"zebulon" not in stored

    ledger = installation.contents().ledger
    entries = [e for records in ledger.values() for raw in records for e in json.loads(raw)["entries"]]
    totals = {key: sum(entry[key] for entry in entries) for key in ("entries_in", "events_out", "held", "dropped")}
    assert totals == {"entries_in": 203, "events_out": 200, "held": 0, "dropped": 3}

    known = ask(installation, "tokens", value=f"{PERSON.upper()}\n")["tokens"]
    assert [item["kind"] for item in known] == ["email"]
    assert stored.count(known[0]["token"].encode()) == 200
    (epoch,) = ask(installation, "epochs")["epochs"]
    assert epoch["values"] == 8  # seven users and one address
    assert ask(installation, "forget", "--yes", value=PERSON)["forgotten"] == 1
    assert ask(installation, "tokens", value=PERSON)["tokens"] == []
    assert ask(installation, "tokens", "--kind", "user", value="u3")["tokens"]
    assert ask(installation, "shred", "--epoch", epoch["epoch"], "--yes")["shredded"] == 8
    assert ask(installation, "epochs")["epochs"] == []
