"""Trying Loki, the bus and the targets without reading a line, writing an event or changing anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from connectors.base import ConnectorContext, TargetError
from exporter.domain.clock import SystemClock
from exporter.domain.secrets import SecretError
from exporter.domain.windows import NS_PER_SECOND, Window
from exporter.errors import ConfigurationError, ExporterError, Finding
from exporter.settings.model import Settings

#: An operator waits for it; what needs longer to answer one cheap request will not keep up with a stream either.
PROBE_SECONDS = 20.0
GENERAL_CURE = "Check the address, the network, the credentials, and that the peer is up."


@dataclass(frozen=True, slots=True)
class _Probe:
    name: str
    path: str
    work: Awaitable[list[Finding]]


def try_connections(settings: Settings) -> tuple[list[Finding], list[str]]:
    """Try everything at once. Returns findings and the names of what is reachable and lets us in."""
    return asyncio.run(try_all(settings))


async def try_all(settings: Settings) -> tuple[list[Finding], list[str]]:
    from exporter.loki.client import LokiClient  # noqa: PLC0415 - one failing import must not hide the other probes

    async with LokiClient(settings.loki, clock=SystemClock()) as client:
        probes = [_Probe("bus", "bus", _try_bus(settings))]
        probes += [
            _Probe(f"loki, tenant {t}", f"tenants.{t}", _try_tenant(client, settings, t)) for t in settings.tenants
        ]
        probes += [_Probe(f"target {t}", f"targets.{t}", _try_target(settings, t)) for t in settings.targets]
        outcomes = await asyncio.gather(*(_outcome(probe) for probe in probes))
    findings = [finding for found in outcomes for finding in found]
    return findings, [probe.name for probe, found in zip(probes, outcomes, strict=True) if not found]


async def _outcome(probe: _Probe) -> list[Finding]:
    """Return a probe's findings; whatever it raises becomes one."""
    try:
        return await asyncio.wait_for(probe.work, PROBE_SECONDS)
    except TimeoutError:
        reason = f"no answer within {PROBE_SECONDS:.0f} seconds"
        return [Finding(probe.path, reason, "Check the address, firewalls and the peer's health.")]
    except ConfigurationError as error:
        return list(error.findings)
    except (ExporterError, TargetError, SecretError) as error:
        reason, _, hint = str(error).partition("; ")
        return [Finding(probe.path, reason, f"{hint[:1].upper()}{hint[1:]}." if hint else GENERAL_CURE)]
    except Exception as error:  # noqa: BLE001 - a faulty connector must not hide the other findings; its text may quote data
        return [Finding(probe.path, f"unexpected {type(error).__name__}", "Report it to whoever wrote this part.")]


async def _try_tenant(client: Any, settings: Settings, name: str) -> list[Finding]:
    """Ask Loki for one count over the last second: address, TLS, credentials, tenant and selector are all proven by it."""
    tenant = settings.tenants[name]
    end_ns = SystemClock().now_ns() // NS_PER_SECOND * NS_PER_SECOND
    window = Window(end_ns - NS_PER_SECOND, end_ns)
    await client.count(tenant.org_id or name, tenant.selector, window, tenant=name)
    return []


async def _try_bus(settings: Settings) -> list[Finding]:
    from exporter.bus import create_bus  # noqa: PLC0415 - see try_all

    bus = create_bus(settings.bus)
    try:
        return await asyncio.to_thread(bus.check)
    finally:
        await asyncio.to_thread(bus.close)


async def _try_target(settings: Settings, name: str) -> list[Finding]:
    from connectors.registry import factories  # noqa: PLC0415 - see try_all

    target = settings.targets[name]
    with _state_dir(settings, name) as directory:
        connector = factories()[target.kind].build(target, ConnectorContext(target=name, state_dir=directory))
        try:
            await connector.open()
        finally:
            await connector.close()
    return []


@contextmanager
def _state_dir(settings: Settings, target: str) -> Iterator[str]:
    """Yield the target's state directory. Before the first run it is a temporary one: whoever checks may be another user
    than the service, which then could not write into what the check left behind.
    """
    directory = settings.service.state_dir / "targets" / target
    if directory.is_dir():
        yield str(directory)
    else:
        with TemporaryDirectory(prefix="loki-siem-check-") as temporary:
            yield temporary
