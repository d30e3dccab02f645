"""What child processes do on a bus while a test kills them. Started by a fork server, so that a start costs milliseconds."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

from exporter.bus import create_bus
from exporter.errors import BusUnavailable, CommitAborted, Fenced
from exporter.settings.model import KafkaBus, SqliteBus
from tests.support.buses import Member, numbered

FORKS: ForkServerContext = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.support.bus_child"])


def commit_for_ever(settings: SqliteBus | KafkaBus, seed: int, until: int | None = None) -> None:
    """Own shard 0 and commit numbered events from the checkpoint on. Ends at ``until``, if it gets there."""
    chance = random.Random(seed)
    bus = create_bus(settings)
    while True:
        try:
            writer = bus.open_shard(0, f"child-{os.getpid()}")
            number = int(writer.checkpoints().get("live/acme", b"0"))
            while until is None or number < until:
                time.sleep(chance.random() * 0.005)  # a slow machine kills slowly: bound what has to be verified
                size = chance.randint(1, 50)
                writer.commit(numbered(range(number, number + size), padding=chance.randint(0, 500)))
                number += size
        except (BusUnavailable, CommitAborted, Fenced):
            continue
        return


def be_member(settings: SqliteBus | KafkaBus) -> None:
    """Take shards and hold them until killed."""
    member = Member(create_bus(settings).membership("child"))
    while True:
        member.poll()


def start(target: object, *arguments: object) -> BaseProcess:
    process = FORKS.Process(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
    process.start()
    return process


def kill(process: BaseProcess) -> None:
    """Kill -9."""
    process.kill()
    process.join(10)
    process.close()
