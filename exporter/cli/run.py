"""``run``: the service."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.cli.config import ConfigOption, read_settings

if TYPE_CHECKING:
    from exporter.settings.model import Settings


class Role(StrEnum):
    """Which processes a run starts."""

    all = "all"
    reader = "reader"
    delivery = "delivery"


def run(
    config: ConfigOption,
    role: Annotated[
        Role, typer.Option(help="Start only readers or only delivery, e.g. as separate deployments.")
    ] = Role.all,
    target: Annotated[
        list[str] | None, typer.Option(help="Deliver to this target only; may be repeated.", show_default=False)
    ] = None,
    drain: Annotated[
        bool, typer.Option("--drain", help="Read up to now, deliver all of it, print the totals and exit.")
    ] = False,
) -> None:
    """Read Loki, redact and deliver."""
    from exporter.ops import log  # noqa: PLC0415

    settings = read_settings(config, policies=True)
    targets = target or []
    require_targets(settings, targets)
    if targets and role is Role.reader:
        raise typer.BadParameter("readers deliver nothing; use it with --role delivery or all", param_hint="--target")
    log.configure(settings.service.log_level, settings.service.log_format)
    from exporter.app import run_service  # noqa: PLC0415 - loads every part of the exporter

    raise typer.Exit(run_service(settings, config_path=config, role=role.value, targets=targets, drain=drain))


def require_targets(settings: Settings, names: list[str]) -> None:
    """Raise a usage error for a name that no target of the configuration has."""
    from exporter.settings.findings import nearest  # noqa: PLC0415

    for name in names:
        if name not in settings.targets:
            message = f"there is no target named {name}. {nearest(name, settings.targets)}"
            raise typer.BadParameter(message, param_hint="--target")
