"""``pseudonyms``: what a privacy officer does with the store: look a person's tokens up, forget a person, shred an epoch.

A person's value comes from standard input, never as an argument: arguments show in process lists and shell histories.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exporter.cli.config import ConfigOption, JsonOption, read_settings
from exporter.cli.output import print_json, print_table, print_warning

if TYPE_CHECKING:
    from exporter.settings.model import Settings

app = typer.Typer(no_args_is_help=True, help="Look pseudonyms up, forget persons, shred epochs.")

TenantOption = Annotated[str, typer.Option(help="The tenant.", show_default=False)]
KindOption = Annotated[
    list[str] | None, typer.Option(help="Kind of the value, such as email or user; all by default.", show_default=False)
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_EPOCH = re.compile(r"\d{4}(?:-\d{2}){0,2}")
#: A value is one line; more is a mistake, such as a whole file.
_MAX_VALUE_BYTES = 4096


@contextmanager
def _opened(config: Path, tenant: str) -> Iterator[tuple[Settings, Any, Any]]:
    """Yield settings, store and sealer of a tenant."""
    settings = read_settings(config, policies=False)
    if tenant not in settings.tenants:
        from exporter.settings.findings import nearest  # noqa: PLC0415

        message = f"there is no tenant named {tenant}. {nearest(tenant, settings.tenants)}"
        raise typer.BadParameter(message, param_hint="--tenant")
    from exporter.pseudonyms.open import open_sealer, open_store  # noqa: PLC0415 - loads the client of Kafka

    sealer = open_sealer(settings, tenant)
    store = open_store(settings, tenant)
    try:
        yield settings, store, sealer
    finally:
        store.close()


def _value() -> bytes:
    value = sys.stdin.buffer.read(_MAX_VALUE_BYTES + 1).strip()
    if not value or b"\n" in value or len(value) > _MAX_VALUE_BYTES:
        raise typer.BadParameter("write exactly one value, on one line, to standard input", param_hint="standard input")
    return value


def _kinds(settings: Settings, tenant: str, asked: list[str] | None) -> list[str]:
    """Return the kinds asked for, or all that the tenant's policy or a shipped one makes pseudonyms of."""
    from exporter.pipeline.redact.policy import known_kinds  # noqa: PLC0415
    from exporter.settings.findings import nearest  # noqa: PLC0415

    known = known_kinds(settings.tenants[tenant].policy)
    for kind in asked or ():
        if kind not in known:  # an earlier policy may have made it
            print_warning(f"the present policy makes no pseudonyms of kind {kind}. {nearest(kind, known)}")
    return asked or known


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody can be asked here; confirm with --yes", param_hint="--yes")
    typer.confirm(question, abort=True)


@app.command()
def tokens(config: ConfigOption, tenant: TenantOption, kind: KindOption = None, as_json: JsonOption = False) -> None:
    """Print every token that the value on standard input had, over all epochs: what to search the SIEM for."""
    from exporter.pseudonyms import admin  # noqa: PLC0415

    value = _value()
    with _opened(config, tenant) as (settings, store, sealer):
        kinds = _kinds(settings, tenant, kind)
        known = admin.tokens(store, sealer, kinds, value)
        if "ip" in kinds:
            known += admin.address_tokens(store, sealer, value)
    rows = [{"epoch": k.epoch, "kind": k.kind, "token": f"[redacted-{k.kind}-{k.token}]"} for k in known]
    if as_json:
        print_json({"tenant": tenant, "tokens": rows})
    else:
        print_table(f"Tokens in {tenant}: {len(rows)}", ["epoch", "kind", "token"], [list(r.values()) for r in rows])


@app.command()
def forget(
    config: ConfigOption,
    tenant: TenantOption,
    kind: KindOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete the salts of the value on standard input in all epochs: its tokens cannot be computed by anybody any more."""
    from exporter.pseudonyms import admin  # noqa: PLC0415

    if not yes:
        raise typer.BadParameter("the value comes from standard input, so nobody can be asked", param_hint="--yes")
    value = _value()
    with _opened(config, tenant) as (settings, store, sealer):
        number = admin.forget(store, sealer, _kinds(settings, tenant, kind), value)
    _report(tenant, "forgotten", number, as_json=as_json)


@app.command()
def shred(
    config: ConfigOption,
    tenant: TenantOption,
    epoch: Annotated[str, typer.Option(help="The epoch as `pseudonyms epochs` shows it.", show_default=False)],
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete the key and all salts of an epoch."""
    from exporter.pseudonyms import admin  # noqa: PLC0415

    if not _EPOCH.fullmatch(epoch):
        raise typer.BadParameter("an epoch looks like 2026, 2026-11 or 2026-11-24", param_hint="--epoch")
    with _opened(config, tenant) as (_, store, _sealer):
        known = admin.epochs(store)
        if epoch not in known:
            message = f"{tenant} has no epoch {epoch}. Known: {', '.join(known) or 'none'}."
            raise typer.BadParameter(message, param_hint="--epoch")
        _confirm(f"Shred epoch {epoch} of {tenant} ({known[epoch]} values) for good?", yes=yes)
        number = admin.shred(store, epoch)
    _report(tenant, "shredded", number, as_json=as_json)


@app.command()
def epochs(config: ConfigOption, tenant: TenantOption, as_json: JsonOption = False) -> None:
    """List the epochs that have a key, with the number of values in each."""
    from exporter.pseudonyms import admin  # noqa: PLC0415

    with _opened(config, tenant) as (_, store, _sealer):
        known = admin.epochs(store)
    if as_json:
        print_json({"tenant": tenant, "epochs": [{"epoch": e, "values": n} for e, n in known.items()]})
    else:
        print_table(f"Epochs of {tenant}", ["epoch", "values"], [[e, str(n)] for e, n in known.items()])


def _report(tenant: str, done: str, number: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"tenant": tenant, done: number})
    else:
        print(f"{done}: {number}")
