"""``ledger``: what was committed, what targets took, where one event went, and the proof that all of it still stands."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exporter import __version__
from exporter.cli.config import ConfigOption, JsonOption, read_settings
from exporter.cli.failures import FAILED
from exporter.cli.output import print_error, print_json, print_table, print_warning
from exporter.cli.times import parse_time, show_time

if TYPE_CHECKING:
    from exporter.bus.base import Bus
    from exporter.settings.model import Settings

app = typer.Typer(no_args_is_help=True, help="See, trace, prove and export the ledger.")

FromOption = Annotated[str | None, typer.Option("--from", help="From this day or time on.", show_default=False)]
ToOption = Annotated[str | None, typer.Option("--to", help="Up to this day or time, without it.", show_default=False)]
LimitOption = Annotated[int, typer.Option(min=1, help="Show at most the newest so many; totals are of all.")]

#: How long before the times asked for records may have been written: clocks differ, and windows are committed after they end.
_MARGIN_MS = 3_600_000
_EVENT_ID = re.compile(r"[0-9a-f]{32}")


@contextmanager
def _opened(config: Path) -> Iterator[tuple[Settings, Bus]]:
    from exporter.bus import create_bus  # noqa: PLC0415 - loads the clients of both buses

    settings = read_settings(config, policies=False)
    bus = create_bus(settings.bus)
    try:
        yield settings, bus
    finally:
        bus.close()


# --- show -------------------------------------------------------------------------------------------------------------


@app.command()
def show(
    config: ConfigOption,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.", show_default=False)] = None,
    target: Annotated[
        str | None, typer.Option(help="What this target took, instead of commits.", show_default=False)
    ] = None,
    from_: FromOption = None,
    to: ToOption = None,
    limit: LimitOption = 200,
    as_json: JsonOption = False,
) -> None:
    """Show commits by window, or with --target what that target took, with totals.

    --from and --to bound the windows of commits, and with --target the time of delivery.
    """
    from exporter.custody.listing import CommitList, ReceiptList  # noqa: PLC0415 - see _opened

    from_ns, to_ns = parse_time(from_, "--from"), parse_time(to, "--to")
    with _opened(config) as (settings, bus):
        _require(settings, tenant, target)
        listing: CommitList | ReceiptList = (
            ReceiptList(target, tenant, from_ns, to_ns, limit) if target else CommitList(tenant, from_ns, to_ns, limit)
        )
        since_ms = max(0, from_ns // 1_000_000 - _MARGIN_MS) if from_ns else 0
        for record in bus.ledger(since_ms=since_ms):
            listing.add(record.value)
    if as_json:
        print_json({"rows": list(listing.rows), "totals": listing.totals, "breaks": [str(b) for b in listing.breaks]})
    else:
        _print_listing(listing.rows, listing.totals, target)
    _end(listing.breaks)


def _require(settings: Settings, tenant: str | None, target: str | None) -> None:
    """A name that the configuration does not have may have been there once: say so and go on."""
    if tenant is not None and tenant not in settings.tenants:
        print_warning(f"tenant {tenant} is not in the configuration (any more)")
    if target is not None and target not in settings.targets:
        print_warning(f"target {target} is not in the configuration (any more)")


def _print_listing(rows: deque[dict[str, Any]], totals: Mapping[str, Mapping[str, int]], target: str | None) -> None:
    if target:
        columns = ["at", "tenant", "partition", "offsets", "events", "bytes", "answer"]
        cells = [
            [
                show_time(r["at_ns"]),
                r["tenant"],
                str(r["partition"]),
                r["offsets"],
                str(r["events"]),
                str(r["bytes"]),
                r["answer"],
            ]
            for r in rows
        ]
        print_table(f"Taken by {target}", columns, cells)
    else:
        columns = [
            "committed",
            "shard",
            "record",
            "tenant",
            "pass",
            "from",
            "to",
            "in",
            "out",
            "held",
            "filtered",
            "root",
        ]
        cells = [
            [
                show_time(r["at_ns"]),
                str(r["shard"]),
                str(r["sequence"]),
                r["tenant"],
                r["pass"],
                show_time(r["start_ns"]),
                show_time(r["end_ns"]),
                str(r["in"]),
                str(r["out"]),
                str(r["held"]),
                str(r["filtered"]),
                r["root"][:16],
            ]
            for r in rows
        ]
        print_table("Commits by window", columns, cells)
    for tenant, numbers in sorted(totals.items()):
        print(f"{tenant}: " + ", ".join(f"{name} {number}" for name, number in numbers.items()))


# --- trace ------------------------------------------------------------------------------------------------------------


@app.command()
def trace(
    config: ConfigOption,
    event_id: Annotated[str, typer.Argument(help="event.id: 32 hexadecimal digits.", show_default=False)],
    ledger_only: Annotated[
        bool,
        typer.Option(
            "--ledger-only", help="Do not look for the event on the bus: quicker, without offsets and receipts."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say where an event went: its commit, its place on the bus, the receipts of targets, dead letters.

    Where the bus has the events of the commit still, the event is proven by the Merkle root. Exit code 1: the ledger does not know it.
    """
    from exporter.cli.tracing import trace_event  # noqa: PLC0415 - see _opened

    if not _EVENT_ID.fullmatch(event_id):
        raise typer.BadParameter("an event.id has 32 hexadecimal digits", param_hint="EVENT_ID")
    with _opened(config) as (settings, bus):
        report, breaks = trace_event(settings, bus, event_id, with_bus=not ledger_only)
    if as_json:
        print_json({**report, "breaks": [str(found) for found in breaks]})
    else:
        _print_trace(report)
    if not report["commits"]:
        print_error(
            f"the ledger knows no event {event_id}",
            "was it read at all? `loki-siem status` shows how far each tenant is",
        )
        raise typer.Exit(FAILED)
    _end(breaks)


