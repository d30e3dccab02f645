"""``verify``: prove exported ledgers, and a target's files against them, from files and a public key alone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exporter.cli.config import JsonOption
from exporter.cli.failures import FAILED
from exporter.cli.output import print_error, print_json, print_warning
from exporter.cli.times import parse_time

if TYPE_CHECKING:
    from exporter.custody.comparison import Receipts
    from exporter.custody.verify import Verdict


def verify(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of `ledger export`, and folders of a file or S3 target to compare with them.",
            show_default=False,
        ),
    ],
    public_key: Annotated[
        list[Path] | None,
        typer.Option("--public-key", help="Ed25519 key (PEM) that must have signed; may be repeated."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="The target whose files are given, where the ledger has several.", show_default=False),
    ] = None,
    tenant: Annotated[list[str] | None, typer.Option(help="Compare only this tenant; may be repeated.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Compare windows from here on.", show_default=False)
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Compare windows up to here.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove an exported ledger: files, signatures, chains. With a target's files: that they hold exactly the events of the ledger.

    Exit code 1: something is not as it was written.
    """
    from exporter.custody.comparison import Receipts  # noqa: PLC0415 - see the other commands
    from exporter.custody.signing import public_key as read_key  # noqa: PLC0415
    from exporter.custody.verify import is_export, verify_export  # noqa: PLC0415

    bounds = (parse_time(from_, "--from"), parse_time(to, "--to"))
    keys = [read_key(path) for path in public_key or ()]
    exports, archives = _sorted(paths, is_export)
    verdicts: list[Verdict] = []
    for folder in exports:
        receipts = Receipts()
        verdicts.append(verify_export(folder, keys, receipts))
        if archives:
            verdicts.append(_compare(folder, archives, receipts, target, tenant, bounds))
    _report(verdicts, as_json=as_json)


def _sorted(paths: list[Path], is_export: Any) -> tuple[list[Path], list[Path]]:
    """Tell exports from archives. Raises a usage error."""
    for path in paths:
        if not path.is_dir():
            raise typer.BadParameter(f"{path} is no folder", param_hint="PATH")
    exports = [path for path in paths if is_export(path)]
    if not exports:
        message = "none of these is an exported ledger; make one with `loki-siem ledger export`"
        raise typer.BadParameter(message, param_hint="PATH")
    return exports, [path for path in paths if path not in exports]


def _compare(
    folder: Path,
    archives: list[Path],
    receipts: Receipts,
    target: str | None,
    tenants: list[str] | None,
    bounds: tuple[int | None, int | None],
) -> Verdict:
    from exporter.custody.archive import Archive  # noqa: PLC0415 - see the other commands
    from exporter.custody.comparison import Comparison  # noqa: PLC0415
    from exporter.custody.evidence import compare_receipts  # noqa: PLC0415
    from exporter.custody.verify import Verdict, is_whole, records_in  # noqa: PLC0415

    name = _target(receipts, target)
    verdict = Verdict(", ".join(map(str, archives)))
    with tempfile.TemporaryDirectory(prefix="loki-siem-verify-") as work:
        archive = Archive(archives, Path(work))
        try:
            compared = Comparison(
                archive,
                receipts.targets[name],
                verdict,
                tenants=frozenset(tenants) if tenants else None,
                from_ns=bounds[0],
                to_ns=bounds[1],
            )
            # Files with another schema have no canonical events: only what the target answered can be compared.
            if archive.count or not archive.foreign_lines:
                compared.run(records_in(folder, receipts=False), whole=is_whole(folder))
            else:
                verdict.notes.append("no canonical events are there: only objects are compared, by their checksums")
            complete = bounds == (None, None) and not tenants
            compare_receipts(records_in(folder, receipts=True), archive, verdict, target=name, complete=complete)
        finally:
            archive.close()
    return verdict


def _target(receipts: Receipts, asked: str | None) -> str:
    """Return whose files they are. Raises a usage error."""
    known = sorted(receipts.targets)
    if asked is None and len(known) == 1:
        return known[0]
    if asked not in receipts.targets:
        message = f"the ledger has receipts of {', '.join(known) or 'no target'}; name the one whose files these are"
        raise typer.BadParameter(message, param_hint="--target")
    return asked


def _report(verdicts: list[Verdict], *, as_json: bool) -> None:
    problems = sum(len(verdict.problems) for verdict in verdicts)
    if as_json:
        parts = [{"path": v.path, "problems": v.problems, "notes": v.notes, "figures": v.figures} for v in verdicts]
        print_json({"ok": not problems, "verified": parts})
    else:
        for verdict in verdicts:
            figures = ", ".join(f"{name} {number}" for name, number in verdict.figures.items())
            print(f"{verdict.path}: {'broken' if verdict.problems else 'ok'} ({figures})")
            for note in verdict.notes:
                print_warning(note)
            for problem in verdict.problems:
                print_error(problem)
    if problems:
        if not as_json:
            print_error(f"{problems} problems", "docs/ledger.md says what each of them means")
        raise typer.Exit(FAILED)
