"""Latency from "Loki accepted it" to "the HEC has it", measured with canary lines.

A canary is an ordinary line with a running number. Half of them are pushed one to thirty seconds after their stamp, as agents
do. Arrival is seen by following the file of the stand-in HEC, so the figure includes the search for it (50 ms).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from pathlib import Path

import httpx

EVERY_SECONDS = 0.25
_LOOK_SECONDS = 0.05
_CANARY = re.compile(rb"canary-(\d+)-run")


class LatencyProbe:
    """Pushes canaries for one tenant and collects their latencies in seconds."""

    def __init__(self, loki_url: str, tenant: str, store: Path, seed: int) -> None:
        self._url, self._tenant, self._store = loki_url, tenant, store
        self._rng = random.Random(seed)  # noqa: S311 - a seeded demonstration
        self._accepted: dict[int, float] = {}
        self.latencies: list[float] = []

    @property
    def missing(self) -> int:
        """Canaries that did not arrive yet."""
        return len(self._accepted)

    async def push(self, seconds: float) -> None:
        """Push canaries for that long."""
        end = time.monotonic() + seconds
        number = 0
        async with httpx.AsyncClient(base_url=self._url, headers={"X-Scope-OrgID": self._tenant}) as client:
            while time.monotonic() < end:
                age = self._rng.uniform(1, 30) if number % 2 else 0.0
                stamp_ns = time.time_ns() - int(age * 1e9)
                values = [[str(stamp_ns), f"canary-{number}-run"]]
                stream = {"job": "canary", "app": f"canary-{'late' if number % 2 else 'prompt'}"}
                answer = await client.post(
                    "/loki/api/v1/push", json={"streams": [{"stream": stream, "values": values}]}
                )
                answer.raise_for_status()
                self._accepted[number] = time.monotonic()
                number += 1
                await asyncio.sleep(EVERY_SECONDS)

    async def watch(self) -> None:
        """Follow the store until cancelled."""
        with contextlib.suppress(asyncio.CancelledError), self._store.open("rb") as file:
            rest = b""
            while True:
                data = rest + file.read(1 << 22)
                for match in _CANARY.finditer(data):
                    accepted = self._accepted.pop(int(match[1]), None)
                    if accepted is not None:
                        self.latencies.append(time.monotonic() - accepted)
                rest = data[data.rfind(b"\n") + 1 :]
                await asyncio.sleep(0 if len(data) > 1 << 21 else _LOOK_SECONDS)

    def quantile(self, share: float) -> float | None:
        """Return a quantile of the latencies so far."""
        if not self.latencies:
            return None
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
