"""Several processes and roles: sharing and taking over, probes, an orderly end, and one target that is down while others go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bus_contents import Difference, assert_exactly_once, difference
from tests.support.feed import Feed, Traffic
from tests.support.kafka import free_port
from tests.support.programs import (
    Hec,
    Processes,
    Program,
    processes,
    resident_bytes,
    stand_in_loki,
    stored_ids,
    wait_until,
)
from tests.support.service import SQLITE_BUS, Installation, kafka_bus, pid_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TENANTS = [f"tenant-{n}" for n in range(6)]
PAYLOAD = "payload " * 125
LOKI = {"poll_interval_seconds": 0.3, "hot_delay_seconds": 0.3, "near_horizon_seconds": 120}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus(request: pytest.FixtureRequest) -> dict:
    if request.param == "sqlite":
        return SQLITE_BUS
    return kafka_bus(request.getfixturevalue("kafka"), f"roles-{time.time_ns()}", session_timeout_seconds=6)


def install(running: Processes, bus: dict, targets: dict) -> tuple[Installation, Feed]:
    loki = stand_in_loki(running)
    tenants = {tenant: {"targets": list(targets), "redaction": []} for tenant in TENANTS}
    return Installation(running, loki.url, bus, tenants, targets, loki=LOKI), running.feed(loki.url)


def owners(installation: Installation) -> dict[str, int]:
    """Tenant → pid of the reader that committed last for it."""
    return {tenant: pid_of(live.worker) for tenant, live in installation.lives().items()}


def all_read_by(installation: Installation, programs: list[Program]) -> bool:
    """Each program reads some tenants, together all."""
    by_tenant = owners(installation)
    parts = [set(program.children()) & set(by_tenant.values()) for program in programs]
    return len(by_tenant) == len(TENANTS) and all(parts) and set().union(*parts) == set(by_tenant.values())


def test_two_supervisors_share_and_take_over(running: Processes, bus: dict) -> None:
    installation, feed = install(running, bus, {"archive": {"kind": "file", "directory": "out"}})
    with Traffic(feed, TENANTS, seed=21):
        first = installation.start("first", "--role", "reader", reader_processes=1)
        second = installation.start("second", "--role", "reader", reader_processes=1)
        delivery = installation.start("delivery", "--role", "delivery")
        installation.wait_ready("first", "second", "delivery")
        wait_until(lambda: all_read_by(installation, [first, second]), "both read")
        first.kill()
        wait_until(lambda: all_read_by(installation, [second]), "the second reads all")
        first = installation.start("first", "--role", "reader", reader_processes=1)
        wait_until(lambda: all_read_by(installation, [first, second]), "both read again")
        # An orderly end hands over at once and leaves nothing behind.
        assert first.terminate() == 0
        wait_until(lambda: all_read_by(installation, [second]), "the second reads all")
    installation.wait_stored(feed, running.directory / "out")
    assert second.terminate() == 0
    assert delivery.terminate() == 0
    assert_exactly_once(installation.contents(), feed)
    expected = [event_id for tenant in TENANTS for event_id in feed.ids(tenant)]
    assert difference(expected, stored_ids(running.directory / "out")) == Difference()


def test_children_end_when_their_supervisor_is_killed(running: Processes) -> None:
    installation, _ = install(running, SQLITE_BUS, {"archive": {"kind": "file", "directory": "out"}})
    service = installation.start("service")
    installation.wait_ready("service")
    children = service.children()
    assert children
    service.kill_alone()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "the children end")


def test_probes_and_metrics(running: Processes) -> None:
    hec = Hec(running)
    installation, feed = install(running, SQLITE_BUS, {"soc": hec.target()})
    service = installation.start("service")
    wait_until(lambda: installation.probe("service", "/healthz/live") is not None, "the probes answer")
    installation.wait_ready("service")
    feed.push(TENANTS[0], {"job": "a"}, [(time.time_ns(), f"line {i}", None) for i in range(100)])
    hec.wait_stored(100)
    wait_until(lambda: metric(installation, "loki_siem_delivered_events_total") == 100, "and counted")
    assert metric(installation, "loki_siem_loki_entries_total") == 100
    assert metric(installation, "loki_siem_events_total") == 100
    assert metric(installation, "loki_siem_dead_letters_total") == 0
    for path in ("/healthz/startup", "/healthz/live", "/healthz/ready"):
        answer = installation.probe("service", path)
        assert answer is not None
        assert answer.status_code == 200
    assert service.terminate() == 0
    assert installation.probe("service", "/healthz/live") is None


def metric(installation: Installation, name: str) -> float:
    """Sum of a metric over its labels."""
    answer = installation.probe("service", "/metrics")
    assert answer is not None
    rows = [line.rpartition(" ") for line in answer.text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    return sum(float(value) for _, _, value in rows)


def test_a_target_that_is_down_costs_others_nothing(running: Processes) -> None:
    """G10: memory does not follow the backlog of the dead target; later it gets all of it, and so does a target that is new."""
    port = free_port()
    down = {"kind": "splunk_hec", "url": f"http://127.0.0.1:{port}", "token_file": "hec.token", "retry_max_seconds": 1}
    hec_token = running.directory / "hec.token"
    hec_token.write_text("stand-in-of-the-tests")
    targets = {"soc": down, "archive": {"kind": "file", "directory": "out"}}
    installation, feed = install(running, SQLITE_BUS, targets)
    installation.service = {"memory_bytes": 33_554_432}
    service = installation.start("service")
    installation.wait_ready("service")

    def push_round(number: int) -> None:
        for tenant in TENANTS:
            start_ns = time.time_ns() - 10**9
            for part in range(2):
                entries = [(start_ns + part * 10**6 + i, f"{number} {part} {i} {PAYLOAD}", None) for i in range(1000)]
                feed.push(tenant, {"job": "bulk"}, entries)

    sizes: list[dict[int, int]] = []
    for number in range(8):
        push_round(number)
        installation.wait_stored(feed, running.directory / "out")
        sizes.append({pid: resident_bytes(pid) for pid in service.children()})
    print("MB by process after each round:", [sorted(s // 1_000_000 for s in row.values()) for row in sizes])
    # Four rounds fill what the processes may hold (memory_bytes); of as much again nothing may stay.
    grown = {pid: sizes[-1][pid] - sizes[3][pid] for pid in sizes[-1] if pid in sizes[3]}
    pushed_since = 4 * 2000 * len(TENANTS) * len(PAYLOAD)
    assert len(grown) == len(service.children())
    assert max(grown.values()) < pushed_since / 2
    assert all(size < 256_000_000 for size in sizes[-1].values())

    hec = Hec(running, port)
    expected = [event_id for tenant in TENANTS for event_id in feed.ids(tenant)]
    hec.wait_stored(len(expected))
    assert service.terminate() == 0
    assert difference(expected, hec.ids()) == Difference()
    assert difference(expected, stored_ids(running.directory / "out")) == Difference()

    installation.targets["late"] = {"kind": "file", "directory": "late"}
    for keys in installation.tenants.values():
        keys["targets"] = [*keys["targets"], "late"]
    code, printed = installation.drain(seconds=120)
    assert code == 0, printed
    assert difference(expected, stored_ids(running.directory / "late")) == Difference()
    assert_exactly_once(installation.contents(), feed)


def test_the_end_does_not_wait_for_a_hung_target(running: Processes) -> None:
    """SIGTERM ends the service within its deadline; what the target did not acknowledge is delivered by the next run."""
    hec = Hec(running)
    installation, feed = install(running, SQLITE_BUS, {"soc": hec.target()})
    hec.control("POST", "faults", json=[{"hang": True, "times": 1000}])
    service = installation.start("service", drain_deadline_seconds=2)
    installation.wait_ready("service")
    for tenant in TENANTS:
        feed.push(tenant, {"job": "a"}, [(time.time_ns() + i, f"line {i}", None) for i in range(100)])
    wait_until(
        lambda: hec.control("GET", "stats")["requests"] > 1, "deliveries under way"
    )  # the first one is the probe
    assert service.terminate() == 0
    assert hec.ids() == []
    hec.control("POST", "faults/clear")
    code, printed = installation.drain(seconds=120)
    assert code == 0, printed
    assert difference([i for tenant in TENANTS for i in feed.ids(tenant)], hec.ids()) == Difference()


def test_a_full_bus_pauses_reading_and_loses_nothing(running: Processes) -> None:
    """Undelivered events reach the bound of the bus: Loki is the buffer until the target is back."""
    port = free_port()
    (running.directory / "hec.token").write_text("stand-in-of-the-tests")
    down = {"kind": "splunk_hec", "url": f"http://127.0.0.1:{port}", "token_file": "hec.token", "retry_max_seconds": 1}
    installation, feed = install(running, {**SQLITE_BUS, "retention_bytes": 3_000_000}, {"soc": down})
    service = installation.start("service")
    installation.wait_ready("service")
    for tenant in TENANTS:
        start_ns = time.time_ns() - 10**9
        feed.push(tenant, {"job": "bulk"}, [(start_ns + i, f"{i} {PAYLOAD}", None) for i in range(1500)])
    installation.wait_logged(service, "commit_refused")
    assert sum(live.events for live in installation.lives().values()) < feed.count

    hec = Hec(running, port)
    hec.wait_stored(feed.count)
    assert service.terminate() == 0
    expected = [event_id for tenant in TENANTS for event_id in feed.ids(tenant)]
    assert difference(expected, hec.ids()) == Difference()
    assert sum(live.events for live in installation.lives().values()) == feed.count


def test_near_late_lines_arrive_once_and_marked(running: Processes, record_property: pytest.RecordProperty) -> None:
    hec = Hec(running)
    installation, feed = install(running, SQLITE_BUS, {"soc": hec.target()})
    service = installation.start("service")
    installation.wait_ready("service")
    seen_at: dict[str, float] = {}
    with Traffic(feed, TENANTS, seed=31, pushes_per_second=10, late_seconds=30) as traffic:
        end = time.monotonic() + 15
        while time.monotonic() < end:
            now = time.time()
            for event_id in hec.ids():
                seen_at.setdefault(event_id, now)
            time.sleep(0.1)
    expected = [event_id for tenant in TENANTS for event_id in feed.ids(tenant)]
    hec.wait_stored(len(expected))
    assert service.terminate() == 0
    assert difference(expected, hec.ids()) == Difference()
    contents = installation.contents()
    assert_exactly_once(contents, feed)
    marked = {event_id for tenant in TENANTS for event_id in contents.late_ids(tenant)}
    # What was pushed before its second had been read is not late, whatever its stamp; but nothing else may be marked.
    assert marked <= traffic.late_ids
    assert len(marked) > len(traffic.late_ids) / 2
    for name, ids in (("prompt", seen_at.keys() - traffic.late_ids), ("late", seen_at.keys() & traffic.late_ids)):
        waits = sorted(seen_at[event_id] - feed.accepted_at[event_id] for event_id in ids)
        shown = {f"p{p}": round(waits[len(waits) * p // 100], 2) for p in (50, 99)} if waits else {}
        print(f"{name}: {len(waits)} lines from Loki's acceptance to the HEC, seconds {shown}")
        record_property(f"latency {name}", str(shown))
