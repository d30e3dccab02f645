"""The command tree, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from exporter import __version__
from exporter.cli import check, demo, dlq, ledger, policy, pseudonyms, run, setup, status, verify
from exporter.cli.failures import exit_code_of


class _Commands(TyperGroup):
    """Ends every command that raises with a message on standard error and the exit code that its error means."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            code = exit_code_of(error, debug=bool(ctx.params.get("debug")))
            if code is None:  # typer's own: usage errors, exits
                raise
            raise typer.Exit(code) from None


def _version(asked: bool) -> None:
    if asked:
        print(f"loki-siem {__version__}")
        raise typer.Exit


def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where in the code an error arose (never what was processed).")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Export Grafana Loki to a SIEM: completely, redacted, with proof."""


def build_app() -> typer.Typer:
    """Return the command tree. Help is framed on a terminal and plain elsewhere."""
    app = typer.Typer(
        name="loki-siem",
        cls=_Commands,
        no_args_is_help=True,
        add_completion=False,
        # typer's own tracebacks print local variables, which may hold log lines.
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    app.command("run")(run.run)
    app.command("check")(check.check)
    app.command("status")(status.status)
    app.add_typer(dlq.app, name="dlq")
    app.add_typer(ledger.app, name="ledger")
    app.command("verify")(verify.verify)
    app.add_typer(policy.app, name="policy")
    app.add_typer(pseudonyms.app, name="pseudonyms")
    app.command("init")(setup.init)
    app.command("schema")(setup.schema)
    app.command("demo")(demo.demo)
    return app
