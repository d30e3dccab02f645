"""G4 on the running service: a thousand secrets in every place of a line, faults on every side, debug logs; then every byte that
left is searched. A failure shows kinds, places and numbers, never a secret.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.bus_contents import Difference, difference, kafka_messages, kafka_topics
from tests.support.feed import Feed
from tests.support.planted import Planted, make_secret, planted
from tests.support.programs import Hec, Processes, Program, StandIn, processes, stand_in_loki, wait_until
from tests.support.service import SQLITE_BUS, Installation, kafka_bus

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(300)]

SECRETS = 1000
MORE = 100
DEAD = 5


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus(request: pytest.FixtureRequest) -> dict:
    if request.param == "sqlite":
        return SQLITE_BUS
    return kafka_bus(request.getfixturevalue("kafka"), f"leaks-{os.getpid()}", session_timeout_seconds=6)


def push_all(feed: Feed, lines: list[Planted]) -> dict[str, Planted]:
    """Push the lines, those of one stream together; return them by event id."""
    start_ns = time.time_ns() - 60 * 10**9
    streams: dict[str, list[Planted]] = {}
    for item in lines:
        streams.setdefault(json.dumps(item.labels), []).append(item)
    pushed: dict[str, Planted] = {}
    for items in streams.values():
        entries = [(start_ns + index * 10**6, item.line, item.metadata) for index, item in enumerate(items)]
        ids = feed.push("acme", {"job": "planted", **items[0].labels}, entries)
        pushed |= dict(zip(ids, items, strict=True))
    return pushed


def script_faults(loki: StandIn, hec: Hec, said: str) -> None:
    """Answers of Loki that quote a line, are cut, are no JSON; refusals and outages of the target."""
    quote = f"parse error near line: user={said}"
    faults = [
        {"kind": "query_range", "status": 500, "body": quote},
        {"kind": "query_range", "status": 502, "body": f"<html>{quote}</html>"},
        {"kind": "query_range", "body": quote},
        {"kind": "query_range", "cut_after_bytes": 900},
        {"kind": "query_range", "warning": quote},
        {"kind": "query_range", "status": 400, "body": quote},
        {"kind": "limits", "body": f"max_line_size: {said}"},
        {"kind": "stats", "status": 500, "body": quote},
    ]
    loki.control("POST", "faults", json=faults)
    refusals = [{"code": 6, "event": 2}] * DEAD
    others = [{"status": 503, "body": quote}, {"body": quote}, {"cut": True}]
    hec.control("POST", "faults", json=[*refusals, *others])


def kill_a_process_of_each_role(service: Program) -> None:
    for role in ("reader", "delivery"):
        for pid in service.children_of_role(role)[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def everything_that_left(installation: Installation, hec: Hec) -> dict[str, bytes]:
    """All bytes by where they are: state, bus, targets, logs, probes, commands."""
    left = {
        str(path.relative_to(installation.directory)): path.read_bytes()
        for path in installation.directory.rglob("*")
        if path.is_file() and not path.name.startswith("loki.") and path.suffix != ".yaml"
    }
    for path in ("/metrics", "/healthz/ready", "/healthz/live"):
        answer = installation.probe("service", path)
        assert answer is not None
        left[path] = answer.content
    commands = [
        ("status",),
        ("status", "--json"),
        ("dlq", "list", "--target", "soc"),
        ("dlq", "list", "--target", "soc", "--json"),
        *(("dlq", "show", "--target", "soc", str(number)) for number in numbers_of_letters(installation)[:3]),
        ("check", "--connect"),
    ]
    for command in commands:
        result = installation.command(*command, configuration="service")
        left[" ".join(command)] = result.stdout + result.stderr
    if installation.bus["kind"] == "kafka":
        servers = installation.bus["bootstrap_servers"]
        for topic in kafka_topics(servers, installation.bus["topic_prefix"]):
            messages = kafka_messages(servers, [topic])
            left[f"topic {topic}"] = b"\n".join(key + b"\0" + (value or b"") for _, _, key, value in messages)
    return left


def accounted(installation: Installation) -> int:
    """Events on the bus and events held back."""
    live = installation.lives().get("acme")
    return live.events + live.held if live else 0


def numbers_of_letters(installation: Installation) -> list[int]:
    shown = installation.command("dlq", "list", "--target", "soc", "--json", configuration="service")
    return [letter["number"] for letter in json.loads(shown.stdout)["letters"]]


def leaks(lines: list[Planted], left: dict[str, bytes]) -> Counter:
    """Count what was found, by where, place and kind."""
    found: Counter = Counter()
    for where, data in left.items():
        folded = data.lower()
        for item in lines:
            if item.secret.core.lower().encode() in folded:
                found[where.split(" acme")[0], item.place, item.secret.kind] += 1
    return found


def test_no_secret_leaves(running: Processes, bus: dict) -> None:
    loki, hec = stand_in_loki(running), Hec(running)
    targets = {"soc": hec.target(), "archive": {"kind": "file", "directory": "out"}}
    tenants = {"acme": {"targets": ["soc", "archive"], "original": "always"}}
    installation = Installation(running, loki.url, bus, tenants, targets, service={"log_level": "debug"})
    feed = running.feed(loki.url)
    quoted = Planted("Loki's error text", make_secret("email", random.Random(5)), "")
    pushed = push_all(feed, list(planted(SECRETS, seed=11)))
    script_faults(loki, hec, quoted.secret.text)

    service = installation.start("service")
    installation.wait_logged(service, "tenant_stopped")  # by the 400; a new process goes on without waiting for a human
    kill_a_process_of_each_role(service)
    pushed |= push_all(feed, list(planted(MORE, seed=12)))
    wait_until(lambda: accounted(installation) >= SECRETS + MORE, "all lines are on the bus, or held back")
    # A line that cannot be redacted safely is held back; none of these is so odd.
    expected = set(pushed)
    absent = expected.difference(installation.contents().ids("acme"))
    assert Counter((pushed[i].place, pushed[i].secret.kind) for i in absent) == Counter()
    wait_until(lambda: len(numbers_of_letters(installation)) >= DEAD, "the dead letters")
    hec.wait_stored(len(expected) - DEAD)
    installation.wait_stored(feed, installation.directory / "out")

    left = everything_that_left(installation, hec)
    assert service.terminate() == 0
    left["service.err"] = service.err.read_bytes()
    found = leaks([*pushed.values(), quoted], left)  # by itself: a failing assertion would print its arguments
    assert found == Counter()
    # That nothing was found must not come from nothing having been there.
    contents = installation.contents()
    assert difference(expected, contents.ids("acme")) == Difference()
    assert sum(b"[redacted-" in value for value in contents.events["acme"]) == len(expected)
    full = [where for where, data in left.items() if data]
    places = ["service.err", "hec.store", "out/acme", "/metrics", "status", "dlq list", "dlq show"]
    places += (
        [f"topic {bus['topic_prefix']}.{name}" for name in ("events", "dlq", "ledger")]
        if "topic_prefix" in bus
        else ["state/bus.db"]
    )
    assert [place for place in places if not any(where.startswith(place) for where in full)] == []
