"""Paths and secrets: relative ones are anchored at the configuration's folder, and what should be there is looked for.

Works by the types that a model declares, so a connector from outside gets the same treatment without doing anything for
it. A secret's path is never quoted in a finding: people write the secret itself there, and the report would show it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from exporter.domain.secrets import ENV_REFERENCE, Secret, SecretError
from exporter.errors import Finding
from exporter.settings.declarations import member_for, speaks_of
from exporter.settings.document import DocumentPath, dotted

M = TypeVar("M", bound=BaseModel)

#: Text that is a secret rather than a path: known token prefixes, an HEC token (UUID), a header value, more than one line.
_LITERAL = re.compile(
    r"\s*(Bearer|Basic|Splunk)\s|.*\n.|gh[pousr]_|glpat-|xox[abp]-|sk_|AKIA|ASIA|eyJ|-----BEGIN"
    r"|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\s*$|[0-9a-fA-F]{24,}\s*$",
    re.DOTALL,
)


def anchor(model: M, base_dir: Path) -> M:
    """Return the model with every relative path taken from ``base_dir``."""
    changes = {name: changed for name, old in model if (changed := _anchored(old, base_dir)) is not old}
    return model.model_copy(update=changes) if changes else model


def _anchored(value: Any, base_dir: Path) -> Any:
    if isinstance(value, BaseModel):
        return anchor(value, base_dir)
    if isinstance(value, Path):
        path = _full_path(str(value), base_dir)
        return value if path == value else path
    if isinstance(value, tuple | list):
        changed = [_anchored(item, base_dir) for item in value]
        return type(value)(changed) if any(a is not b for a, b in zip(changed, value, strict=True)) else value
    return value


def _full_path(text: str, base_dir: Path) -> Path:
    """A path key may be one reference too; ``interpolate`` leaves these alone under ``*_file``."""
    if reference := ENV_REFERENCE.fullmatch(text):
        text = os.environ.get(reference[1], text)
    return base_dir / os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser raises for ~nobody


def place_findings(model: Any, data: Any, path: DocumentPath, base_dir: Path) -> Iterator[Finding]:
    """Yield a finding for every secret that cannot be read and every ``*_file`` that is not there.

    ``model`` is the declared type, ``data`` its part of the document, which need not be valid otherwise.
    """
    member = member_for(model, data)
    if member is None:
        return
    for name, field in member.model_fields.items():
        if isinstance(data, Mapping) and (raw := data.get(name)) is not None:
            yield from _of_value(field.annotation, raw, (*path, name), base_dir)


def _of_value(declared: Any, raw: Any, path: DocumentPath, base_dir: Path) -> Iterator[Finding]:
    if isinstance(raw, Mapping):
        yield from place_findings(declared, raw, path, base_dir)
    elif isinstance(raw, list):
        for index, item in enumerate(raw):
            yield from _of_value(declared, item, (*path, index), base_dir)
    elif isinstance(raw, str) and speaks_of(declared, Secret):
        yield from _of_secret(raw, path, base_dir)
    elif isinstance(raw, str) and speaks_of(declared, Path) and _key(path).endswith("_file"):
        yield from _of_file(raw, path, base_dir)


def _key(path: DocumentPath) -> str:
    return next((step for step in reversed(path) if isinstance(step, str)), "")


def _of_file(raw: str, path: DocumentPath, base_dir: Path) -> Iterator[Finding]:
    reference = ENV_REFERENCE.fullmatch(raw)
    if reference and not os.environ.get(reference[1]):
        reason = f"environment variable {reference[1]} is not set"
        yield Finding(dotted(path), reason, "Set it to the file's path, or write the path here.")
        return
    try:
        file = _full_path(raw, base_dir)
        if file.is_file() and os.access(file, os.R_OK):
            return
    except (OSError, ValueError):  # a name that no file can have
        pass
    reason = f"the file cannot be read (relative paths are taken from {base_dir})"
    yield Finding(dotted(path), reason, "Create it, mend its rights, or correct the path.")


def _of_secret(raw: str, path: DocumentPath, base_dir: Path) -> Iterator[Finding]:
    try:
        secret = Secret.parse(raw, base_dir)
    except ValueError:
        return  # pydantic has reported it
    try:
        secret.reveal()
    except (SecretError, ValueError):
        yield Finding(dotted(path), *_unreadable(secret, raw, _key(path), base_dir))


def _unreadable(secret: Secret, raw: str, key: str, base_dir: Path) -> tuple[str, str]:
    if ENV_REFERENCE.fullmatch(raw.strip()):
        return f"{secret.place} is not set or empty", "Set it before the start."
    if _LITERAL.match(raw):
        reason = "holds what looks like the secret itself, not the path of a file"
        return reason, f"Move it into a file and write that file's path, or `{key}: ${{env:NAME}}`."
    return (
        f"the secret's file cannot be read or is empty (relative paths are taken from {base_dir})",
        "Put the secret into that file, readable for this user only; if the secret itself stands here, move it.",
    )
