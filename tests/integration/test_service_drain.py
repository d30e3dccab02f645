"""``run --drain`` as a process: what Loki holds is on the bus and at every target, exactly; totals, exit codes, and what is said when
it cannot be so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.bus_contents import Difference, assert_exactly_once, difference
from tests.support.feed import Entry, Feed
from tests.support.kafka import free_port
from tests.support.loki_cell import MISSING, loki_binary, running_loki
from tests.support.programs import Hec, Processes, StandIn, processes, stand_in_loki, stored_ids
from tests.support.service import SQLITE_BUS, Installation, kafka_bus

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


def install(running: Processes, loki_url: str, bus: dict, hec: Hec, **tenant: object) -> Installation:
    targets = {"soc": hec.target(), "archive": {"kind": "file", "directory": "out"}}
    tenants = {name: {"targets": ["soc", "archive"], **tenant} for name in TENANTS}
    return Installation(running, loki_url, bus, tenants, targets)


def push_history(feed: Feed, *ages_hours: float, tenants: Sequence[str] = TENANTS) -> None:
    """Three formats, metadata, a crowd on one nanosecond, a fat line, odd characters, at each age."""
    now_ns = time.time_ns()
    for tenant in tenants:
        for age_hours in ages_hours:
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
    push_history(feed, 30, 13)
    loki.control("POST", "flush")  # ingesters are not asked for entries of the day before
    push_history(feed, 1.5, 0.02)
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


def test_refused_tenants_are_named_and_the_others_arrive(running: Processes) -> None:
    loki, hec = stand_in_loki(running), Hec(running)
    feed = running.feed(loki.url)
    push_a_little(feed)
    refusals = [
        {"tenant": "beta", "times": -1, "status": 401, "body": "no org id"},
        {"tenant": "gamma", "times": -1, "status": 403, "body": "forbidden"},
    ]
    loki.control("POST", "faults", json=refusals)
    installation = install(running, loki.url, SQLITE_BUS, hec, redaction=[])

    code, printed = installation.drain(seconds=120)
    assert code == 1
    assert "tenant beta: not read: Loki answered 401" in printed
    assert "tenant gamma: not read: Loki answered 403" in printed
    assert difference(feed.ids("acme"), hec.ids()) == Difference()

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
    installation = install(running, loki.url, SQLITE_BUS, hec, redaction=[])
    code, printed = installation.drain(seconds=180)
    assert code == 0, printed
    assert_exactly_once(installation.contents(), feed)


def test_wrong_token_delivers_nothing_and_loses_nothing(running: Processes) -> None:
    loki, hec = stand_in_loki(running), Hec(running)
    feed = running.feed(loki.url)
    push_a_little(feed)
    wrong = running.directory / "wrong.token"
    wrong.write_text("guessed")
    installation = install(running, loki.url, SQLITE_BUS, hec, redaction=[])
    installation.targets["soc"] = hec.target(token_file=str(wrong))
    service = installation.start("service")
    installation.wait_stored(feed, running.directory / "out")
    assert service.terminate() == 0
    assert hec.ids() == []
    assert {event["error"] for event in service.log() if event.get("target") == "soc"} == {"TargetUnauthorized"}

    wrong.write_text(hec.token)
    code, printed = installation.drain(seconds=120)
    assert code == 0, printed
    assert difference([i for tenant in TENANTS for i in feed.ids(tenant)], hec.ids()) == Difference()


def test_unreachable_loki_is_waited_for(running: Processes) -> None:
    """Nothing listens at first: the drain neither fails nor claims to be done, and goes on when Loki comes."""
    port, hec = free_port(), Hec(running)
    installation = install(running, f"http://127.0.0.1:{port}", SQLITE_BUS, hec, redaction=[])
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


@pytest.mark.loki
@pytest.mark.skipif(loki_binary() is None, reason=MISSING)
def test_history_of_a_real_loki_arrives_exactly_once(running: Processes, tmp_path: Path) -> None:
    """Chunks of the day before in the store, newer lines in the ingester only; of one tenant nothing else, so that the index
    does not know it yet.
    """
    limits = {"discover_service_name": [], "discover_log_levels": False}  # else Loki adds to what was pushed
    hec = Hec(running)
    with running_loki(tmp_path / "real", overrides={"limits_config": limits}) as loki:
        feed = running.feed(loki.url)
        push_history(feed, 30, 13, tenants=TENANTS[:2])
        loki.flush()
        push_history(feed, 1.5, 0.02)
        installation = install(running, loki.url, SQLITE_BUS, hec)
        code, printed = installation.drain(seconds=120)
        assert code == 0, printed
        assert_exactly_once(installation.contents(), feed)
        assert difference([i for tenant in TENANTS for i in feed.ids(tenant)], hec.ids()) == Difference()
