"""What is pushed to Loki, remembered: the truth that a test compares with, apart from any Loki's own."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Self

import httpx

from exporter.domain.ids import StreamHasher

#: (time in ns, line, structured metadata)
Entry = tuple[int, str, Mapping[str, str] | None]


class Feed:
    """Pushes lines over HTTP and remembers the ids of those that Loki took: the truth, apart from any Loki's own."""

    def __init__(self, loki_url: str) -> None:
        self._client = httpx.Client(base_url=loki_url, timeout=30)
        self._lock = threading.Lock()
        self._ids: dict[str, list[str]] = {}
        self.accepted_at: dict[str, float] = {}  # event id → wall clock at which Loki had taken it

    @property
    def tenants(self) -> list[str]:
        return sorted(self._ids)

    def ids(self, tenant: str) -> list[str]:
        with self._lock:
            return list(self._ids.get(tenant, []))

    @property
    def count(self) -> int:
        with self._lock:
            return sum(map(len, self._ids.values()))

    def push(self, tenant: str, labels: Mapping[str, str], entries: Sequence[Entry]) -> list[str]:
        """Push entries of one stream; return their ids. Raises unless Loki took all of them."""
        values = [[str(t), line, dict(metadata)] if metadata else [str(t), line] for t, line, metadata in entries]
        answer = self._client.post(
            "/loki/api/v1/push",
            json={"streams": [{"stream": dict(labels), "values": values}]},
            headers={"X-Scope-OrgID": tenant},
        )
        assert answer.status_code == 204, f"push answered {answer.status_code}"
        now = time.time()
        hasher = StreamHasher(tenant, dict(sorted(labels.items())))
        ids = hasher.event_ids([e[0] for e in entries], [e[1] for e in entries], [e[2] or {} for e in entries])
        names = [raw.hex() for raw in ids]
        with self._lock:
            self._ids.setdefault(tenant, []).extend(names)
            self.accepted_at |= dict.fromkeys(names, now)
        return names

    def close(self) -> None:
        self._client.close()


class Traffic:
    """Pushes for as long as the block lives, from a thread: several streams a tenant, ties on one nanosecond, and a share of
    lines that come up to ``late_seconds`` after their stamp, as agents send them.
    """

    def __init__(
        self, feed: Feed, tenants: Sequence[str], *, seed: int, pushes_per_second: float = 20, late_seconds: int = 15
    ) -> None:
        self._feed, self._tenants, self._late_seconds = feed, list(tenants), late_seconds
        self._random = random.Random(seed)
        self._pause_seconds = 1 / pushes_per_second
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._number = 0
        self.late_ids: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert self._error is None, f"the feed failed: {type(self._error).__name__}"

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._pause_seconds):
                self._push_some()
        except Exception as error:  # noqa: BLE001 - raised again, by type, in the test's own thread
            self._error = error

    def _push_some(self) -> None:
        chance = self._random
        late = chance.random() < 0.3
        age_ns = int(chance.uniform(1, self._late_seconds) * 1e9) if late else 0
        labels = {"job": "traffic", "late": str(late).lower(), "stream": str(chance.randrange(3))}
        now_ns = time.time_ns() - age_ns
        entries: list[Entry] = []
        for _ in range(chance.randrange(3, 20)):
            self._number += 1
            metadata = {"trace": f"{self._number:x}"} if chance.random() < 0.3 else None
            tie_or_not = chance.choice((0, 0, 1, 1_000, 1_000_000))
            now_ns += tie_or_not
            entries.append((now_ns, f'{{"n":{self._number},"msg":"user {self._number} logged in"}}', metadata))
        ids = self._feed.push(chance.choice(self._tenants), labels, entries)
        if late:
            self.late_ids.update(ids)
