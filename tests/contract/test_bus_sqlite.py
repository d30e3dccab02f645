"""What only the SQLite bus promises: its bound, its retention, and what it says about a bad file or disk."""

from __future__ import annotations

import resource
import sqlite3
from pathlib import Path

import pytest

from exporter.bus.base import Commit
from exporter.bus.sqlite.bus import SqliteEventBus
from exporter.bus.sqlite.store import connect
from exporter.errors import BusUnavailable, ConfigurationError
from exporter.settings.model import SqliteBus
from tests.support import bus_child
from tests.support.buses import Reading, batch, numbered


def _bus(path: Path, **changes: object) -> SqliteEventBus:
    values = {"path": path / "bus.db", "shard_count": 2, "partitions": 2, "retention_bytes": 1_000_000}
    return SqliteEventBus(SqliteBus.model_validate(values | changes))


def _fill(bus: SqliteEventBus) -> int:
    """Commit until the bus refuses; return how many events it took."""
    writer = bus.open_shard(0, "w")
    number = int(writer.checkpoints().get("live/acme", b"0"))
    refusal = ""
    while not refusal:
        try:
            writer.commit(numbered(range(number, number + 100), padding=1000))
            number += 100
        except BusUnavailable as error:
            refusal = str(error)
    assert "retention_bytes" in refusal
    assert int(writer.checkpoints()["live/acme"]) == number
    writer.close()
    return number


def _stored_bytes(path: Path) -> int:
    db = connect(path / "bus.db")
    (kept,) = db.execute("SELECT coalesce(sum(size_bytes), 0) FROM blocks").fetchone()
    (counted,) = db.execute("SELECT value FROM meta WHERE key='bytes'").fetchone()
    db.close()
    assert kept == counted
    return int(kept)


def test_undelivered_events_at_the_bound_refuse_commits_and_delivery_makes_room(tmp_path: Path) -> None:
    bus = _bus(tmp_path)
    bus.prepare(["acme"], ["soc"])
    total = _fill(bus)
    assert _stored_bytes(tmp_path) <= 1_000_000
    reading = Reading(bus.reader, "soc", ["acme"])
    assert len(reading.read(total)) == total
    assert _fill(bus) == total  # read is not delivered
    reading.commit()
    more = _fill(bus)
    assert more > total
    assert len(reading.read(more)) == more  # nothing undelivered was deleted
    assert _stored_bytes(tmp_path) <= 1_000_000
    reading.reader.close()


def test_events_stay_until_the_slowest_target_has_them(tmp_path: Path) -> None:
    bus = _bus(tmp_path)
    bus.prepare(["acme"], ["fast", "slow"])
    total = _fill(bus)
    fast = Reading(bus.reader, "fast", ["acme"])
    fast.read(total)
    fast.commit()
    assert _fill(bus) == total  # "slow" has never read: all is kept for it
    slow = Reading(bus.reader, "slow", ["acme"])
    assert len(slow.read(total)) == total
    slow.commit()
    assert _fill(bus) > total
    fast.reader.close()
    slow.reader.close()


def test_a_target_holds_only_its_own_tenants(tmp_path: Path) -> None:
    bus = _bus(tmp_path)
    bus.prepare(["acme", "other"], ["soc"])
    Reading(bus.reader, "soc", ["other"]).reader.close()
    writer = bus.open_shard(0, "w")
    for number in range(0, 3000, 100):  # nobody takes acme's events: the oldest go
        writer.commit(Commit([batch(range(number, number + 100), padding=1000)]))
    writer.close()
    assert _stored_bytes(tmp_path) <= 1_000_000


def test_a_target_taken_out_of_the_configuration_holds_nothing(tmp_path: Path) -> None:
    bus = _bus(tmp_path)
    bus.prepare(["acme"], ["soc", "old"])
    total = _fill(bus)
    soc = Reading(bus.reader, "soc", ["acme"])
    soc.read(total)
    soc.commit()
    soc.reader.close()
    assert _fill(bus) == total
    bus.prepare(["acme"], ["soc"])
    assert _fill(bus) > total


def test_a_bus_that_is_nearly_empty_takes_a_commit_beyond_the_bound(tmp_path: Path) -> None:
    bus = _bus(tmp_path)
    bus.prepare(["acme"], ["soc"])
    writer = bus.open_shard(0, "w")
    writer.commit(numbered(range(3), padding=700_000))
    with pytest.raises(BusUnavailable):
        writer.commit(numbered([3]))
    writer.close()


def test_the_file_does_not_grow_beyond_its_events(tmp_path: Path) -> None:
    bus = _bus(tmp_path)
    bus.prepare(["acme"], ["soc"])
    reading = Reading(bus.reader, "soc", ["acme"])
    writer = bus.open_shard(0, "w")
    for number in range(0, 5000, 100):
        writer.commit(numbered(range(number, number + 100), padding=1000))
        reading.until(lambda n=number: reading.count >= n + 100)  # type: ignore[misc]
        reading.commit()
    writer.close()
    reading.reader.close()
    assert (tmp_path / "bus.db").stat().st_size < 3_000_000  # 5.5 MB went through


def _commit_until_refused(path: Path) -> None:
    """In a process of its own: no file may become larger than 2 MB there."""
    bus = _bus(path, retention_bytes=1_000_000_000)
    writer = bus.open_shard(0, "w")
    number = int(writer.checkpoints().get("live/acme", b"0"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    try:
        while True:
            writer.commit(numbered(range(number, number + 100), padding=1000))
            number += 100
    except BusUnavailable:
        (path / "said").write_text(str(number))


def test_a_full_disk_is_unavailable_and_loses_nothing(tmp_path: Path) -> None:
    bus = _bus(tmp_path, retention_bytes=1_000_000_000)
    bus.prepare(["acme"], ["soc"])
    child = bus_child.start(_commit_until_refused, tmp_path)
    child.join(40)
    number = int((tmp_path / "said").read_text())
    assert number > 0
    writer = bus.open_shard(0, "w")
    assert int(writer.checkpoints()["live/acme"]) == number
    writer.commit(numbered(range(number, number + 100)))  # there is room again
    writer.close()
    reading = Reading(bus.reader, "soc", ["acme"])
    assert len(reading.read(number + 100)) == number + 100
    reading.reader.close()


def test_a_damaged_file_needs_a_human(tmp_path: Path) -> None:
    (tmp_path / "bus.db").write_bytes(b"no database" * 1000)
    bus = _bus(tmp_path)
    with pytest.raises(ConfigurationError):
        bus.prepare(["acme"], ["soc"])
    assert bus.check()


def test_a_newer_format_is_not_touched(tmp_path: Path) -> None:
    bus = _bus(tmp_path)
    bus.prepare(["acme"], ["soc"])
    bus.close()
    db = sqlite3.connect(tmp_path / "bus.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    assert "99" in str(bus.check()[0])
    with pytest.raises(ConfigurationError):
        bus.prepare(["acme"], ["soc"])


def test_a_missing_file_is_unavailable(tmp_path: Path) -> None:
    bus = _bus(tmp_path)
    with pytest.raises(BusUnavailable):
        bus.open_shard(0, "w")
    assert not (tmp_path / "bus.db").exists()


def test_a_folder_that_cannot_be_made_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bus = SqliteEventBus(SqliteBus(path=tmp_path / "file" / "bus.db"))
    assert [finding.path for finding in bus.check()] == ["bus.path"]
    with pytest.raises(ConfigurationError):
        bus.prepare([], [])
