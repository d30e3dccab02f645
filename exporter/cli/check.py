"""``check``: every configuration error at once, and with ``--connect`` Loki, bus and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from exporter.cli.config import ConfigOption, JsonOption, read_settings
from exporter.cli.failures import FAILED, REFUSED
from exporter.cli.output import finding_dict, print_findings, print_json
from exporter.errors import ConfigurationError, Finding

if TYPE_CHECKING:
    from exporter.settings.model import Settings


def check(
    config: ConfigOption,
    connect: Annotated[bool, typer.Option("--connect", help="Also try Loki, the bus and every target.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find every configuration error at once.

    The policies' own tests run too. Exit code 2: the configuration is wrong; 1: with --connect, a peer does not answer.
    """
    try:
        settings = read_settings(config, policies=True)
    except ConfigurationError as error:
        _report(error.findings, [], as_json=as_json)
        raise typer.Exit(REFUSED) from None
    findings: list[Finding] = []
    reached: list[str] = []
    if connect:
        from exporter.cli.connections import try_connections  # noqa: PLC0415 - loads clients and connectors

        findings, reached = try_connections(settings)
    _report(findings, reached, as_json=as_json)
    if findings:
        raise typer.Exit(FAILED)
    if not as_json:
        _print_summary(settings)


def _report(findings: tuple[Finding, ...] | list[Finding], reached: list[str], *, as_json: bool) -> None:
    if as_json:
        answer: dict[str, Any] = {"ok": not findings, "findings": [finding_dict(f) for f in findings]}
        print_json({**answer, "reached": reached})
        return
    for name in reached:
        print(f"{name}: ok")
    if findings:
        print_findings(findings)


def _print_summary(settings: Settings) -> None:
    tenants, targets = len(settings.tenants), len(settings.targets)
    print(f"configuration is sound: {tenants} tenant{'s'[: tenants != 1]}, {targets} target{'s'[: targets != 1]}")
