"""Kill -9 between upload and commit, restart with other cuts, a second writer now and then: the union of the objects is the
input, without overlap (F.6, 9). The store is moto over HTTP.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys

import pytest

from tests.support.events import number_of
from tests.support.moto import make_bucket, objects

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(180)]

COUNT = 8000
KILLS = 10


def start(moto, bucket, directory, seed):
    command = [sys.executable, "-m", "tests.support.s3_child", moto, bucket, str(directory), str(seed), str(COUNT)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_kills_lose_and_double_nothing(moto, tmp_path):
    chance = random.Random(5)
    bucket = await make_bucket(moto)
    kills = 0
    while kills < KILLS:
        children = [start(moto, bucket, tmp_path, chance.randrange(10**6)) for _ in range(2 if kills % 4 == 3 else 1)]
        for child in children:
            child.stdout.readline()  # open; from here on anything may be under way
        await asyncio.sleep(chance.random() * 0.4)
        for child in children:
            child.kill()
            child.communicate()
            kills += child.returncode == -9  # not one that had finished
    with start(moto, bucket, tmp_path, 1) as last:
        assert last.communicate(timeout=120)[0].split() == ["ready", "done"]
    found = await objects(moto, bucket)
    numbers = [number_of(line) for lines in found.values() for line in lines]
    doubled, lost = len(numbers) - len(set(numbers)), len(set(range(COUNT)) - set(numbers))
    assert (doubled, lost, len(numbers)) == (0, 0, COUNT)
    assert len(found) > KILLS