def _print_trace(report: Mapping[str, Any]) -> None:
    for commit in report["commits"]:
        unproven = "not proven: the bus does not have all events of this window any more"
        proof = "proven by the Merkle root" if commit["proof"] else unproven
        print(f"committed  {show_time(commit['at_ns'])}  shard {commit['shard']}, record {commit['sequence']}")
        print(
            f"           {commit['tenant']}, pass {commit['pass']}, window {show_time(commit['start_ns'])} to {show_time(commit['end_ns'])}"
        )
        print(f"           event {commit['index'] + 1} of {commit['out']}, policy {commit['policy_id']}; {proof}")
    for place in report["bus"]:
        print(f"on the bus {place['tenant']}, partition {place['partition']}, offset {place['offset']}")
    for target in report["targets"]:
        print(f"target     {target['target']}: {target['state']}")
        for receipt in target["receipts"]:
            print(f"           receipt {receipt['sequence']} of {show_time(receipt['at_ns'])}: {receipt['answer']}")


# --- verify, export ---------------------------------------------------------------------------------------------------


@app.command("verify")
def verify_bus(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Follow every chain of the ledger on the bus from its beginning, and compare its ends with the checkpoints."""
    from exporter.cli.tracing import verify_ledger  # noqa: PLC0415 - see _opened

    with _opened(config) as (_, bus):
        chains, records = verify_ledger(bus)
    heads = {str(chain): head.sequence for chain, head in sorted(chains.heads().items())}
    if as_json:
        noted = [str(found) for found in chains.noted]
        print_json(
            {
                "ok": not chains.breaks,
                "records": records,
                "chains": heads,
                "breaks": [str(found) for found in chains.breaks],
                "noted": noted,
                "unchained_receipts": chains.unchained,
            }
        )
    else:
        print(f"records: {records}, chains: {len(heads)}, breaks: {len(chains.breaks)}")
        for found in chains.noted:
            print_warning(f"{found} (written down by the service itself)")
        for target, number in chains.unchained.items():
            print_warning(f"{number} receipts of {target} are of format 1 and in no chain")
    _end(chains.breaks)


@app.command()
def export(
    config: ConfigOption,
    out: Annotated[
        Path, typer.Option(help="The folder; what it has already is not written again.", show_default=False)
    ],
    from_: FromOption = None,
    to: ToOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the ledger to files: segments of records, and a manifest that is signed where service.signing_key_file is set.

    Run it again, for example every night, with the same folder: it adds what is new. Prove the folder with `loki-siem verify`.
    """
    from exporter.custody import export as exporting  # noqa: PLC0415 - see _opened
    from exporter.custody.manifests import NotAManifest  # noqa: PLC0415
    from exporter.custody.signing import signing_key  # noqa: PLC0415

    from_ns, to_ns = parse_time(from_, "--from"), parse_time(to, "--to")
    with _opened(config) as (settings, bus):
        secret = settings.service.signing_key_file
        key = signing_key(secret) if secret is not None else None
        try:
            done = exporting.export(
                out,
                bus.ledger(since_ms=exporting.since_ms(out, from_ns)),
                now_ns=time.time_ns(),
                version=__version__,
                from_ns=from_ns,
                to_ns=to_ns,
                key=key,
            )
        except NotAManifest as error:
            print_error(f"{out}: {error}", "choose another folder")
            raise typer.Exit(FAILED) from None
    number = done.manifest.number if done.manifest else None
    if as_json:
        report = {"folder": str(out), "manifest": number, "records": done.records, "signed": done.signed}
        print_json(report | {"breaks": [str(found) for found in done.breaks]})
    elif number is None:
        print("nothing is new since the last export")
    else:
        print(f"records: {done.records}, manifest: {number}, signed: {'yes' if done.signed else 'no'}")
    _end(done.breaks)


def _end(breaks: Any) -> None:
    """End with exit code 1 when the ledger is broken."""
    if not breaks:
        return
    for found in breaks[:20]:
        print_error(str(found))
    if len(breaks) > 20:
        print_error(f"… and {len(breaks) - 20} more")
    print_error(
        "the ledger is not as it was written",
        "keep the bus as it is; docs/ledger.md says what a break means and what to do",
    )
    raise typer.Exit(FAILED)
