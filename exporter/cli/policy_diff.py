"""``policy diff``: what another configuration's policy would change, on lines from standard input or from Loki. Numbers only."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.cli.config import ConfigOption, JsonOption, read_settings
from exporter.cli.output import print_json
from exporter.cli.trial import (
    LabelsOption,
    TenantOption,
    labels_of,
    require_tenant,
    streams_from,
    tokens_of_a_trial,
)
from exporter.domain.entries import EntryBatch

if TYPE_CHECKING:
    from exporter.pipeline.diff import Change, Differences

#: Unlike diff(1), whose 1 is the exit code of any failure here: a fault must not pass for a difference, nor the reverse.
DIFFERENT = 3
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def diff(
    config: ConfigOption,
    other: Annotated[Path, typer.Option("--with", help="The configuration compared with.", show_default=False)],
    tenant: TenantOption,
    labels: LabelsOption = None,
    since: Annotated[
        str | None, typer.Option(help="Read the tenant's lines of this last time from Loki: 30m, 2h, 1d.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Lines read from Loki at most, newest first.")
    ] = 10_000,
    as_json: JsonOption = False,
) -> None:
    """Count the events that would change with another configuration's policy, by outcome, kind, field, rule and filter. No
    text is shown. Exit code 0: none would change; 3: some would; 1 and 2: a failure and a wrong configuration, as everywhere.
    """
    before, after = read_settings(config, policies=False), read_settings(other, policies=False)
    for settings in (before, after):
        require_tenant(settings, tenant)
    of_stream, seconds = labels_of(labels), _seconds(since)
    from exporter.app import identity_key  # noqa: PLC0415 - loads the scan engine
    from exporter.cli.recent import read_recent  # noqa: PLC0415
    from exporter.pipeline import compile_pipeline  # noqa: PLC0415
    from exporter.pipeline.diff import Comparison  # noqa: PLC0415

    # One key and one source of pseudonyms for both: what differs is the policy's doing.
    key, tokens = identity_key(before), tokens_of_a_trial(tenant)
    first, second = (
        compile_pipeline(tenant, s.tenants[tenant], identity_key=key, tokens=tokens) for s in (before, after)
    )
    comparison = Comparison(first, second)
    batches: Iterable[EntryBatch]
    if seconds is None:
        streams = streams_from(sys.stdin.buffer, tenant, of_stream, key)
        batches = (EntryBatch(tenant, [stream]) for stream in streams)
    else:
        batches = asyncio.run(read_recent(before, tenant, seconds, limit, key))
    for batch in batches:
        comparison.add(batch)
    ids = {"before": first.policy_id, "after": second.policy_id}
    if as_json:
        print_json({"policies": ids, **asdict(comparison.found)})
    else:
        print(f"policy {ids['before']} → {ids['after']}")
        print("\n".join(_lines(comparison.found)))
    if comparison.found.changed:
        raise typer.Exit(DIFFERENT)


def _seconds(since: str | None) -> int | None:
    if since is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", since)
    if match is None:
        raise typer.BadParameter("is no length of time; write it as 30m, 2h or 1d", param_hint="--since")
    return int(match[1]) * _UNITS[match[2]]


def _lines(found: Differences) -> Iterator[str]:
    yield f"{found.changed} of {found.events} event(s) would change"
    for title, counts in (("outcome", found.outcomes), ("kind", found.kinds), ("field", found.fields)):
        for name, number in sorted(counts.items(), key=lambda item: -item[1]):
            yield f"  {title:8}{name}  {number}"
    for title, changes in (("rule", found.rules), ("filter", found.filters)):
        for name, change in sorted(changes.items()):
            yield f"  {title:8}{name}  {_arrow(change)}"


def _arrow(change: Change) -> str:
    return f"{change.before} → {change.after}" if change.before != change.after else f"{change.before}, the same"
