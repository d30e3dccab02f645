"""`ledger` and `verify` on a real SQLite bus."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import typer

from exporter.bus import create_bus
from exporter.bus.base import Bus
from exporter.cli.times import parse_time
from exporter.domain.events import event_id_of
from exporter.settings.model import SqliteBus
from tests.support.cli import invoke, write_config
from tests.support.events import events
from tests.support.ledgers import SECOND_NS, fill_bus

VALUES = events(40)
OBJECTS = [{"key": "a/b.gz", "sha256": "x"}, {"key": "a/c.gz", "sha256": "y"}, {"key": "no sum"}, 7]
DAY = "2025-11-24"  # the day of BASE_NS


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    bus = create_bus(SqliteBus(path=tmp_path / "state" / "bus.db", partitions=1))
    bus.prepare(["acme", "beta"], ["archive"])
    yield bus
    bus.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, extra="bus: {kind: sqlite, path: state/bus.db, partitions: 1}\n")


@pytest.fixture
def filled(bus: Bus) -> Bus:
    """Two commits of twenty events; the target took all but one, which it refused."""
    fill_bus(bus, VALUES, OBJECTS)
    return bus


def spoil(tmp_path: Path, statement: str) -> None:
    with closing(sqlite3.connect(tmp_path / "state" / "bus.db")) as db:
        db.execute(statement)
        db.commit()


def test_commits_by_window(filled: Bus, config: Path) -> None:
    result = invoke("ledger", "show", "-c", config, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [row["out"] for row in report["rows"]] == [20, 20]
    assert report["totals"] == {"acme": {"windows": 2, "in": 40, "out": 40, "held": 0, "filtered": 0}}
    assert len(report["rows"][0]["root"]) == 64
    people = invoke("ledger", "show", "-c", config, "--tenant", "acme", "--limit", "1").stdout
    assert "acme: windows 2, in 40, out 40, held 0, filtered 0" in people
    assert people.count(DAY) == 3  # one row: committed, from, to


def test_what_did_the_target_take_on_that_day(filled: Bus, config: Path) -> None:
    command = ("ledger", "show", "-c", config, "--target", "archive", "--json")
    report = json.loads(invoke(*command, "--from", DAY, "--to", "2025-11-25").stdout)
    total = report["totals"]["acme"]
    assert (total["receipts"], total["events"], total["dead letters"], total["possible duplicates"]) == (2, 39, 1, 2)
    assert "a/b.gz and 3 more" in report["rows"][0]["answer"]
    assert report["rows"][1]["answer"] == "1 dead letters (400)"
    assert len(report["rows"][2]["answer"]) == 120
    assert json.loads(invoke(*command, "--to", DAY).stdout)["totals"] == {}
    assert "events 39" in invoke(*command[:-1]).stdout
    other = invoke("ledger", "show", "-c", config, "--target", "gone", "--tenant", "never")
    assert other.exit_code == 0
    assert "not in the configuration" in other.stderr


def test_where_did_the_event_go(filled: Bus, config: Path) -> None:
    report = json.loads(invoke("ledger", "trace", "-c", config, event_id_of(VALUES[25]), "--json").stdout)
    (commit,) = report["commits"]
    assert (commit["sequence"], commit["index"], commit["out"]) == (2, 5, 20)
    assert commit["proof"]["leaves"] == 2
    assert report["bus"] == [{"tenant": "acme", "partition": 0, "offset": 25}]
    (target,) = report["targets"]
    assert (target["state"], target["receipts"][0]["sequence"]) == ("taken", 3)


def test_a_refused_event_is_found_among_the_dead_letters(filled: Bus, config: Path) -> None:
    command = ("ledger", "trace", "-c", config, event_id_of(VALUES[7]))
    report = json.loads(invoke(*command, "--json").stdout)
    assert report["targets"][0]["state"] == "in the dead letters, number 1"
    assert report["targets"][0]["receipts"] == []
    redriven = invoke("dlq", "redrive", "-c", config, "--target", "archive", "--all")
    assert redriven.exit_code == 0
    assert "by a redrive" in invoke(*command).stdout
    assert invoke("ledger", "verify", "-c", config).exit_code == 0
    shown = json.loads(invoke("ledger", "show", "-c", config, "--target", "archive", "--json").stdout)
    assert [row["kind"] for row in shown["rows"]] == ["receipt", "dead_letters", "receipt", "redriven"]


def test_a_discarded_event_is_said_to_be_so(filled: Bus, config: Path) -> None:
    filled.dead_letters().resolve("archive", [1], "discarded")
    assert (
        "was refused (400) and then discarded" in invoke("ledger", "trace", "-c", config, event_id_of(VALUES[7])).stdout
    )


def test_an_event_that_left_the_bus_is_found_but_not_proven(filled: Bus, config: Path, tmp_path: Path) -> None:
    spoil(tmp_path, "DELETE FROM blocks")
    result = invoke("ledger", "trace", "-c", config, event_id_of(VALUES[25]))
    assert result.exit_code == 0
    assert "not proven" in result.stdout
    assert "its offset is not known" in result.stdout


def test_what_the_ledger_does_not_know_and_what_is_no_id(filled: Bus, config: Path) -> None:
    unknown = invoke("ledger", "trace", "-c", config, "f" * 32)
    assert unknown.exit_code == 1
    assert "knows no event" in unknown.stderr
    assert invoke("ledger", "trace", "-c", config, "xyz").exit_code == 2


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("DELETE FROM ledger WHERE id = 1", "records 1 to 1 are missing"),
        ("DELETE FROM ledger WHERE id = 2", "its end was removed"),
        ("DELETE FROM ledger WHERE id = 5", "its end was removed"),
        ("UPDATE ledger SET record = replace(record, '\"out\":20', '\"out\":19')", ""),
        (
            "UPDATE ledger SET record = CAST(replace(record, 'hot', 'hut') AS BLOB) WHERE id = 1",
            "its hash does not match",
        ),
        ("INSERT INTO ledger (shard, record) SELECT shard, record FROM ledger WHERE id = 1", "stands there twice"),
    ],
)
def test_every_break_on_the_bus_is_found(
    filled: Bus, config: Path, tmp_path: Path, statement: str, reason: str
) -> None:
    sound = invoke("ledger", "verify", "-c", config, "--json")
    assert (sound.exit_code, json.loads(sound.stdout)["records"]) == (0, 5)
    spoil(tmp_path, statement)
    broken = invoke("ledger", "verify", "-c", config, "--json")
    if reason:
        assert broken.exit_code == 1
        assert any(reason in found for found in json.loads(broken.stdout)["breaks"])
        assert "docs/ledger.md" in invoke("ledger", "verify", "-c", config).stderr
        assert invoke("ledger", "export", "-c", config, "--out", tmp_path / "out").exit_code in {0, 1}
    else:
        assert broken.exit_code == 0  # nothing was changed by that


def test_export_and_verify_for_people(filled: Bus, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "ledger"
    assert invoke("ledger", "export", "-c", config, "--out", out).stdout == "records: 5, manifest: 1, signed: no\n"
    assert invoke("ledger", "export", "-c", config, "--out", out).stdout == "nothing is new since the last export\n"
    good = invoke("verify", out)
    assert good.exit_code == 0
    assert re.search(r": ok \(records 5, segments 2, manifests 1", good.stdout)
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "x.ndjson").write_bytes(b"".join(value + b"\n" for i, value in enumerate(VALUES) if i != 7))
    whole = invoke("verify", out, archive, "--json")
    assert {"dead-lettered": 1, "proven": 20}.items() <= json.loads(whole.stdout)["verified"][1]["figures"].items()
    assert whole.exit_code == 1  # the objects that the receipts name are not there
    assert "a/b.gz" in whole.stdout
    (next((out / "segments").glob("shard-*"))).write_bytes(b"{}\n")
    bad = invoke("verify", out)
    assert bad.exit_code == 1
    assert "its content is not what it is named after" in bad.stderr


def test_usage_errors_say_what_to_do(filled: Bus, config: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, text in (
        (("verify", tmp_path / "none"), "is no folder"),
        (("verify", tmp_path / "empty"), "ledger export"),
        (("ledger", "show", "-c", config, "--from", "yesterday"), "is no time"),
        (("ledger", "export", "-c", config), "--out"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert text in re.sub(r"[│╭╮╰╯─\s]+", " ", result.stderr)


def test_times() -> None:
    assert parse_time(None, "--from") is None
    assert parse_time("1970-01-02", "--from") == 86_400 * SECOND_NS
    assert parse_time("1970-01-01T01:00:00.000001+01:00", "--from") == 1000
    for text in ("1970-01-01T00:00:00", "1970-13-01", "x", ""):
        with pytest.raises(typer.BadParameter):
            parse_time(text, "--from")
