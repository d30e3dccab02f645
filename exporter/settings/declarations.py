"""What settings models declare: which model and which field a place in the document belongs to."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def members_of(annotation: Any) -> tuple[type[BaseModel], ...]:
    """Return the models in an annotation: itself, or the members of a union or of a collection."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    if get_origin(annotation) is Annotated:
        return members_of(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType, tuple, list, dict, Mapping}:
        return tuple(model for part in get_args(annotation) for model in members_of(part))
    return ()


def speaks_of(annotation: Any, kind: type) -> bool:
    """Tell whether a type occurs in an annotation, such as ``Secret`` in ``Secret | None``."""
    return annotation is kind or any(speaks_of(part, kind) for part in get_args(annotation))


def tags_of(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """Yield (field, value) of the fields that tell the members of a union apart."""
    for name, field in model.model_fields.items():
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1:
            yield name, get_args(field.annotation)[0]


def member_for(annotation: Any, data: Any) -> type[BaseModel] | None:
    """Return the model that ``data`` is meant for: the only one, or the member of a union whose tag it carries."""
    members = members_of(annotation)
    if len(members) == 1:
        return members[0]
    if isinstance(data, Mapping):
        for member in members:
            if any(data.get(name) == value for name, value in tags_of(member)):
                return member
    return None


def declaration(model: Any, loc: Sequence[str | int]) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """Find the model that owns the last step of a pydantic ``loc`` and the field it names (None: no such field).

    In a ``loc`` the tag of a union's member stands before the member's field.
    """
    candidates, field = members_of(model), None
    owner = candidates[0] if len(candidates) == 1 else None
    for step in loc:
        tagged = [m for m in candidates if any(value == step for _, value in tags_of(m))] if len(candidates) > 1 else []
        if tagged:
            candidates, owner = tuple(tagged), tagged[0]
            continue
        owner = next((m for m in candidates if step in m.model_fields), candidates[0] if candidates else owner)
        field = owner.model_fields.get(str(step)) if owner is not None else None
        if field is not None:
            candidates = members_of(field.annotation)
    return owner, field
