"""The course of the demo."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from exporter.demo.probe import LatencyProbe
from exporter.demo.proof import count_leaks, ids_in
from exporter.demo.screen import Figures, Screen
from exporter.demo.stack import TENANTS, DemoError, Stack
from exporter.sandbox import generator
from exporter.sandbox.loglines import Planted

TARGETS = ("soc", "archive")
#: A backlog that is there before the service starts, then a steady rate with late lines.
BACKLOG_LINES = 60_000
BACKLOG_SECONDS = 10.0
STEADY_LINES_PER_SECOND = 1_000.0
STEADY_SECONDS = 30.0
LATE_SHARE = 0.2
SETTLE_SECONDS = 60.0
_SEED = 20261124


def run_demo(directory: Path = Path("demo")) -> int:
    """Run it; 0 when every count agrees and nothing leaked. Everything it writes is below ``directory``."""
    try:
        with Stack(directory) as stack:
            return asyncio.run(_Demo(stack).run())
    except DemoError as error:
        print(f"demo: {error}")
        return 1


class _Demo:
    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._screen = Screen(TENANTS, TARGETS)
        self._backlog, self._steady = generator.Report(), generator.Report()
        self._probe = LatencyProbe(stack.loki_url, TENANTS[0], stack.store, _SEED)
        self._phase = ""
        self._metrics = ""

    async def run(self) -> int:
        with self._screen:
            drawing = asyncio.create_task(self._draw())
            try:
                await self._push_and_read()
            finally:
                drawing.cancel()
        self._metrics = await asyncio.to_thread(self._stack.metrics) or self._metrics
        (self._stack.directory / "metrics.txt").write_text(self._metrics)
        await asyncio.to_thread(self._stack.stop_service)
        return self._prove()

    async def _push_and_read(self) -> None:
        self._phase = "filling Loki before the service starts"
        rate = BACKLOG_LINES / BACKLOG_SECONDS
        await generator.run(
            self._stack.loki_url, TENANTS, rate, BACKLOG_SECONDS, _SEED, late_share=0, report=self._backlog
        )
        self._phase = "service starts on the backlog"
        self._stack.store.touch()
        await asyncio.to_thread(self._stack.start_service)
        await self._settled()
        self._phase = f"steady: {LATE_SHARE:.0%} of the lines 1 to 30 s late"
        watching = asyncio.create_task(self._probe.watch())
        await asyncio.gather(
            generator.run(
                self._stack.loki_url,
                TENANTS,
                STEADY_LINES_PER_SECOND,
                STEADY_SECONDS,
                _SEED + 1,
                late_share=LATE_SHARE,
                report=self._steady,
            ),
            self._probe.push(STEADY_SECONDS),
        )
        self._phase = "pushing has ended; everything arrives"
        await self._settled()
        watching.cancel()

    async def _settled(self) -> None:
        """Wait until the targets hold as many events as Loki accepted."""
        wanted = sum((await asyncio.to_thread(self._stack.accepted_by_loki)).values())
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            figures = Figures(await asyncio.to_thread(self._stack.metrics))
            if all(figures.total("loki_siem_delivered_events_total", target=t) >= wanted for t in TARGETS):
                return
            await asyncio.sleep(0.2)

    def _pushed(self) -> dict[str, int]:
        return {t: self._backlog.accepted[t] + self._steady.accepted[t] for t in TENANTS}

    async def _draw(self) -> None:
        while True:
            self._metrics = await asyncio.to_thread(self._stack.metrics) or self._metrics
            latency = (self._probe.quantile(0.5), self._probe.quantile(0.99))
            self._screen.update(self._phase, self._metrics, self._pushed(), latency)
            await asyncio.sleep(0.5)

    # --- proof --------------------------------------------------------------------------------------------------------

    def _prove(self) -> int:
        stack = self._stack
        truth = [event_id for tenant in TENANTS for event_id in stack.ids_accepted_by_loki(tenant)]
        archive = sorted(stack.archive.rglob("*.ndjson*"))
        table = Table("proof", "events", "distinct", "missing", "foreign", "twice")
        good = _row(table, "accepted by Loki", truth, truth)
        good &= _row(table, "soc (Splunk HEC)", ids_in([stack.store]), truth)
        good &= _row(table, "archive (files)", ids_in(archive), truth)
        planted: list[Planted] = [*self._backlog.planted, *self._steady.planted]
        places = [stack.store, *archive, stack.directory / "metrics.txt", *_files(stack.directory / "logs")]
        places += _files(stack.directory / "state")
        leaks = count_leaks(planted, places)
        console = self._screen.console
        console.print(table)
        median, high = self._probe.quantile(0.5), self._probe.quantile(0.99)
        if median is not None and high is not None:
            console.print(
                f"Loki accepts → HEC has it, {len(self._probe.latencies)} canaries, half of them 1 to 30 s late: "
                f"p50 {median:.2f} s, p99 {high:.2f} s"
            )
        console.print(
            f"planted personal data and secrets: {len({p.value for p in planted}):,} values; "
            f"searched in targets, bus, state, logs, metrics: leaks {sum(leaks.values())}"
        )
        good = good and not leaks and not self._probe.missing
        console.print("counts in = counts out, leaks 0" if good else "NOT proven: see the table above", style="bold")
        console.print(f"everything it wrote is in {stack.directory}/", highlight=False)
        return 0 if good else 1


def _files(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.rglob("*")) if path.is_file()]


def _row(table: Table, name: str, ids: Sequence[str], truth: Sequence[str]) -> bool:
    distinct, wanted = set(ids), set(truth)
    missing, foreign, twice = len(wanted - distinct), len(distinct - wanted), len(ids) - len(distinct)
    table.add_row(name, *(f"{n:,}" for n in (len(ids), len(distinct), missing, foreign, twice)))
    return not (missing or foreign or twice)
