"""``dlq``: the dead letters of a target: events that it refused for good. They are redacted, as everything on the bus."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from exporter.cli.config import ConfigOption, JsonOption, read_settings
from exporter.cli.failures import FAILED
from exporter.cli.output import print_error, print_json, print_table
from exporter.cli.run import require_targets

if TYPE_CHECKING:
    from exporter.settings.model import Settings

app = typer.Typer(no_args_is_help=True, help="See, redrive or discard dead letters.")

TargetOption = Annotated[str, typer.Option(help="The target whose dead letters they are.", show_default=False)]
NumbersArgument = Annotated[
    list[int] | None, typer.Argument(help="Numbers as `dlq list` shows them.", show_default=False)
]
AllOption = Annotated[bool, typer.Option("--all", help="All open letters of the target.")]


@contextmanager
def _opened(config: Path, target: str) -> Iterator[tuple[Settings, Any]]:
    """Yield settings and bus for a command about one target."""
    from exporter.bus import create_bus  # noqa: PLC0415 - loads the clients of both buses

    settings = read_settings(config, policies=False)
    require_targets(settings, [target])
    bus = create_bus(settings.bus)
    try:
        yield settings, bus
    finally:
        bus.close()


@app.command("list")
def list_(
    config: ConfigOption,
    target: TargetOption,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List open dead letters, oldest first."""
    letters: list[dict[str, Any]] = []
    with _opened(config, target) as (_, bus):
        total = bus.dead_letters().counts().get(target, 0)
        for letter in bus.dead_letters().list(target):
            if len(letters) == limit:
                break
            letters.append(_summary(letter))
    if as_json:
        print_json({"target": target, "total": total, "letters": letters})
        return
    columns = ["number", "failed", "tenant", "partition", "offset", "code", "reason", "event id"]
    keys = ["number", "failed", "tenant", "partition", "offset", "code", "reason", "event_id"]
    print_table(f"Dead letters of {target}: {total}", columns, [[str(letter[k]) for k in keys] for letter in letters])
    if len(letters) < total:
        print(f"… and {total - len(letters)} more; see --limit")


@app.command()
def show(
    config: ConfigOption,
    target: TargetOption,
    number: Annotated[int, typer.Argument(help="Number as `dlq list` shows it.", show_default=False)],
) -> None:
    """Show one dead letter with its (redacted) event, as JSON."""
    with _opened(config, target) as (_, bus):
        letter = next((x for x in bus.dead_letters().list(target) if x.number == number), None)
    if letter is None:
        raise typer.BadParameter(f"{target} has no open dead letter {number}", param_hint="NUMBER")
    print_json({**_summary(letter), "event": _event(letter.value)})


@app.command()
def redrive(
    config: ConfigOption,
    target: TargetOption,
    numbers: NumbersArgument = None,
    everything: AllOption = False,
    as_json: JsonOption = False,
) -> None:
    """Deliver dead letters again, in order; what is refused again stays."""
    with _opened(config, target) as (settings, bus):
        chosen = _choose(bus, target, numbers, everything=everything)
        outcome = asyncio.run(_redrive(settings, bus, target, chosen))
    if as_json:
        print_json({"target": target, **outcome})
    else:
        print(", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in outcome.items()))
    if outcome["refused"]:
        print_error(f"{target} refused {outcome['refused']} again; they stay open")
        raise typer.Exit(FAILED)


async def _redrive(settings: Settings, bus: Any, target: str, numbers: list[int]) -> dict[str, int]:
    """Build the target's connector as the service does and hand the letters to it."""
    from exporter.app import build_connector  # noqa: PLC0415 - loads the connector and the engine
    from exporter.delivery.redrive import redrive  # noqa: PLC0415

    directory = settings.service.state_dir / "targets" / target
    directory.mkdir(parents=True, exist_ok=True)
    connector = build_connector(settings, target, directory)
    await connector.open()
    try:
        return await redrive(target, connector, bus, numbers=numbers)
    finally:
        await connector.close()


@app.command()
def discard(
    config: ConfigOption,
    target: TargetOption,
    numbers: NumbersArgument = None,
    everything: AllOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Give dead letters up: they will never be delivered to this target."""
    with _opened(config, target) as (_, bus):
        chosen = _choose(bus, target, numbers, everything=everything)
        if chosen and not yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter("nobody can be asked here; confirm with --yes", param_hint="--yes")
            typer.confirm(f"Discard {len(chosen)} dead letter(s) of {target} for good?", abort=True)
        if chosen:
            bus.dead_letters().resolve(target, chosen, "discarded")
    print(f"discarded: {len(chosen)}")


def _choose(bus: Any, target: str, numbers: list[int] | None, *, everything: bool) -> list[int]:
    """Return the numbers meant, in the letters' order. Raises a usage error for unknown ones or when none are named."""
    if everything == bool(numbers):
        raise typer.BadParameter("give numbers, or --all", param_hint="NUMBERS")
    present = [letter.number for letter in bus.dead_letters().list(target)]
    unknown = sorted(set(numbers or ()) - set(present))
    if unknown:
        message = f"{target} has no open dead letter {', '.join(map(str, unknown))}"
        raise typer.BadParameter(message, param_hint="NUMBERS")
    return present if everything else [number for number in present if number in set(numbers or ())]


def _summary(letter: Any) -> dict[str, Any]:
    failed = datetime.fromtimestamp(letter.failed_ns // 1_000_000_000, UTC)
    return {
        "number": letter.number,
        "tenant": letter.tenant,
        "partition": letter.partition,
        "offset": letter.offset,
        "event_id": letter.event_id,
        "code": letter.code,
        "reason": letter.reason,
        "failed_ns": letter.failed_ns,
        "failed": f"{failed:%Y-%m-%dT%H:%M:%SZ}",
    }


def _event(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:  # refused perhaps because of this
        return value.decode("utf-8", "replace")
