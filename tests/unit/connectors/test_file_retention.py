"""Old files go, and nothing else: not what is written, not a lane's newest file, not what others put there."""

from __future__ import annotations

import os

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.base import ConnectorContext
from connectors.file.connector import SWEEP_SECONDS, FileConnector
from connectors.file.retention import Retention, sweep
from connectors.file.settings import FileSettings
from connectors.testing import make_batch
from tests.support.events import events

DAY_NS = 86_400 * 10**9
NOW_NS = 1_000 * DAY_NS


def put(tmp_path, name, *, days=0.0, size=100, tenant="acme"):
    path = tmp_path / "out" / tenant / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    at = NOW_NS - int(days * DAY_NS)
    os.utime(path, ns=(at, at))
    return path


def name(offset, ending=".ndjson", *, tenant="acme", partition="0", again=""):
    return f"{tenant}-{partition}-{offset:020d}{again}{ending}"


def left(tmp_path):
    return sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_by_age_whatever_the_format(tmp_path):
    kept = [put(tmp_path, name(9), days=8), put(tmp_path, name(4, ".parquet", partition="1"), days=50)]
    for offset, ending in enumerate((".ndjson", ".ndjson.gz", ".ndjson.zst", ".parquet")):
        put(tmp_path, name(offset, ending), days=8 + offset)
    put(tmp_path, name(5, again="-2"), days=9)
    kept.append(put(tmp_path, name(6), days=6.9))
    os.utime(kept[0], ns=(NOW_NS, NOW_NS))
    assert sweep(tmp_path / "out", ["acme"], Retention(days=7), NOW_NS) == (5, 500)
    assert left(tmp_path) == sorted(path.name for path in kept)


def test_by_bytes_the_oldest_of_all_lanes_first(tmp_path):
    for partition in "01":
        for offset in range(4):
            put(tmp_path, name(offset, partition=partition), days=10 - offset - int(partition) / 2)
    assert sweep(tmp_path / "out", ["acme"], Retention(bytes=500), NOW_NS) == (3, 300)
    assert left(tmp_path) == [name(2), name(3), name(1, partition="1"), name(2, partition="1"), name(3, partition="1")]
    assert sweep(tmp_path / "out", ["acme"], Retention(bytes=1), NOW_NS) == (3, 300)
    assert left(tmp_path) == [name(3), name(3, partition="1")]


@pytest.mark.parametrize(
    "foreign",
    [
        name(0, ".ndjson.part"),
        name(0, ".txt"),
        "notes.ndjson",
        ".acme-0-00000000000000000000.ndjson",
        name(0, tenant="acme2"),
        "acme-x-00000000000000000000.ndjson",
        "acme-0-0000.ndjson",
    ],
)
def test_what_is_not_ours_or_not_finished_stays(tmp_path, foreign):
    put(tmp_path, foreign, days=900)
    put(tmp_path, name(1), days=900)
    put(tmp_path, name(2), days=800)
    put(tmp_path, name(1, tenant="other"), days=900, tenant="other")
    (tmp_path / "out" / "acme" / name(3)).symlink_to(tmp_path / "out" / "acme" / foreign)
    (tmp_path / "out" / "acme" / name(4)).mkdir()
    assert sweep(tmp_path / "out", ["acme", "gone"], Retention(days=1, bytes=1), NOW_NS) == (1, 100)
    assert foreign in left(tmp_path)
    assert name(1, tenant="other") in left(tmp_path)


async def test_the_connector_sweeps_now_and_then_and_says_so(tmp_path):
    now = NOW_NS
    (tmp_path / "state").mkdir()
    target = FileSettings(kind="file", directory=tmp_path / "out", rotate_bytes=1000, retain_days=30)
    connector = FileConnector(target, ConnectorContext("archive", str(tmp_path / "state")), now_ns=lambda: now)
    await connector.open()
    for start in range(0, 30, 10):
        await connector.deliver(make_batch(events(10, start=start), tenant="acme", start=start))
    for path in (tmp_path / "out" / "acme").glob("*.ndjson"):
        os.utime(path, ns=(now, now))
    with structlog.testing.capture_logs() as logs:
        connector._sweep()
        now += 31 * DAY_NS
        connector._sweep()
        put(tmp_path, name(0), days=0)
        now += int(SWEEP_SECONDS * 1e9) - 1
        connector._sweep()
    assert [entry["files"] for entry in logs if entry["event"] == "old_files_deleted"] == [1]
    await connector.close()


@given(st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_retention_never_makes_an_event_come_twice(tmp_path_factory, data):
    """Batches handed in again after a crash are the last ones, and these are in the newest file or the one being written."""
    from connectors.file.lane import LaneFiles, Rotation  # noqa: PLC0415

    tmp_path = tmp_path_factory.mktemp("lane")
    (tmp_path / "state").mkdir()
    rotation, position, seen = Rotation(3000, 10**9), 0, []
    while position < 60:
        start = max(0, position - data.draw(st.integers(0, 5)))
        lane = LaneFiles(tmp_path / "out", tmp_path / "state", "acme", 0)
        written = lane.append(make_batch(events(8, start=start), start=start).records, rotation, 0)
        assert written.skipped == position - start
        seen.append(written)
        position = start + 8
        if data.draw(st.booleans()):
            sweep(tmp_path / "out", ["acme"], Retention(bytes=1), NOW_NS)
