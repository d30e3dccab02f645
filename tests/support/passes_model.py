"""A model of everything that happens to a tenant, for hypothesis: pushes in every order, flushes, faults, deletes, deaths of the
worker, days that pass. The truth is what the stand-in accepted, kept apart from how it answers.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import ClassVar

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from exporter.domain.checkpoints import LiveCheckpoint, live_key
from exporter.domain.clock import ManualClock
from exporter.loki.client import LokiClient
from exporter.sandbox.loki import Fault, LokiLimits, StandInLoki
from exporter.sandbox.loki.faults import Faults
from exporter.settings.model import LokiSettings
from tests.support.in_process import InProcess
from tests.support.reading import NOW_NS, SECOND, Bus, reader_of

HOUR = 3600 * SECOND
START = "2025-10-09T06:00:00Z"
START_NS = NOW_NS - 3 * HOUR
#: An ingester flushes what idles for half an hour or spans two hours; nothing waits longer than this.
FLUSH_HOURS = 2.0

#: How old a line is when it is pushed, in seconds: at once, near late, out of order; and hours, days.
AGES = st.one_of(st.integers(0, 5), st.integers(5, 290), st.integers(300, 3500))
FAR_AGES = st.one_of(st.integers(3600, 20_000), st.integers(20_000, 6 * 86_400))
FAULTS = st.sampled_from(
    [
        Fault(status=429), Fault(status=500), Fault(status=504), Fault(close=True), Fault(cut_after_bytes=30),
        Fault(kind="query_range", lost_chunks=1), Fault(kind="query", lost_chunks=1), Fault(kind="query_range", lost_ingesters=(0,)),
        Fault(kind="query_range", warning="partial"),
    ]
)  # fmt: skip


class Died(Exception):
    """The worker was killed: nothing of what it had in hand survives."""


class TenantModel(RuleBasedStateMachine):
    """Subclasses say how the cell is built."""

    cell: ClassVar[dict[str, object]] = {}
    limits: ClassVar[dict[str, object]] = {}
    near_bytes = 4 << 20

    steps = 0  # over all runs, for the report

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(NOW_NS)
        self.loki = StandInLoki(limits=LokiLimits(**self.limits), clock=self.clock, **self.cell)
        self.transport = InProcess(self.loki)
        self.settings = LokiSettings(url="http://loki.test", page_entries=500)
        self.client = LokiClient(self.settings, clock=self.clock, transport=self.transport)
        self.bus = Bus()
        self.number = 0
        self.flushed_ns = NOW_NS
        self.deletes: list[tuple[int, int, str]] = []
        self.pushed: list[tuple[dict[str, str], list[tuple]]] = []

    # --- what happens to Loki -------------------------------------------------------------------------------------------

    @initialize(lines=st.integers(0, 400), apps=st.integers(1, 3))
    def history(self, lines: int, apps: int) -> None:
        for app in range(apps):
            self._push(app, [NOW_NS - 2 * HOUR + n * (HOUR * 3 // 2) // max(1, lines) for n in range(lines)])

    @rule(
        app=st.integers(0, 4), age=AGES, lines=st.integers(1, 60), step=st.sampled_from([0, 1, SECOND // 9, SECOND, 60 * SECOND]),
        whole=st.booleans(), metadata=st.booleans(), same=st.booleans(),
    )  # fmt: skip
    def push(self, app: int, age: int, lines: int, step: int, whole: bool, metadata: bool, same: bool) -> None:
        TenantModel.steps += 1
        at_ns = self.clock.now_ns() - age * SECOND
        if whole:
            at_ns = at_ns // (60 * SECOND) * 60 * SECOND
        times = [min(at_ns + n * step, self.clock.now_ns()) for n in range(lines)]
        self._push(app, times, metadata=metadata, same=same)

    @rule(app=st.integers(0, 6), age=FAR_AGES, lines=st.integers(1, 30), step=st.integers(0, 120))
    def push_far(self, app: int, age: int, lines: int, step: int) -> None:
        TenantModel.steps += 1
        at_ns = self.clock.now_ns() - age * SECOND
        self._push(app, [at_ns + n * step * SECOND for n in range(lines) if n * step < age])

    def _push(self, app: int, times: list[int], *, metadata: bool = False, same: bool = False) -> None:
        times = [max(t, START_NS) for t in times]
        entries = []
        for time_ns in times:
            self.number += 1
            line = "heartbeat" if same else f"line {self.number}"
            entries.append((time_ns, line, {"n": str(self.number % 7)} if metadata else None))
        labels = {"job": "api", "app": str(app)}
        if self.number % 5 == 0:
            labels["pod"] = "late"
        self.loki.push("acme", labels, entries)  # what is too far behind is refused, and stays out of the truth
        self.pushed.append((labels, entries))

    @rule()
    def push_again(self) -> None:
        """A retried push, beyond the block that would recognise it."""
        TenantModel.steps += 1
        if self.pushed:
            self.loki.cut_blocks()
            self.loki.push("acme", *self.pushed[-1])

    @rule()
    def flush(self) -> None:
        TenantModel.steps += 1
        self._flush()

    def _flush(self) -> None:
        self.loki.flush()
        self.flushed_ns = self.clock.now_ns()

    @rule(seconds=st.integers(1, 200))
    def moments_pass(self, seconds: int) -> None:
        TenantModel.steps += 1
        self.clock.advance(seconds)

    @rule(hours=st.sampled_from([0.05, 0.3, 1.0, 1.5, 5.0, 26.0, 80.0]))
    def time_passes(self, hours: float) -> None:
        TenantModel.steps += 1
        while hours > 0:
            self.clock.advance(min(hours, FLUSH_HOURS) * 3600)
            hours -= FLUSH_HOURS
            if self.clock.now_ns() - self.flushed_ns > FLUSH_HOURS * HOUR * 0.7:
                self._flush()

    @rule(digit=st.integers(0, 9), age=st.integers(0, 30), hours=st.integers(1, 30))
    def delete(self, digit: int, age: int, hours: int) -> None:
        TenantModel.steps += 1
        end_ns = (self.clock.now_ns() // SECOND) * SECOND - age * HOUR
        start_ns = end_ns - hours * HOUR
        parameters = {"query": f'{{job="api"}} |= "{digit}7"', "start": str(start_ns), "end": str(end_ns)}
        headers = {"X-Scope-OrgID": "acme"}
        request = httpx.Request("POST", "http://x/loki/api/v1/delete", params=parameters, headers=headers)
        scripted, self.loki.faults = self.loki.faults, Faults()  # faults are meant for the exporter's questions
        asyncio.run(InProcess(self.loki).handle_async_request(request))
        self.loki.faults = scripted
        self.deletes.append((start_ns, end_ns, f"{digit}7"))

    def deleted(self) -> set[tuple]:
        """Lines that a request hides, whether they came before it or after."""
        return {e for e in self.truth() if any(s <= e[1] < until and text in e[2] for s, until, text in self.deletes)}

    @rule(fault=FAULTS, after=st.integers(0, 12))
    def fault(self, fault: Fault, after: int) -> None:
        TenantModel.steps += 1
        copy = Fault(**{name: getattr(fault, name) for name in Fault.__dataclass_fields__})
        copy.after = after
        self.loki.faults.add(copy)

    # --- what the exporter does -----------------------------------------------------------------------------------------

    @rule(dies_at=st.one_of(st.none(), st.integers(0, 60)), units=st.one_of(st.none(), st.integers(0, 12)))
    def read_to_now(self, dies_at: int | None, units: int | None) -> None:
        """As ``--drain`` does: up to now, with every pass that is due; or until the worker dies."""
        TenantModel.steps += 1
        asyncio.run(self._read(self.clock.now_ns() - 2 * SECOND, dies_at, units))

    @rule(dies_at=st.one_of(st.none(), st.integers(0, 60)), units=st.integers(1, 25))
    def read_live(self, dies_at: int | None, units: int) -> None:
        """As a service does, for a while."""
        TenantModel.steps += 1
        asyncio.run(self._read(None, dies_at, units))

    async def _read(self, until_ns: int | None, dies_at: int | None, units: int | None) -> None:
        left = dies_at

        def before(_path: str) -> None:
            nonlocal left
            if left is not None:
                left -= 1
                if left < 0:
                    raise Died

        self.transport.before = before
        try:
            reader = reader_of(self.client, self.settings, self.clock, near_bytes=self.near_bytes, start=START)
            await reader.restore(self.bus.records)
            async with aclosing(reader.units(until_ns)) as read:
                seen = 0
                async for unit in read:
                    if seen == units:
                        break  # read, and never committed
                    self.bus.commit(unit)
                    seen += 1
        except Died:
            pass
        finally:
            self.transport.before = lambda _path: None
            self.loki.faults.clear()

    # --- what must hold -------------------------------------------------------------------------------------------------

    def truth(self) -> set[tuple]:
        return {
            (tuple(sorted(e.labels.items())), e.time_ns, e.line, tuple(sorted((e.metadata or {}).items())))
            for e in self.loki.truth("acme")
        }

    def live(self) -> LiveCheckpoint:
        return LiveCheckpoint.decode(self.bus.records[live_key("acme")])

    def teardown(self) -> None:
        """Whatever happened: after the last bound everything accepted is on the bus, each line once, and history is sealed."""
        self.loki.faults.clear()
        self.settle()
        truth = self.truth()
        mine = set(self.bus.entries)
        missing, invented = len(truth - mine - self.deleted()), len(mine - truth)
        repeated = len(self.bus.ids) - len(set(self.bus.ids))
        assert (missing, invented, repeated) == (0, 0, 0), f"missing, invented, repeated: {missing, invented, repeated}"
        live = self.live()
        assert [t.state for t in live.troubles] == [], live.troubles[0].reason
        assert live.sealed_ns > NOW_NS

    def settle(self) -> None:
        asyncio.run(self._read(self.clock.now_ns() - 2 * SECOND, None, None))
        for hours in (5.0, 26.0, 24.0 * 7):
            self.time_passes(hours)
            asyncio.run(self._read(self.clock.now_ns() - 2 * SECOND, None, None))
