"""What the demo shows while it runs: a table on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Self

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_LINE_EVERY_SECONDS = 5.0


class Figures:
    """Sums of the service's metrics, by name and one label."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples[sample.name].append((sample.labels, sample.value))

    def total(self, name: str, **labels: str) -> float:
        return sum(value for found, value in self._samples[name] if all(found.get(k) == v for k, v in labels.items()))


class Screen:
    """Draws the state of the demo; ``update`` is called a few times a second."""

    def __init__(self, tenants: tuple[str, ...], targets: tuple[str, ...]) -> None:
        self._tenants, self._targets = tenants, targets
        self.console = Console()
        self._live = (
            Live(console=self.console, refresh_per_second=4, transient=False) if self.console.is_terminal else None
        )
        self._next_line = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, phase: str, text: str, pushed: dict[str, int], latency: tuple[float | None, float | None]) -> None:
        figures = Figures(text)
        if self._live is not None:
            self._live.update(Panel(self._picture(figures, pushed, latency), title=f"loki-siem demo · {phase}"))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY_SECONDS
            self.console.print(self._line(phase, figures, pushed, latency), highlight=False, soft_wrap=True)

    def _picture(self, figures: Figures, pushed: dict[str, int], latency: tuple[float | None, float | None]) -> Group:
        reading = Table(
            "tenant", "pushed to Loki", "on the bus", "late", "held", "redacted spans", "behind now", expand=True
        )
        for tenant in self._tenants:
            frontier = figures.total("loki_siem_frontier_timestamp_seconds", tenant=tenant)
            reading.add_row(
                tenant,
                f"{pushed.get(tenant, 0):,}",
                f"{figures.total('loki_siem_events_total', tenant=tenant, outcome='out'):,.0f}",
                f"{figures.total('loki_siem_loki_entries_total', tenant=tenant, late='true'):,.0f}",
                f"{figures.total('loki_siem_events_total', tenant=tenant, outcome='held'):,.0f}",
                f"{figures.total('loki_siem_redactions_total', tenant=tenant):,.0f}",
                f"{time.time() - frontier:.1f} s" if frontier else "-",
            )
        delivery = Table("target", "delivered", "MB", "waiting on the bus", "dead letters", expand=True)
        for target in self._targets:
            delivery.add_row(
                target,
                f"{figures.total('loki_siem_delivered_events_total', target=target):,.0f}",
                f"{figures.total('loki_siem_delivered_bytes_total', target=target) / 1e6:,.1f}",
                f"{figures.total('loki_siem_delivery_lag_records', target=target):,.0f}",
                f"{figures.total('loki_siem_dead_letters_total', target=target):,.0f}",
            )
        return Group(reading, delivery, Text(_latency(latency)))

    def _line(
        self, phase: str, figures: Figures, pushed: dict[str, int], latency: tuple[float | None, float | None]
    ) -> str:
        delivered = ", ".join(
            f"{t} {figures.total('loki_siem_delivered_events_total', target=t):,.0f}" for t in self._targets
        )
        return (
            f"{phase}: pushed {sum(pushed.values()):,}, on the bus "
            f"{figures.total('loki_siem_events_total', outcome='out'):,.0f} "
            f"(late {figures.total('loki_siem_loki_entries_total', late='true'):,.0f}), "
            f"redacted spans {figures.total('loki_siem_redactions_total'):,.0f}, delivered {delivered}; {_latency(latency)}"
        )


def _latency(latency: tuple[float | None, float | None]) -> str:
    median, high = latency
    if median is None or high is None:
        return "Loki accepts → HEC has it: measuring"
    return f"Loki accepts → HEC has it: p50 {median:.1f} s, p99 {high:.1f} s"
