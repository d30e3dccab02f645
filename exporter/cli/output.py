"""What commands print: framed and coloured on a terminal, plain text when piped, JSON for machines on request."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import orjson

from exporter.errors import Finding


def print_json(value: Any) -> None:
    """Print one JSON document to standard output."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_error(message: str, hint: str = "") -> None:
    """Print an error to standard error."""
    _print_styled("error: ", "bold red", message)
    if hint:
        _print_styled("hint: ", "bold", hint)


def print_warning(message: str) -> None:
    """Print to standard error what did not stop the work."""
    _print_styled("warning: ", "bold yellow", message)


def _print_styled(head: str, style: str, text: str) -> None:
    if not sys.stderr.isatty():
        print(head + text, file=sys.stderr)
        return
    from rich.console import Console  # noqa: PLC0415 - rich costs more to load than most commands to run
    from rich.text import Text  # noqa: PLC0415

    Console(stderr=True).print(Text.assemble((head, style), text))


def print_findings(findings: Sequence[Finding]) -> None:
    """Print a report of configuration errors to standard error."""
    number = len(findings)
    print_error(f"{number} configuration error{'s' if number != 1 else ''}")
    for finding in findings:
        place = f"{finding.path} (line {finding.line})" if finding.line else finding.path
        _print_styled(f"  {place}", "bold", "")
        print(f"      {finding.reason}", file=sys.stderr)
        if finding.cure:
            print(f"      → {finding.cure}", file=sys.stderr)


def finding_dict(finding: Finding) -> dict[str, Any]:
    """Return a finding for JSON."""
    return {
        "path": finding.path,
        "line": finding.line or None,
        "reason": finding.reason,
        "cure": finding.cure,
    }


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: a framed table on a terminal; elsewhere aligned columns that nothing cuts off."""
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))  # Text: nothing in a cell is markup
        Console().print(table)
        return
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    print(title)
    for row in [columns, *rows]:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
