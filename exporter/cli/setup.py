"""``init`` and ``schema``: what a first configuration is made with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from exporter.cli.config import target_models
from exporter.cli.output import print_json


def init(
    file: Annotated[Path, typer.Argument(help="Where to write it; - is standard output.")] = Path("loki-siem.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write an annotated first configuration."""
    from exporter.settings.template import first_configuration  # noqa: PLC0415

    text = first_configuration(target_models())
    if str(file) == "-":
        sys.stdout.write(text)
        return
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise typer.BadParameter(f"{file} exists; choose another name or use --force", param_hint="FILE") from None
    print(f"{file} written. Edit url, tenants and targets, then: loki-siem check -c {file} --connect")


def schema() -> None:
    """Print the configuration's JSON Schema."""
    from exporter.settings.schema import json_schema  # noqa: PLC0415

    print_json(json_schema(target_models()))
