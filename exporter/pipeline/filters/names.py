"""Which names of fields a filter may ask for, and which it may add."""

from __future__ import annotations

import re
from collections.abc import Iterator

from exporter.domain.keys import KEYS
from exporter.errors import Finding
from exporter.settings.findings import nearest

#: Names that the pipeline itself sets. A filter can neither add nor, but for those below, look at them: they are made after it.
RESERVED = frozenset({
    "event.id", "time", "tenant.id", "data.class", "policy.id", "late", "loki.stream", "loki.labels",
    "loki.structured_metadata", "kind", "unmapped", "event.original", "metadata.is_truncated",
})  # fmt: skip
#: Canonical names that an event may hold when filters see it.
CANONICAL = frozenset(KEYS) | {"kind", "event.original", "metadata.is_truncated"}
_FIELD_NAME = re.compile(r"[A-Za-z_@][A-Za-z0-9_@.-]{0,99}")


def check_field(name: str, path: str, known: set[str]) -> Iterator[Finding]:
    """Yield a finding for a name that no event has. ``known``: names that filters before this one add."""
    if name in CANONICAL or name in known or (name.startswith("unmapped.") and len(name) > len("unmapped.")):
        return
    if name.startswith("loki.labels."):
        yield Finding(path, "labels are asked for by label", f"Write `label: {name.removeprefix('loki.labels.')}`.")
        return
    cure = nearest(name, CANONICAL | known)
    yield Finding(path, f"no event has a field {name}", f"{cure} What no table maps is unmapped.{name}.")


def check_added(name: str, path: str) -> Iterator[Finding]:
    """Yield a finding for a name that cannot be added to an event."""
    if name in RESERVED or name.startswith(("unmapped.", "loki.")):
        yield Finding(path, f"{name} is set by the exporter itself", "Choose another name.")
    elif not _FIELD_NAME.fullmatch(name):
        yield Finding(path, "is no usable name of a field", "Use letters, digits and . _ @ -, at most 100.")
