"""``demo``: the whole way on this machine."""

from __future__ import annotations

import typer


def demo() -> None:
    """Show the whole way on this machine.

    A stand-in Loki, the bus, a stand-in Splunk and an archive; then the proof that all arrived and nothing leaked.
    """
    from exporter.demo import run_demo  # noqa: PLC0415 - loads every part of the exporter

    raise typer.Exit(run_demo())
