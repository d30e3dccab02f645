"""``policy``: what a tenant's policy makes of lines, from standard input to standard output (``try``), and its own tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, BinaryIO

import typer

from exporter.cli.config import ConfigOption, JsonOption, read_settings
from exporter.cli.failures import FAILED
from exporter.cli.output import print_error, print_json
from exporter.cli.policy_diff import diff
from exporter.cli.policy_explain import explain
from exporter.cli.trial import batches, require_tenant, tokens_of_a_trial

app = typer.Typer(no_args_is_help=True, help="Try, test, explain and compare policies.")
app.command("explain")(explain)
app.command("diff")(diff)

#: What stands in the output for a line that could not be redacted safely.
WITHHELD = b"[line withheld: it could not be redacted]"

Redact = Callable[[Sequence[str]], list[str]]


@app.command("try")
def try_(
    config: ConfigOption,
    tenant: Annotated[str, typer.Option(help="The tenant whose policy is used.", show_default=False)],
) -> None:
    """Redact standard input, one line out for each line in. Pseudonyms are those of this trial, not of the service."""
    settings = read_settings(config, policies=False)
    require_tenant(settings, tenant)
    from exporter.pipeline import compile_pipeline  # noqa: PLC0415 - loads the scan engine

    pipeline = compile_pipeline(tenant, settings.tenants[tenant], tokens=tokens_of_a_trial(tenant))
    withheld = redact_stream(pipeline.redact_lines, sys.stdin.buffer, sys.stdout.buffer)
    if withheld:
        print_error(f"{withheld} line(s) could not be redacted and were withheld")
        raise typer.Exit(FAILED)


@app.command("test")
def run_own_tests(
    config: ConfigOption,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the tests of the policies: the samples of their packs and the tenants' own `tests`.

    Exit code 1: a test failed; 2: the configuration is wrong, or a sample of a pack fails.
    """
    settings = read_settings(config, policies=False)
    if tenant is not None:
        require_tenant(settings, tenant)
    from exporter.app import compile_pipelines  # noqa: PLC0415 - loads the scan engine
    from exporter.pipeline.checks import run_tests  # noqa: PLC0415

    names = list(settings.tenants) if tenant is None else [tenant]
    pipelines = compile_pipelines(settings, names, run_own_tests=False)
    verdicts = [v for name in names for v in run_tests(pipelines[name], settings.tenants[name].tests)]
    failed = sum(bool(v.faults) for v in verdicts)
    if as_json:
        print_json({"ok": not failed, "policies": {n: p.policy_id for n, p in pipelines.items()}, "tests": verdicts})
    else:
        for verdict in verdicts:
            print(f"{verdict.tenant}  {'FAILED' if verdict.faults else 'ok'}  {verdict.name}")
            for fault in verdict.faults:
                print(f"    {fault}")
        print(f"{len(verdicts)} test(s), {failed} failed; the samples of all packs hold")
    if failed:
        raise typer.Exit(FAILED)


def redact_stream(redact: Redact, source: BinaryIO, sink: BinaryIO) -> int:
    """Redact ``source`` into ``sink`` as it comes, and return the number of lines withheld.

    Bytes that are no UTF-8 reach the policy as lone surrogates (it makes U+FFFD of them, as Loki does), so none is lost
    before the scan. An end without newline stays without.
    """
    withheld = 0
    for lines, end in batches(source):
        redacted = _redact_safely(redact, [line.decode("utf-8", "surrogateescape") for line in lines])
        withheld += sum(line is None for line in redacted)
        sink.write(b"\n".join(WITHHELD if line is None else line for line in redacted) + end)
        sink.flush()
    return withheld


def _redact_safely(redact: Redact, lines: list[str]) -> list[bytes | None]:
    """Redact; when a batch fails, halve it until the lines that cannot be redacted stand alone (None)."""
    try:
        redacted = [line.encode("utf-8", "surrogateescape") for line in redact(lines)]
        if len(redacted) == len(lines) and not any(b"\n" in line for line in redacted):
            return list(redacted)
    except Exception:  # noqa: BLE001, S110 - any failure withholds the line; its text may quote the line, so it is not shown
        pass
    if len(lines) == 1:
        return [None]
    middle = len(lines) // 2
    return [*_redact_safely(redact, lines[:middle]), *_redact_safely(redact, lines[middle:])]
