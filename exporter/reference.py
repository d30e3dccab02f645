"""Reference pages written from the tables, so that they cannot say another thing than the code: ``python -m exporter.reference``.

Called by maintainers after a table has changed; a test compares what it would write with what is there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from exporter.domain.keys import ENVELOPE, KEYS
from exporter.domain.kinds import KINDS
from exporter.pipeline.normalise.names import FIELD_NAMES, LABEL_NAMES
from exporter.pipeline.normalise.source import Source
from exporter.pipeline.normalise.sources import APPLICATION, SOURCES

FOLDER = Path("docs/reference")
_NOTE = "<!-- Written by `python -m exporter.reference`; change the tables in the code instead. -->\n"

_SOURCES_INTRODUCTION = """# Sources

Whose vocabulary a line is in is told by its format, and for JSON and key=value lines by the keys it has. A tenant's own `fields`
win over these tables. Dots lead into objects; `[0]` is the first of a list.
"""


def pages() -> dict[str, str]:
    """Return the text of each page by its file's name."""
    return {"keys.md": _keys(), "kinds.md": _kinds(), "sources.md": _sources()}


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _keys() -> str:
    own = _table(("key", "what it tells"), ((f"`{name}`", about) for name, about in ENVELOPE.items()))
    mapped = _table(("key", "type", "what it tells"), ((f"`{n}`", key.type, key.about) for n, key in KEYS.items()))
    return (
        f"{_NOTE}# Keys of an event\n\nAn event is one flat JSON object. These keys are the exporter's own:\n\n{own}\n"
        "These come from the line, its labels and its structured metadata. A value that cannot be of the type stays "
        f"under `unmapped`, by the name its source gave it.\n\n{mapped}"
    )


def _kinds() -> str:
    rows = (
        (f"`{kind.name}`", kind.about, "; ".join(" or ".join(f"`{key}`" for key in group) for group in kind.requires))
        for kind in KINDS.values()
    )
    return (
        f"{_NOTE}# Kinds of events\n\n`kind` says what an event tells of. An event gets a kind only when it holds the keys "
        f"that make it one; else it is a `log`.\n\n{_table(('kind', 'tells that', 'requires'), rows)}"
    )


def _sources() -> str:
    parts = [
        _NOTE + _SOURCES_INTRODUCTION,
        "## Labels and structured metadata\n\nEvery canonical name is known with `_` for `.` too.\n\n"
        + _names(LABEL_NAMES),
        *(_source(source) for source in SOURCES.values()),
    ]
    return "\n".join(parts)


def _source(source: Source) -> str:
    signatures = " or ".join(", ".join(f"`{key}`" for key in sorted(s)) for s in source.signatures)
    lines = [f"## {source.name}\n\n{source.about[:1].upper()}{source.about[1:]}.\n"]
    if signatures:
        lines.append(f"Recognised by the keys {signatures}.\n")
    if source.kind:
        lines.append(f"Kind: `{source.kind}`.\n")
    if source.constants:
        lines.append("Always: " + ", ".join(f"`{k}` {v}" for k, v in source.constants.items()) + ".\n")
    fields = FIELD_NAMES if source is APPLICATION else source.fields
    if fields:
        lines.append(_names(fields))
    rows = [
        (
            f"`{name}`",
            f"`{row.kind}`" if row.kind else "",
            ", ".join(f"`{t}` {_short(n)}" for t, n in row.fields.items()),
        )
        for name, row in source.variants.items()
        if name not in KINDS
    ]
    if rows:
        lines.append(_table(("type of event", "kind", "fields of its own"), rows))
    return "\n".join(lines)


def _short(names: str) -> str:
    """Return the names once, without the places where shippers put them."""
    return " ".join(dict.fromkeys(name.rpartition("ata.")[2] for name in names.split()))


def _names(table: Mapping[str, str]) -> str:
    return _table(
        ("key", "from, the first that is there"), ((f"`{t}`", f"`{_short(names)}`") for t, names in table.items())
    )


def main() -> int:
    """Write the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
