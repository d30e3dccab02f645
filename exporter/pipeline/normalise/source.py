"""What a table of a source says; the tables themselves are in ``exporter.pipeline.normalise.sources``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.domain.kinds import KINDS
from exporter.pipeline.parse import Keys, Sourced


@dataclass(frozen=True, slots=True)
class Derive:
    """A canonical key that follows from another: ``by`` returns its value, or None where it tells nothing. Both are kept."""

    origin: str
    target: str
    by: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Variant:
    """What one type of a source's events adds: its kind, constants, and fields that mean something else in it."""

    kind: str = ""
    constants: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """A vocabulary. Keys are paths: ``user.name`` is that key, or ``name`` in the object ``user``.

    ``fields``: canonical name → what the source calls it, most telling first. ``a[0]`` is the only, or first, item of a list.
    ``signatures``: sets of top-level keys; a JSON object or key=value line that has all of one is of this source.
    ``kind``: of events whose variant says none; an event that lacks the keys a kind requires is a ``log``.
    ``by``, ``choose``: the values of these paths (texts, numbers, else None) → the name of a variant; an unknown name is none.
    ``derive``: in this order; the first that tells a key wins. ``absent``: where the first key is not there, the second is the third.
    ``generic``: whether the names that programs commonly use hold as well.
    ``prepare``: opens what a shipper packed, and says the source that the line is of after that.
    """

    name: str
    about: str
    fields: Mapping[str, str] = field(default_factory=dict)
    signatures: tuple[frozenset[str], ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    by: tuple[str, ...] = ()
    choose: Callable[..., str] = str
    variants: Mapping[str, Variant] = field(default_factory=dict)
    derive: tuple[Derive, ...] = ()
    absent: tuple[tuple[str, str, Any], ...] = ()
    generic: bool = False
    prepare: Callable[[Keys, tuple[Any, ...]], Sourced] | None = None


def keys(*signatures: str) -> tuple[frozenset[str], ...]:
    """Write signatures as texts of keys between blanks."""
    return tuple(frozenset(text.split()) for text in signatures)


def first_text(*values: Any) -> str:
    """Choose a variant by the first value that is a text or a number."""
    return next((str(value) for value in values if type(value) in {str, int}), "")


def has_required(kind: str, present: frozenset[str]) -> bool:
    """Tell whether an event with these keys can be of a kind."""
    return all(not present.isdisjoint(group) for group in KINDS[kind].requires)


def kind_of(wanted: str, present: frozenset[str]) -> str:
    """Return the kind of an event with these keys: the one its source wants, else what the keys alone tell."""
    if wanted and has_required(wanted, present):
        return wanted
    if wanted:
        return "log"
    if has_required("http.request", present):
        return "http.request"
    return "app.error" if "error.type" in present or "error.stack_trace" in present else "log"
