"""`status` and `dlq` on a real SQLite bus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.bus import create_bus
from exporter.bus.base import Bus, Commit, DeadLetter
from exporter.cli.scrape import scrape
from exporter.domain.checkpoints import LiveCheckpoint, Trouble, live_key
from exporter.domain.events import EncodedBatch, encode_head
from exporter.domain.tenants import shard_of
from exporter.ops.health import HealthServer
from exporter.settings.model import SqliteBus
from tests.support.cli import invoke, write_config

NOW_NS = 1_800_000_000_000_000_000
EVENT_ID = "0123456789abcdef0123456789abcdef"


def event(number: int) -> bytes:
    return encode_head(EVENT_ID, NOW_NS + number) + b'"event.original":"redacted"}'


def letter(number: int) -> DeadLetter:
    return DeadLetter("archive", "acme", 0, number, EVENT_ID, "too long", "E1", NOW_NS, b"stream", event(number))


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    bus = create_bus(SqliteBus(path=tmp_path / "state" / "bus.db"))
    bus.prepare(["acme", "beta"], ["archive"])
    yield bus
    bus.close()


def fill(bus: Bus) -> None:
    """Commit three events of one tenant with a checkpoint that has every kind of trouble."""
    troubles = (
        Trouble("held", NOW_NS, NOW_NS + 1_000_000_000, "redaction failed", 2),
        Trouble("suspect", NOW_NS, NOW_NS + 2_000_000_000, "counts disagree"),
        Trouble("blocked", NOW_NS, NOW_NS + 1, "too large"),
    )
    live = LiveCheckpoint(
        "acme", '{job="a"}', 0, NOW_NS, NOW_NS - 1, events=3, late=1, held=2, troubles=troubles, written_ns=NOW_NS
    )
    batch = EncodedBatch("acme", "p", keys=[b"k"] * 3, values=[event(i) for i in range(3)])
    writer = bus.open_shard(shard_of("acme", bus.shard_count), "test")
    writer.checkpoints()
    writer.commit(Commit([batch], {live_key("acme"): live.encode()}))
    writer.close()


def test_status_for_machines(bus: Bus, tmp_path: Path) -> None:
    fill(bus)
    bus.dead_letters().append([letter(7)])
    result = invoke("status", "-c", write_config(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    acme = report["tenants"]["acme"]
    assert (acme["frontier_ns"], acme["sealed_frontier_ns"]) == (NOW_NS, NOW_NS - 1)
    assert (acme["events"], acme["late"], acme["held"]) == (3, 1, 2)
    assert [w["reason"] for w in acme["held_windows"]] == ["redaction failed"]
    assert [w["reason"] for w in acme["suspect_windows"]] == ["counts disagree"]
    assert [w["reason"] for w in acme["blocked_windows"]] == ["too large"]
    assert acme["hours"]["suspect"] == 0
    assert acme["hours"]["blocked"] == 1
    assert report["tenants"]["beta"]["frontier_ns"] is None
    archive = report["targets"]["archive"]
    assert (archive["lag"], archive["dead_letters"], archive["breaker"]) == (3, 1, "unknown")
    assert {lane["tenant"] for lane in archive["lanes"]} == {"acme"}
    assert report["service"] == {"listen": "127.0.0.1:9", "up": False}


def test_status_for_people(bus: Bus, tmp_path: Path) -> None:
    fill(bus)
    result = invoke("status", "-c", write_config(tmp_path))
    assert result.exit_code == 0
    for text in ("acme", "2027-01-15T08:00:00.000Z", "not started", "counts disagree", "archive", "unknown"):
        assert text in result.stdout
    assert "no service answers" in result.stderr
    assert "\x1b" not in result.output


def test_status_before_the_first_run_says_so(tmp_path: Path) -> None:
    result = invoke("status", "-c", write_config(tmp_path))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert not (tmp_path / "state").exists()


METRICS = b"""\
# TYPE loki_siem_breaker_state gauge
loki_siem_breaker_state{target="archive",failure="outage"} 2.0
loki_siem_breaker_state{target="archive",failure="throttled"} 0.0
# TYPE loki_siem_tenant_stopped gauge
loki_siem_tenant_stopped{tenant="acme"} 1.0
loki_siem_tenant_stopped{tenant="beta"} 0.0
"""


def test_breakers_and_stopped_tenants_come_from_the_running_service(bus: Bus, tmp_path: Path) -> None:
    server = HealthServer("127.0.0.1:0", {}, lambda: (METRICS, "text/plain"))
    server.start()
    try:
        result = invoke("status", "-c", write_config(tmp_path, port=server.port), "--json")
        people = invoke("status", "-c", write_config(tmp_path, port=server.port))
        assert scrape(f":{server.port}") == scrape(f"0.0.0.0:{server.port}")
    finally:
        server.stop()
    report = json.loads(result.stdout)
    assert report["service"]["up"]
    assert report["targets"]["archive"]["breaker"] == "open"
    assert report["targets"]["archive"]["breakers"] == {"outage": "open", "throttled": "closed"}
    assert (report["tenants"]["acme"]["stopped"], report["tenants"]["beta"]["stopped"]) == (True, False)
    assert "open (outage)" in people.stdout


def test_something_else_on_the_port_is_no_service() -> None:
    server = HealthServer("127.0.0.1:0", {}, lambda: (b"<html>{{</html>", "text/html"))
    server.start()
    try:
        assert scrape(f"127.0.0.1:{server.port}") is None
    finally:
        server.stop()
    assert scrape("127.0.0.1:9") is None


def test_dead_letters_are_listed_and_shown(bus: Bus, tmp_path: Path) -> None:
    path = write_config(tmp_path)
    bus.dead_letters().append([letter(i) for i in range(3)])
    listed = json.loads(invoke("dlq", "list", "-c", path, "--target", "archive", "--json", "--limit", "2").stdout)
    assert listed["total"] == 3
    assert [x["offset"] for x in listed["letters"]] == [0, 1]
    assert listed["letters"][0]["code"] == "E1"
    people = invoke("dlq", "list", "-c", path, "--target", "archive", "--limit", "2").stdout
    assert "too long" in people
    assert "1 more" in people
    number = listed["letters"][1]["number"]
    shown = json.loads(invoke("dlq", "show", "-c", path, "--target", "archive", str(number)).stdout)
    assert shown["event"]["time"] == NOW_NS + 1
    assert invoke("dlq", "show", "-c", path, "--target", "archive", "999").exit_code == 2


def test_redriving_delivers_the_chosen_ones_in_order(bus: Bus, tmp_path: Path) -> None:
    path = write_config(tmp_path)
    bus.dead_letters().append([letter(i) for i in range(4)])
    numbers = [x.number for x in bus.dead_letters().list("archive")]
    command = ("dlq", "redrive", "-c", path, "--target", "archive")
    some = invoke(*command, str(numbers[2]), str(numbers[0]), "--json")
    assert some.exit_code == 0, some.output
    assert json.loads(some.stdout) == {"target": "archive", "redriven": 2, "refused": 0, "possible_duplicates": 0}
    assert [x.offset for x in bus.dead_letters().list("archive")] == [1, 3]
    assert "redriven: 2" in invoke(*command, "--all").stdout
    files = sorted((tmp_path / "out").rglob("*.ndjson*"))
    times = [json.loads(line)["time"] - NOW_NS for file in files for line in file.read_text().splitlines()]
    assert sorted(times) == [0, 1, 2, 3]
    assert times.index(0) < times.index(2)


def test_what_is_refused_again_stays_and_fails_the_command(bus: Bus, tmp_path: Path) -> None:
    bad = DeadLetter("archive", "acme", 0, 1, EVENT_ID, "two lines", "E2", NOW_NS, b"stream", event(1) + b"\n")
    bus.dead_letters().append([letter(0), bad])
    result = invoke("dlq", "redrive", "-c", write_config(tmp_path), "--target", "archive", "--all")
    assert result.exit_code == 1
    assert "refused: 1" in result.stdout
    assert "refused 1 again" in result.stderr
    assert [x.offset for x in bus.dead_letters().list("archive")] == [1]


def test_discarding_needs_a_confirmation_and_names(bus: Bus, tmp_path: Path) -> None:
    path = write_config(tmp_path)
    bus.dead_letters().append([letter(i) for i in range(3)])
    numbers = [x.number for x in bus.dead_letters().list("archive")]
    command = ("dlq", "discard", "-c", path, "--target", "archive")
    assert invoke(*command).exit_code == 2
    assert invoke(*command, "--all").exit_code == 2  # nobody can be asked
    assert invoke(*command, "--all", str(numbers[0]), "--yes").exit_code == 2
    assert invoke(*command, "999", "--yes").exit_code == 2
    assert bus.dead_letters().counts() == {"archive": 3}
    assert invoke(*command, str(numbers[1]), "--yes").stdout == "discarded: 1\n"
    assert [x.offset for x in bus.dead_letters().list("archive")] == [0, 2]
    assert invoke(*command, "--all", "--yes").exit_code == 0
    assert bus.dead_letters().counts().get("archive", 0) == 0
