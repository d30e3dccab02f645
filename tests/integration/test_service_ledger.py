"""What an auditor asks of a service that ran: prove it, what went where, and what was done to its files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.custody import ledger, make_keys, proven, verify, with_copy
from tests.support.programs import Processes, processes, stand_in_loki
from tests.support.service import SQLITE_BUS, Installation, kafka_bus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TENANTS = ("acme", "beta")
PER_TENANT = 700


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus(request: pytest.FixtureRequest) -> dict:
    if request.param == "sqlite":
        return SQLITE_BUS
    return kafka_bus(request.getfixturevalue("kafka"), f"ledger-{time.time_ns()}", session_timeout_seconds=6)


def run_once(running: Processes, bus: dict) -> Installation:
    """Push, drain, push, drain: two runs of every engine."""
    private, _ = make_keys(running.directory)
    loki = stand_in_loki(running)
    feed = running.feed(loki.url)
    installation = Installation(
        running,
        loki.url,
        bus,
        {tenant: {"targets": ["archive"]} for tenant in TENANTS},
        {"archive": {"kind": "file", "directory": "out"}},
        service={"signing_key_file": str(private)},
    )
    for age_seconds in (3600, 60):
        start_ns = time.time_ns() - age_seconds * 10**9
        for tenant in TENANTS:
            lines = [(start_ns + i * 10**6, f'level=info n={i} msg="seen"', None) for i in range(PER_TENANT // 2)]
            feed.push(tenant, {"job": f"j{age_seconds}"}, lines)
        code, printed = installation.drain(seconds=120)
        assert code == 0, printed
    return installation


def test_an_auditor_proves_traces_and_finds_what_was_done(running: Processes, bus: dict) -> None:
    installation = run_once(running, bus)
    directory, public = installation.directory, installation.directory / "ledger.pub"
    figures = proven(installation)
    assert (figures["proven"], figures.get("dead-lettered", 0)) == (2 * PER_TENANT, 0)
    assert figures["pieces"] > 1

    # Who signed, and that another key did not.
    code, answer = verify(directory / "ledger", "--public-key", public)
    assert (code, answer["verified"][0]["figures"]["signed"]) == (0, 1)
    (directory / "other").mkdir()
    _, other = make_keys(directory / "other")
    assert verify(directory / "ledger", "--public-key", other)[0] == 1

    # What did the target take, and what was committed.
    code, taken = ledger(installation, "show", "--target", "archive")
    assert {tenant: total["events"] for tenant, total in taken["totals"].items()} == dict.fromkeys(TENANTS, PER_TENANT)
    code, committed = ledger(installation, "show", "--tenant", "acme")
    assert committed["totals"]["acme"]["out"] == PER_TENANT
    assert ledger(installation, "show", "--target", "archive", "--to", "2020-01-01")[1]["totals"] == {}

    # Where did this event go.
    lines = [
        line for file in (directory / "out" / "acme").rglob("*.ndjson*") for line in file.read_bytes().splitlines()
    ]
    event_id = json.loads(lines[5])["event.id"]
    code, trace = ledger(installation, "trace", event_id)
    assert code == 0
    (commit,), (place,), (target,) = trace["commits"], trace["bus"], trace["targets"]
    assert (commit["tenant"], place["tenant"], target["state"]) == ("acme", "acme", "taken")
    assert commit["proof"]["root"]
    assert len(target["receipts"]) == 1
    assert ledger(installation, "trace", event_id, "--ledger-only")[1]["commits"][0]["proof"] is None
    people = installation.command("ledger", "trace", event_id).stdout.decode()
    assert "proven by the Merkle root" in people
    assert ledger(installation, "trace", "0" * 31 + "1")[0] == 1

    # What was done to the archive.
    def problems_of(spoiled: Path) -> list[str]:
        code, answer = verify(directory / "ledger", spoiled)
        assert code == 1
        return [problem for part in answer["verified"] for problem in part["problems"]]

    out = directory / "out"
    file = max((path for path in out.rglob("*.ndjson*")), key=lambda path: path.stat().st_size).relative_to(out)
    original = (out / file).read_bytes().splitlines(keepends=True)

    def spoil(*lines: bytes) -> list[str]:
        spoiled = with_copy(out, "spoiled")
        (spoiled / file).write_bytes(b"".join(lines))
        return problems_of(spoiled)

    assert any("missing" in problem for problem in spoil(*original[:-1]))
    changed = original[0].replace(b"seen", b"sewn").replace(b'"info"', b'"warn"', 1)
    assert changed != original[0]
    assert any("something in them was changed" in problem for problem in spoil(changed, *original[1:]))
    assert any("another content" in problem for problem in spoil(*original, changed))
    foreign = original[0].replace(original[0][13:45], b"f" * 32)
    assert any("the ledger does not name" in problem for problem in spoil(*original, foreign))
    (with_copy(out, "spoiled") / file).unlink()
    assert any("missing" in problem for problem in problems_of(directory / "spoiled"))
