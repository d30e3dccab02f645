"""``run --drain`` as a process: what Loki holds is on the bus and at every target, exactly; totals, exit codes, and what is said when
it cannot be so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kafka import free_port
from tests.support.service import (
    SQLITE_BUS,
    Difference,
    Entry,
    Feed,
    Hec,
    Installation,
    Processes,
    StandIn,
    assert_exactly_once,
    difference,
    kafka_bus,
    processes,
    stand_in_loki,
    stored_ids,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TENANTS = ("acme", "beta", "gamma")
HOUR_NS = 3600 * 10**9


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus(request: pytest.FixtureRequest, tmp_path: Path) -> dict:
    if request.param == "sqlite":
        return SQLITE_BUS
    return kafka_bus(request.getfixturevalue("kafka"), f"drain-{time.time_ns()}", session_timeout_seconds=6)


def install(running: Processes, loki_url: str, bus: dict, hec: Hec) -> Installation:
    targets = {"soc": hec.target(), "archive": {"kind": "file", "directory": "out"}}
    tenants = {name: {"targets": ["soc", "archive"]} for name in TENANTS}
    return Installation(running, loki_url, bus, tenants, targets)


def push_history(feed: Feed) -> None:
    """Three formats, metadata, a crowd on one nanosecond, gaps of half a day, a fat line, odd characters."""
    now_ns = time.time_ns()
    for tenant in TENANTS:
        for age_hours in (30, 13, 0.02):
            start_ns = now_ns - int(age_hours * HOUR_NS)
            json_lines: list[Entry] = [
                (
                    start_ns + i * 10**6,
                    f'{{"n":{i},"level":"info","user":{{"id":{i}}}}}',
                    {"trace": f"{i:x}"} if i % 3 else None,
                )
                for i in range(600)
            ]
            logfmt: list[Entry] = [
                (start_ns + i * 10**7, f'level=warn n={i} msg="took long"', None) for i in range(200)
            ]
            ties: list[Entry] = [(start_ns, f"tie {i}", None) for i in range(700)]
            odd: list[Entry] = [
                (start_ns + i, text, None) for i, text in enumerate(("\u2028 \x00 \x1b[31m", "", " ", "ü" * 9, "{"))
            ]
            fat: list[Entry] = [(start_ns + 5, "x" * 200_000, None)]
            for name, entries in (("json", json_lines), ("logfmt", logfmt), ("text", [*ties, *odd, *fat])):
                feed.push(tenant, {"job": name}, sorted(entries, key=lambda entry: entry[0]))


def test_history_arrives_everywhere_exactly_once(running: Processes, bus: dict) -> None:
    loki, hec = stand_in_loki(running), Hec(running)
    feed = running.feed(loki.url)
    push_history(feed)
    loki.control("POST", "flush")  # ingesters are not asked for entries of the day before
    installation = install(running, loki.url, bus, hec)

    code, printed = installation.drain(seconds=120)
    assert code == 0, printed
    assert_exactly_once(installation.contents(), feed)
    expected = [event_id for tenant in TENANTS for event_id in feed.ids(tenant)]
    assert difference(expected, hec.ids()) == Difference()
    assert difference(expected, stored_ids(running.directory / "out")) == Difference()
    for tenant in TENANTS:
        count = len(feed.ids(tenant))
        assert f"tenant {tenant}: events {count}, late 0, held 0, troubled windows 0" in printed
    for target in ("archive", "soc"):
        assert f"target {target}: delivered {len(expected)}, dead letters 0" in printed

    # Again, with a few lines more: only these go out.
    feed.push("acme", {"job": "text"}, [(time.time_ns() - 10**9, f"later {i}", None) for i in range(10)])
    code, printed = installation.drain(seconds=120)
    assert code == 0, printed
    expected = [event_id for tenant in TENANTS for event_id in feed.ids(tenant)]
    assert_exactly_once(installation.contents(), feed)
    assert difference(expected, hec.ids()) == Difference()
    assert difference(expected, stored_ids(running.directory / "out")) == Difference()
    assert "target soc: delivered 10, dead letters 0" in printed


def push_a_little(feed: Feed) -> None:
    for tenant in TENANTS:
        feed.push(tenant, {"job": "a"}, [(time.time_ns() - 10**9, f"line {i}", None) for i in range(50)])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": 401, "body": "no org id"}, "401"),
        ({"status": 403, "body": "forbidden"}, "403"),
    ],
)
def test_a_refused_tenant_is_named_and_the_others_arrive(running: Processes, answer: dict, said: str) -> None:
    loki, hec = stand_in_loki(running), Hec(running)
    feed = running.feed(loki.url)
    push_a_little(feed)
    loki.control("POST", "faults", json={"tenant": "beta", "times": -1, **answer})
    installation = install(running, loki.url, SQLITE_BUS, hec)

    code, printed = installation.drain(seconds=120)
    assert code == 1
    assert "tenant beta: not read: " in printed
    assert said in printed.partition("tenant beta: not read: ")[2]
    expected = [event_id for tenant in ("acme", "gamma") for event_id in feed.ids(tenant)]
    assert difference(expected, hec.ids()) == Difference()

    loki.control("DELETE", "faults")
    code, printed = installation.drain(seconds=120)
    assert code == 0, printed
    assert_exactly_once(installation.contents(), feed)


def test_broken_answers_of_loki_cost_nothing(running: Processes) -> None:
    """Each fault of the list of bad input, several times over; all are passed by and counted."""
    loki, hec = stand_in_loki(running), Hec(running)
    feed = running.feed(loki.url)
    push_a_little(feed)
    faults = [
        {"kind": "query_range", "status": 429},
        {"kind": "query_range", "status": 500},
        {"kind": "query_range", "status": 504},
        {"kind": "query_range", "cut_after_bytes": 200},
        {"kind": "query_range", "close": True},
        {"kind": "query_range", "body": "<html>proxy</html>", "content_type": "text/html"},
        {"kind": "query_range", "body": "something went wrong"},
        {"kind": "query_range", "without_stats": True},
        {"kind": "query_range", "warning": "partial"},
        {"kind": "query_range", "lost_ingesters": [0, 1, 2]},
        {"kind": "query", "status": 503},
        {"kind": "limits", "status": 500},
    ]
    loki.control("POST", "faults", json=[{**fault, "times": 2} for fault in faults])
    installation = install(running, loki.url, SQLITE_BUS, hec)
    code, printed = installation.drain(seconds=180)
    assert code == 0, printed
    assert_exactly_once(installation.contents(), feed)


def test_wrong_token_delivers_nothing_and_loses_nothing(running: Processes) -> None:
    loki, hec = stand_in_loki(running), Hec(running)
    feed = running.feed(loki.url)
    push_a_little(feed)
    wrong = running.directory / "wrong.token"
    wrong.write_text("guessed")
    installation = install(running, loki.url, SQLITE_BUS, hec)
    installation.targets["soc"] = hec.target(token_file=str(wrong))
    service = installation.start("service")
    installation.wait_stored(feed, running.directory / "out")
    assert service.terminate() == 0
    assert hec.ids() == []
    assert any("soc" in str(event.get("target")) for event in service.logged("target_paused"))

    wrong.write_text(hec.token)
    code, printed = installation.drain(seconds=120)
    assert code == 0, printed
    assert difference([i for tenant in TENANTS for i in feed.ids(tenant)], hec.ids()) == Difference()


def test_unreachable_loki_is_waited_for(running: Processes) -> None:
    """Nothing listens at first: the drain neither fails nor claims to be done, and goes on when Loki comes."""
    port, hec = free_port(), Hec(running)
    installation = install(running, f"http://127.0.0.1:{port}", SQLITE_BUS, hec)
    program = installation.start("service", "--drain")
    installation.wait_logged(program, "loki_retry")
    assert program.alive
    loki: StandIn = stand_in_loki(running, "--port", str(port))
    feed = running.feed(loki.url)
    push_a_little(feed)
    assert program.wait(120) == 0


def test_configuration_errors_end_with_2(running: Processes) -> None:
    installation = Installation(running, "http://127.0.0.1:1", SQLITE_BUS, {"acme": {"targets": ["nowhere"]}})
    program = installation.start("service", "--drain")
    assert program.wait(60) == 2
    assert "nowhere" in program.err.read_text()
