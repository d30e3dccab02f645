"""What the trials of a policy have in common: their tenant, lines from standard input, pseudonyms that are thrown away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from exporter.domain.entries import StreamEntries

if TYPE_CHECKING:
    from exporter.pseudonyms.vault import Vault
    from exporter.settings.model import Settings

TenantOption = Annotated[str, typer.Option(help="The tenant whose policy is used.", show_default=False)]
LabelsOption = Annotated[
    list[str] | None,
    typer.Option("--labels", help="A label of the lines' stream, name=value; may be given often.", show_default=False),
]
#: Read at once: enough lines for the scan over a whole block to pay, little enough to hold.
CHUNK_BYTES = 262_144


def tokens_of_a_trial(tenant: str) -> Vault:
    """Return a source of pseudonyms that is gone with the process: a trial must not fill the store with its values."""
    from exporter.pseudonyms.keys import Sealer  # noqa: PLC0415
    from exporter.pseudonyms.sqlite import SqliteSaltStore  # noqa: PLC0415
    from exporter.pseudonyms.vault import Vault  # noqa: PLC0415

    return Vault(SqliteSaltStore(None), Sealer([os.urandom(32)], tenant), "month")


def require_tenant(settings: Settings, tenant: str) -> None:
    if tenant not in settings.tenants:
        from exporter.settings.findings import nearest  # noqa: PLC0415

        message = f"there is no tenant named {tenant}. {nearest(tenant, settings.tenants)}"
        raise typer.BadParameter(message, param_hint="--tenant")


def labels_of(given: Sequence[str] | None) -> dict[str, str]:
    """Return the labels of ``--labels``. Errors name the place, never the text."""
    labels: dict[str, str] = {}
    for number, text in enumerate(given or (), start=1):
        name, equals, value = text.partition("=")
        if not equals or not name:
            message = f"number {number} is no label; write it as name=value"
            raise typer.BadParameter(message, param_hint="--labels")
        labels[name] = value
    return labels


def streams_from(
    source: BinaryIO, tenant: str, labels: Mapping[str, str], identity_key: bytes
) -> Iterator[StreamEntries]:
    """Yield the lines of ``source`` in blocks, as one stream. Their times are a nanosecond apart, from now on: so the ids
    differ, and a cap takes them for the events of one second.
    """
    from exporter.domain.ids import StreamHasher  # noqa: PLC0415

    hasher, time_ns = StreamHasher(tenant, labels, identity_key), time.time_ns()
    for block, _ in batches(source):
        lines = [line.decode("utf-8", "surrogateescape") for line in block]
        times = list(range(time_ns, time_ns + len(lines)))
        time_ns += len(lines)
        yield StreamEntries(labels, times, lines, hasher.event_ids(times, lines, None))


def batches(source: BinaryIO) -> Iterator[tuple[list[bytes], bytes]]:
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
