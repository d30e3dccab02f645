"""``status``: where every tenant and target stands, read from the bus; breakers from a running service."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from exporter.cli.config import ConfigOption, JsonOption, read_settings
from exporter.cli.output import print_json, print_table, print_warning
from exporter.domain.checkpoints import LiveCheckpoint, Trouble
from exporter.domain.states import hours_by_state
from exporter.domain.windows import NS_PER_SECOND

if TYPE_CHECKING:
    from exporter.settings.model import Settings

_BREAKER_STATES = ("closed", "half open", "open")


def status(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Show where tenants and targets stand.

    Per tenant: frontier, sealed frontier, lag, hours of history by state, and windows that are blocked, suspect or hold events back. Per
    target: position, lag, breaker, dead letters. Breaks of the ledger that a running service found at its start.
    """
    from exporter.bus import create_bus  # noqa: PLC0415 - loads the clients of both buses
    from exporter.cli.scrape import scrape  # noqa: PLC0415

    settings = read_settings(config, policies=False)
    bus = create_bus(settings.bus)
    try:
        report = collect(settings, bus, scrape(settings.service.listen), time.time_ns())
    finally:
        bus.close()
    if as_json:
        print_json(report)
    else:
        _print(report)


def collect(settings: Settings, bus: Any, metrics: Mapping[str, Any] | None, now_ns: int) -> dict[str, Any]:
    """Return the report. ``metrics``: what :func:`exporter.cli.scrape.scrape` found, None when no service answers."""
    checkpoints: dict[str, bytes] = bus.all_checkpoints()
    lives = [LiveCheckpoint.decode(raw) for key, raw in checkpoints.items() if key.startswith("live/")]
    by_tenant = {live.tenant: live for live in lives}
    positions = bus.positions(list(settings.targets), list(settings.tenants))
    dead_letters = bus.dead_letters().counts()
    stopped = metrics["stopped_tenants"] if metrics else set()
    return {
        "now_ns": now_ns,
        "service": {"listen": settings.service.listen, "up": metrics is not None},
        "ledger_breaks": metrics["ledger_breaks"] if metrics else None,
        "tenants": {
            name: _tenant(by_tenant.get(name), now_ns) | {"stopped": name in stopped} for name in settings.tenants
        },
        "targets": {
            name: _target(
                [p for p in positions if p.target == name and p.lane.tenant in settings.tenants_of(name)],
                metrics["breakers"].get(name, {}) if metrics else None,
                dead_letters.get(name, 0),
            )
            for name in settings.targets
        },
    }


def _tenant(live: LiveCheckpoint | None, now_ns: int) -> dict[str, Any]:
    """Return one tenant's part; without a checkpoint nothing was read yet."""
    if live is None:
        return {
            "frontier_ns": None,
            "sealed_frontier_ns": None,
            "lag_seconds": None,
            "events": 0,
            "late": 0,
            "held": 0,
            "hours": None,
        } | {f"{state}_windows": [] for state in ("held", "suspect", "blocked")}
    return {
        "frontier_ns": live.frontier_ns,
        "sealed_frontier_ns": live.sealed_ns,
        "lag_seconds": max(0.0, round((now_ns - live.frontier_ns) / NS_PER_SECOND, 3)),
        "events": live.events,
        "late": live.late,
        "held": live.held,
        "filtered": live.filtered,
        "hours": hours_by_state(live),
        **{
            f"{state}_windows": [_window(t) for t in live.troubles if t.state == state]
            for state in ("held", "suspect", "blocked")
        },
    }


def _window(trouble: Trouble) -> dict[str, Any]:
    return {
        "start_ns": trouble.start_ns,
        "end_ns": trouble.end_ns,
        "count": trouble.count,
        "reason": trouble.reason,
    }


def _target(positions: list[Any], breakers: Mapping[str, str] | None, dead_letters: int) -> dict[str, Any]:
    """Return one target's part. ``position`` and ``lag`` are sums over its lanes; ``lanes`` has each."""
    states = set(breakers.values()) if breakers else set()
    worst = next((state for state in reversed(_BREAKER_STATES) if state in states), "closed")
    return {
        "position": sum(p.position for p in positions),
        "lag": sum(p.lag for p in positions),
        "breaker": worst if breakers is not None else "unknown",
        "breakers": dict(breakers or {}),
        "dead_letters": dead_letters,
        "lanes": [
            {
                "tenant": p.lane.tenant,
                "partition": p.lane.partition,
                "position": p.position,
                "end": p.end,
                "lag": p.lag,
            }
            for p in sorted(positions, key=lambda p: p.lane)
        ],
    }


def _print(report: dict[str, Any]) -> None:
    tenants = [
        [
            name,
            _time(t["frontier_ns"]),
            _time(t["sealed_frontier_ns"]),
            "-" if t["lag_seconds"] is None else f"{t['lag_seconds']:.1f} s",
            *(f"{t[key]:,}" for key in ("events", "late", "held")),
            "stopped" if t["stopped"] else "reading" if report["service"]["up"] else "-",
        ]
        for name, t in report["tenants"].items()
    ]
    print_table("Tenants", ["tenant", "frontier", "sealed frontier", "lag", "events", "late", "held", "state"], tenants)
    hours = [[name, *(f"{n:,}" for n in t["hours"].values())] for name, t in report["tenants"].items() if t["hours"]]
    if hours:
        columns = ["tenant", "hot", "warm", "cold", "sealed", "suspect", "blocked"]
        print_table("Hours of history by state", columns, hours)
    troubles = [
        [name, state, _time(w["start_ns"]), _time(w["end_ns"]), str(w["count"] or "?"), w["reason"]]
        for name, t in report["tenants"].items()
        for state in ("blocked", "suspect", "held")
        for w in t[f"{state}_windows"]
    ]
    if troubles:
        print_table("Windows that need a look", ["tenant", "state", "from", "to", "events", "reason"], troubles)
    targets = [
        [name, *(f"{t[key]:,}" for key in ("position", "lag")), _breaker(t), f"{t['dead_letters']:,}"]
        for name, t in report["targets"].items()
    ]
    if targets:
        print_table("Targets", ["target", "position", "lag", "breaker", "dead letters"], targets)
    for chain, number in (report["ledger_breaks"] or {}).items():
        print_warning(f"ledger of {chain}: {number} breaks were found at its start; run `loki-siem ledger verify`")
    if not report["service"]["up"]:
        print_warning(f"no service answers at {report['service']['listen']}; breakers are unknown")


def _breaker(target: dict[str, Any]) -> str:
    causes = [failure for failure, state in target["breakers"].items() if state == target["breaker"] != "closed"]
    return f"{target['breaker']} ({', '.join(sorted(causes))})" if causes else str(target["breaker"])


def _time(time_ns: int | None) -> str:
    """Render nanoseconds as UTC, to the millisecond; a status is read by people."""
    if time_ns is None:
        return "not started"
    seconds, rest = divmod(time_ns, NS_PER_SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"
