"""``policy try``: what a tenant's policy makes of lines, from standard input to standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from exporter.cli.config import ConfigOption, read_settings
from exporter.cli.failures import FAILED
from exporter.cli.output import print_error

if TYPE_CHECKING:
    from exporter.pseudonyms.vault import Vault

app = typer.Typer(no_args_is_help=True, help="Try a redaction policy.")

#: What stands in the output for a line that could not be redacted safely.
WITHHELD = b"[line withheld: it could not be redacted]"
#: Read at once: enough lines for the scan over a whole block to pay, little enough to hold.
CHUNK_BYTES = 262_144

Redact = Callable[[Sequence[str]], list[str]]


@app.callback()
def _group() -> None:
    """Keep `policy` a group although it has one command so far."""


@app.command("try")
def try_(
    config: ConfigOption,
    tenant: Annotated[str, typer.Option(help="The tenant whose policy is used.", show_default=False)],
) -> None:
    """Redact standard input, one line out for each line in. Pseudonyms are those of this trial, not of the service."""
    settings = read_settings(config, policies=False)
    if tenant not in settings.tenants:
        from exporter.settings.findings import nearest  # noqa: PLC0415

        message = f"there is no tenant named {tenant}. {nearest(tenant, settings.tenants)}"
        raise typer.BadParameter(message, param_hint="--tenant")
    from exporter.pipeline import compile_pipeline  # noqa: PLC0415 - loads the scan engine

    pipeline = compile_pipeline(tenant, settings.tenants[tenant], tokens=_tokens_of_a_trial(tenant))
    withheld = redact_stream(pipeline.redact_lines, sys.stdin.buffer, sys.stdout.buffer)
    if withheld:
        print_error(f"{withheld} line(s) could not be redacted and were withheld")
        raise typer.Exit(FAILED)


def _tokens_of_a_trial(tenant: str) -> Vault:
    """Return a source of pseudonyms that is gone with the process: a trial must not fill the store with its values."""
    from exporter.pseudonyms.keys import Sealer  # noqa: PLC0415
    from exporter.pseudonyms.sqlite import SqliteSaltStore  # noqa: PLC0415
    from exporter.pseudonyms.vault import Vault  # noqa: PLC0415

    return Vault(SqliteSaltStore(None), Sealer([os.urandom(32)], tenant), "month")


def redact_stream(redact: Redact, source: BinaryIO, sink: BinaryIO) -> int:
    """Redact ``source`` into ``sink`` as it comes, and return the number of lines withheld.

    Bytes that are no UTF-8 reach the policy as lone surrogates (it makes U+FFFD of them, as Loki does), so none is lost
    before the scan. An end without newline stays without.
    """
    withheld = 0
    for lines, end in _batches(source):
        redacted = _redact_safely(redact, [line.decode("utf-8", "surrogateescape") for line in lines])
        withheld += sum(line is None for line in redacted)
        sink.write(b"\n".join(WITHHELD if line is None else line for line in redacted) + end)
        sink.flush()
    return withheld


def _batches(source: BinaryIO) -> Iterator[tuple[list[bytes], bytes]]:
    """Yield the complete lines that are there, and what follows the last of them: a newline, at the very end nothing."""
    pieces: list[bytes] = []  # of a line whose end has not come yet
    read: Callable[[int], bytes] = getattr(source, "read1", source.read)  # read1 returns what a pipe has, at once
    while chunk := read(CHUNK_BYTES):
        head, newline, tail = chunk.rpartition(b"\n")
        if newline:
            yield b"".join([*pieces, head]).split(b"\n"), b"\n"
            pieces = []
        pieces.append(tail)
    if rest := b"".join(pieces):
        yield [rest], b""


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
