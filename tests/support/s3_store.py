"""An S3 bucket in memory for property tests: conditions exact, answers lost, writes that land late."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping

from connectors.base import TargetThrottled, TargetUnavailable
from connectors.s3.answers import ObjectExists
from connectors.s3.client import Got, Put
from connectors.s3.encode import decode


class MemoryBucket:
    """What all writers share. ``late`` holds writes under way whose sender has given up."""

    def __init__(self, *, conditional: bool = True) -> None:
        self.conditional = conditional
        self.objects: dict[str, Got] = {}
        self.late: list[tuple[int, str, Got]] = []
        self.clock = 0
        self.overwritten = 0
        self.calls: list[tuple[str, str]] = []

    def land(self, key: str, got: Got) -> bool:
        taken = key in self.objects
        if taken and self.conditional:
            return False
        self.overwritten += taken
        self.objects[key] = got
        return True

    def tick(self) -> None:
        self.clock += 1
        for entry in [entry for entry in self.late if entry[0] <= self.clock]:
            self.late.remove(entry)
            self.land(*entry[1:])

    def settle(self) -> None:
        self.clock += 10_000
        self.tick()

    def lines(self) -> list[bytes]:
        return [line for key in sorted(self.objects) for line in decode(self.objects[key].body)]


class MemoryStore:
    """One writer's connection. ``faults`` is the share of calls that fail in some way."""

    def __init__(self, bucket: MemoryBucket, chance: random.Random, faults: float = 0.0, late: float = 0.3) -> None:
        self._bucket, self._chance, self._faults, self._late = bucket, chance, faults, late

    async def open(self) -> bool:
        return self._bucket.conditional

    async def close(self) -> None: ...

    async def _step(self) -> None:
        for _ in range(self._chance.randrange(3)):
            await asyncio.sleep(0)
        self._bucket.tick()
        if self._chance.random() < self._faults / 2:
            raise self._chance.choice([TargetUnavailable("away"), TargetThrottled("busy")])

    async def put(self, key: str, body: bytes, metadata: Mapping[str, str], *, only_new: bool) -> Put:
        self._bucket.calls.append(("put", key))
        await self._step()
        got = Got(body, metadata)
        assert only_new == self._bucket.conditional
        if self._chance.random() < self._faults:
            if self._chance.random() < self._late:
                self._bucket.late.append((self._bucket.clock + self._chance.randrange(1, 30), key, got))
            else:
                self._bucket.land(key, got)
            raise TargetUnavailable("no answer")
        if not self._bucket.land(key, got):
            raise ObjectExists
        return Put("etag", "", "sum")

    async def get(self, key: str) -> Got | None:
        self._bucket.calls.append(("get", key))
        await self._step()
        return self._bucket.objects.get(key)

    async def list(self, prefix: str, after: str) -> list[str]:
        self._bucket.calls.append(("list", prefix))
        await self._step()
        return [key for key in sorted(self._bucket.objects) if key.startswith(prefix) and key > after]


def copies(lines: Iterable[bytes]) -> tuple[int, int]:
    """Return how many lines there are and how many different ones."""
    found = list(lines)
    return len(found), len(set(found))
