"""pydantic's errors as findings: the path in the document, the reason, and a cure taken from the field's own declaration.

No value of the document is ever quoted: a secret in the wrong place must not come back in the report.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from exporter.errors import Finding
from exporter.settings.declarations import declaration, members_of, tags_of
from exporter.settings.document import DocumentPath, dotted

_SECRET_NAME = re.compile(r"token|passw|secret|api_?key|credential|authorization|private_?key", re.IGNORECASE)
_WRONG_FORM = {
    "string_type": ("must be text", "Put the value into quotes."),
    "int_type": ("must be a whole number", ""),
    "int_parsing": ("must be a whole number", ""),
    "int_from_float": ("must be a whole number", ""),
    "float_type": ("must be a number", ""),
    "float_parsing": ("must be a number", ""),
    "bool_type": ("must be true or false", ""),
    "bool_parsing": ("must be true or false", ""),
    "tuple_type": ("must be a list", "Write it as [a, b] or as lines that start with `- `."),
    "list_type": ("must be a list", "Write it as [a, b] or as lines that start with `- `."),
    "dict_type": ("must be a section", "Write `key: value` lines below it."),
    "model_type": ("must be a section", "Write `key: value` lines below it."),
    "model_attributes_type": ("must be a section", "Write `key: value` lines below it."),
    "path_type": ("must be a path", "Put the path into quotes."),
    "string_too_short": ("must not be empty", ""),
}


def is_secret_name(key: str) -> bool:
    """Tell whether a key speaks of a secret, whatever its value is."""
    return _SECRET_NAME.search(key) is not None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean …?`` or the known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]}?"
    return f"Known: {', '.join(known)}." if known else "There is none."


def findings_of(error: ValidationError, model: Any, data: Any, prefix: DocumentPath) -> Iterator[Finding]:
    """Translate. ``model`` is the type that was validated, ``data`` what it was given, ``prefix`` where that stands."""
    seen: set[str] = set()
    for detail in error.errors(include_url=False, include_input=False):
        place = dotted((*prefix, *_document_path(detail, data)))
        if place not in seen:  # members of a union complain one after the other
            seen.add(place)
            yield Finding(place, *_explain(detail, model))


def _document_path(detail: ErrorDetails, data: Any) -> DocumentPath:
    """Drop the union tags that pydantic puts between the keys."""
    path: list[str | int] = []
    last = len(detail["loc"]) - 1
    for number, step in enumerate(detail["loc"]):
        if _holds(data, step):
            data = data[step]
        elif number != last or detail["type"] != "missing":
            continue
        path.append(step)
    if detail["type"] in {"union_tag_not_found", "union_tag_invalid"}:
        path.append(_discriminator(detail))
    return tuple(path)


def _holds(data: Any, step: str | int) -> bool:
    if isinstance(data, Mapping):
        return step in data
    return isinstance(data, list | tuple) and isinstance(step, int) and step < len(data)


def _explain(detail: ErrorDetails, model: Any) -> tuple[str, str]:
    """Return reason and cure."""
    kind, context = detail["type"], detail.get("ctx", {})
    key = str(detail["loc"][-1]) if detail["loc"] else ""
    owner, field = declaration(model, detail["loc"])
    known = _describe(field) or "Correct it."
    if kind == "extra_forbidden":
        explained = _unknown_key(key, owner)
    elif kind == "missing":
        explained = "is missing", f"Add {key}. {_describe(field)}".strip()
    elif kind in {"union_tag_invalid", "union_tag_not_found"}:
        reason = "is missing" if kind == "union_tag_not_found" else "there is no such choice"
        members = members_of(field.annotation if field is not None else model)
        tags = [str(value) for member in members for name, value in tags_of(member) if name == _discriminator(detail)]
        explained = reason, f"Choose one of {', '.join(tags)}."
    elif kind == "literal_error":
        explained = f"must be {context.get('expected', '')}", known
    elif kind == "string_pattern_mismatch":
        explained = "has not the required form", _describe(field) or f"It must match {context.get('pattern', '')}."
    elif kind == "value_error":
        # By the convention of our errors a message is "reason; cure".
        reason, _, cure = str(context.get("error", "")).partition("; ")
        explained = reason or "is not valid", _sentence(cure.strip()) or known
    elif kind in _WRONG_FORM:
        reason, cure = _WRONG_FORM[kind]
        explained = reason, cure or known
    else:
        reason = detail["msg"].replace("Input should be", "must be").replace("Input should", "must")
        explained = reason[:1].lower() + reason[1:], known
    return explained


def _unknown_key(key: str, owner: type[BaseModel] | None) -> tuple[str, str]:
    known = list(owner.model_fields) if owner is not None else []
    if is_secret_name(key) and not key.endswith("_file"):
        name = next(
            (k for k in (f"{key}_file", *known) if k in known and k.endswith("_file") and is_secret_name(k)), ""
        )
        cure = f"Put it into a file and name that: `{name}: PATH`, or use `{name}: ${{env:NAME}}`." if name else ""
        return "secrets are not written into the configuration", cure or nearest(key, known)
    return "unknown key", nearest(key, known)


def _sentence(text: str) -> str:
    return _with_stop(text[:1].upper() + text[1:])


def _with_stop(text: str) -> str:
    return f"{text.rstrip('.')}." if text else ""


def _describe(field: FieldInfo | None) -> str:
    """Return a field's description with an example where it has one."""
    if field is None:
        return ""
    example = f"Example: {field.examples[0]}" if field.examples else ""
    return " ".join(part for part in (_with_stop(field.description or ""), example) if part)


def _discriminator(detail: ErrorDetails) -> str:
    return str(detail.get("ctx", {}).get("discriminator", "kind")).strip("'")
