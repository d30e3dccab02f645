"""Commands in the runbooks and guides exist as they are written there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from exporter.cli.app import build_app

DOCS = Path(__file__).parents[3] / "docs"
COMMANDS = sorted(
    {
        (path.name, command)
        for path in [*DOCS.glob("runbooks/*.md"), DOCS / "kubernetes.md"]
        for command in re.findall(r"`loki-siem ([^`]+)`", path.read_text("utf-8"))
    }
)


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_of_the_docs_is_one_of_ours(page: str, command: str) -> None:
    """Parsed by the real command tree, not run."""
    words = shlex.split(command)
    group = typer.main.get_command(build_app())
    context = typer.Context(group)
    while hasattr(group, "get_command"):
        name = words.pop(0)
        found = group.get_command(context, name)
        assert found is not None, f"{page}: there is no command {name}"
        group = found
    group.make_context("loki-siem", words)
