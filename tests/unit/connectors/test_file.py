"""Files: durable, exactly once, rotated, and safe against strange names and foreign hands."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.base import REDRIVE_PARTITION, ConnectorContext, TargetMisconfigured, TargetUnavailable
from connectors.file.connector import FileConnector
from connectors.file.lane import LaneFiles, Rotation, known_lanes, safe_name
from connectors.file.settings import FileSettings
from connectors.testing import make_batch
from tests.support.events import events, number_of

NEVER = Rotation(10**12, 10**9)


def connector(tmp_path, *, now=lambda: 0, **keys):
    (tmp_path / "state").mkdir(exist_ok=True)
    target = FileSettings(kind="file", directory=tmp_path / "out", **keys)
    return FileConnector(target, ConnectorContext("archive", str(tmp_path / "state")), now_ns=now)


def lane(tmp_path, tenant="acme", partition=0):
    (tmp_path / "state").mkdir(exist_ok=True)
    return LaneFiles(tmp_path / "out", tmp_path / "state", tenant, partition)


def numbers(tmp_path, pattern="*.ndjson*"):
    return [
        number_of(line) for file in sorted((tmp_path / "out").rglob(pattern)) for line in file.read_bytes().splitlines()
    ]


async def test_names_and_rotation_by_size(tmp_path):
    target = connector(tmp_path, rotate_bytes=1000)
    await target.open()
    for start in range(0, 30, 10):
        result = await target.deliver(make_batch(events(10, start=start), tenant="acme", partition=3, start=start))
        assert result.receipt["end"] > result.receipt["start"]
    names = sorted(p.name for p in (tmp_path / "out" / "acme").iterdir())
    assert names == [
        "acme-3-00000000000000000000.ndjson",
        "acme-3-00000000000000000010.ndjson",
        "acme-3-00000000000000000020.ndjson.part",
    ]
    await target.close()
    assert not list(tmp_path.rglob("*.part"))
    assert numbers(tmp_path) == list(range(30))


async def test_rotation_by_age(tmp_path):
    now = 0
    target = connector(tmp_path, now=lambda: now, rotate_seconds=60)
    await target.open()
    await target.deliver(make_batch(events(3), tenant="acme"))
    now = 59 * 10**9
    target._finish(target._rotation)
    assert len(list(tmp_path.rglob("*.part"))) == 1
    now = 60 * 10**9
    target._finish(target._rotation)  # what the ageing task does for idle lanes
    assert not list(tmp_path.rglob("*.part"))
    await target.close()
    assert numbers(tmp_path) == [0, 1, 2]


def test_what_was_not_committed_is_cut_off(tmp_path):
    lane(tmp_path).append(make_batch(events(5)).records, NEVER, 0)
    (part,) = tmp_path.rglob("*.part")
    with part.open("ab") as file:
        file.write(events(1, start=99)[0][:50])  # a torn write of a killed process
    lane(tmp_path).append(make_batch(events(5, start=5), start=5).records, NEVER, 0)
    assert numbers(tmp_path) == list(range(10))


def test_a_file_that_was_begun_and_never_committed_is_removed(tmp_path):
    (tmp_path / "out" / "acme").mkdir(parents=True)
    (tmp_path / "out" / "acme" / "acme-0-00000000000000000000.ndjson.part").write_bytes(b"torn")
    lane(tmp_path).append(make_batch(events(2, start=3), start=3).records, NEVER, 0)
    assert numbers(tmp_path) == [3, 4]


def test_a_crash_between_renaming_and_committing_is_harmless(tmp_path):
    lane(tmp_path).append(make_batch(events(5)).records, NEVER, 0)
    (part,) = tmp_path.rglob("*.part")
    part.rename(part.with_suffix(""))
    lane(tmp_path).append(make_batch(events(8)).records, NEVER, 0)
    assert numbers(tmp_path) == list(range(8))


def test_offsets_that_begin_anew_lose_nothing_and_overwrite_nothing(tmp_path):
    """Somebody recreated the bus: other events come at offsets that are in the files."""
    lane(tmp_path).append(make_batch(events(10)).records, NEVER, 0)
    lane(tmp_path).finish(None, 0)
    lane(tmp_path).append(make_batch(events(4, start=100)).records, NEVER, 0)
    lane(tmp_path).append(make_batch(events(4, start=104), start=4).records, NEVER, 0)
    lane(tmp_path).finish(None, 0)
    assert sorted(numbers(tmp_path, "*.ndjson")) == [*range(10), *range(100, 108)]
    assert len(list(tmp_path.rglob("*.ndjson"))) == 2


def test_redriven_letters_are_their_own_lane(tmp_path):
    lane(tmp_path).append(make_batch(events(10)).records, NEVER, 0)
    letters = lane(tmp_path, partition=REDRIVE_PARTITION)
    letters.append(make_batch(events(1, start=50), start=5).records, NEVER, 0)
    letters.append(make_batch(events(1, start=51), start=3).records, NEVER, 0)  # a lower number, later
    again = letters.append(make_batch(events(1, start=51), start=3).records, NEVER, 0)
    assert again.skipped == 1
    assert sorted(numbers(tmp_path)) == [*range(10), 50, 51]
    assert sorted(known_lanes(tmp_path / "state")) == [("acme", REDRIVE_PARTITION), ("acme", 0)]


def test_a_shortened_file_needs_a_human(tmp_path):
    lane(tmp_path).append(make_batch(events(5)).records, NEVER, 0)
    (part,) = tmp_path.rglob("*.part")
    os.truncate(part, 10)
    with pytest.raises(TargetMisconfigured, match="shorter"):
        lane(tmp_path).append(make_batch(events(5, start=5), start=5).records, NEVER, 0)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}x", b'{"v":2}', b'{"what":1}'])
def test_an_unreadable_position_needs_a_human(tmp_path, raw):
    lane(tmp_path).append(make_batch(events(5)).records, NEVER, 0)
    next((tmp_path / "state").glob("*.json")).write_bytes(raw)
    with pytest.raises(TargetMisconfigured, match="not readable"):
        lane(tmp_path).append(make_batch(events(5, start=5), start=5).records, NEVER, 0)


def test_another_writer_is_waited_for(tmp_path):
    first = lane(tmp_path)
    with first._locked(), pytest.raises(TargetUnavailable, match="another writer"):
        lane(tmp_path).append(make_batch(events(1)).records, NEVER, 0)
    lane(tmp_path).append(make_batch(events(1)).records, NEVER, 0)


def test_a_full_disk_is_unavailable_and_leaves_nothing_half(tmp_path):
    files = lane(tmp_path)
    files.append(make_batch(events(5)).records, NEVER, 0)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(TargetUnavailable, match="free space"):
            files.append(make_batch(events(100, start=5), start=5).records, NEVER, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert numbers(tmp_path) == list(range(5))
    files.append(make_batch(events(100, start=5), start=5).records, NEVER, 0)
    assert numbers(tmp_path) == list(range(105))


async def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "out").write_bytes(b"a file")
    target = connector(tmp_path)
    with pytest.raises((TargetMisconfigured, TargetUnavailable), match="out"):
        await target.open()
    await target.close()


async def test_an_event_with_a_line_feed_is_refused(tmp_path):
    target = connector(tmp_path)
    await target.open()
    values = events(3)
    values[1] = values[1].replace(b"message", b"mess\nage")
    result = await target.deliver(make_batch(values, tenant="acme"))
    await target.close()
    assert [r.index for r in result.rejected] == [1]
    assert numbers(tmp_path) == [0, 2]


@given(st.text("ABCxyz019!-_.*'()", min_size=1, max_size=20))
def test_tenant_names_stay_apart_and_inside(tenant):
    name = safe_name(tenant)
    assert "/" not in name
    assert not name.startswith(".")
    from urllib.parse import unquote  # noqa: PLC0415

    assert unquote(name) == tenant


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cuts_rotations_crashes_and_repetitions_keep_every_event_once(tmp_path_factory, data):
    tmp_path = tmp_path_factory.mktemp("lane")
    rotation = Rotation(data.draw(st.sampled_from([500, 5000, 10**9])), 10**9)
    total, position = 60, 0
    while position < total:
        back = data.draw(st.integers(0, min(position, 15)))
        start = position - back
        count = data.draw(st.integers(1, 20))
        values = events(min(count, total - start), start=start)
        lane(tmp_path).append(make_batch(values, start=start).records, rotation, 0)
        position = max(position, start + len(values))
        if data.draw(st.booleans()):
            for part in tmp_path.rglob("*.part"):
                with part.open("ab") as file:
                    file.write(b"torn")
        if data.draw(st.integers(0, 9)) == 0:
            lane(tmp_path).finish(None, 0)
    lane(tmp_path).finish(None, 0)
    assert numbers(tmp_path) == list(range(total))


_WRITER = """
import asyncio, sys
from tests.unit.connectors.test_file import connector, make_batch, events
from pathlib import Path
async def main(root):
    target = connector(root, rotate_bytes=20000)
    await target.open()
    done = root / "committed"
    start = int(done.read_text()) if done.exists() else 0
    print("ready", flush=True)
    while start < 100000:
        await target.deliver(make_batch(events(40, start=start), tenant="acme", start=start))
        start += 40
        if start % 200 == 0:  # as the bus: positions are committed now and then
            fresh = root / "fresh"; fresh.write_text(str(start)); fresh.replace(done)
asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.fault
@pytest.mark.slow
def test_killed_at_any_instant_nothing_is_lost_or_doubled(tmp_path):
    import random  # noqa: PLC0415
    import time  # noqa: PLC0415

    pause = random.Random(7)
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(pause.uniform(0.05, 0.4))  # the instant of the kill, not a wait for something
            writer.kill()
    committed = int((tmp_path / "committed").read_text())
    last = max(orjson.loads(p.read_bytes())["last_offset"] for p in (tmp_path / "state").glob("*.json"))
    target = lane(tmp_path)
    target.append(make_batch(events(40, start=last + 1), start=last + 1).records, NEVER, 0)
    found = numbers(tmp_path)
    assert found == list(range(last + 41))
    assert committed <= last + 1
