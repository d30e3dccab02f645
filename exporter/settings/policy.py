"""A tenant's policy beyond plain masks: what is done with what a rule finds, and with which field.

Written under ``tenants.<name>.policy`` as the name of a policy that ships (``policy: security``) or as an object, which may
begin with one (``based_on: security``). What the names of rules, fields and shipped policies mean is the pipeline's
business (``exporter.pipeline.redact.policy``); here is only the form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import core_schema

#: Actions that stand alone, and those that take one argument, with the values it may have.
PLAIN_ACTIONS = ("keep", "mask", "drop_event", "drop_field", "pseudonym", "ip_prefix", "ip_token")
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "partial": (1, 2, 3, 4, "domain"),
    "truncate": tuple(range(1, 257)),
    "generalise": (8, 16, 24, 32, 48, 64, "hour", "day"),
    "range": (10, 100, 1000, 10_000, 100_000, 1_000_000),
}
#: Policies that ship, after the data classes of the documentation (docs/privacy/policy.md).
SHIPPED = ("technical", "ops", "security", "personal", "special", "financial", "secret")
_EXAMPLES = "mask, pseudonym, {partial: 4}, {generalise: 24}"


@dataclass(frozen=True, slots=True)
class ActionChoice:
    """An action's name and its argument (None for those that have none)."""

    name: str
    argument: int | str | None = None

    def __str__(self) -> str:
        return self.name if self.argument is None else f"{{{self.name}: {self.argument}}}"


def _choice(value: Any) -> ActionChoice:
    if isinstance(value, ActionChoice):
        return value
    known = [*PLAIN_ACTIONS, *ARGUMENTS]
    if isinstance(value, str):
        if value in PLAIN_ACTIONS:
            return ActionChoice(value)
        if value in ARGUMENTS:
            raise ValueError(f"{value} needs an argument; write it as {{{value}: {ARGUMENTS[value][0]}}}")
        raise ValueError(f"there is no such action; choose one of {', '.join(known)}")
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ValueError(f"is no action; write a name or one name with its argument, such as {_EXAMPLES}")
    ((name, argument),) = value.items()
    if name not in ARGUMENTS:
        raise ValueError(f"there is no such action with an argument; choose one of {', '.join(ARGUMENTS)}")
    if isinstance(argument, bool) or argument not in ARGUMENTS[name]:
        allowed = ARGUMENTS[name]
        some = ", ".join(map(str, allowed)) if len(allowed) < 10 else f"{allowed[0]} to {allowed[-1]}"
        raise ValueError(f"{name} cannot have this argument; choose one of {some}")
    return ActionChoice(name, argument)


_ACTION_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"enum": list(PLAIN_ACTIONS)},
        {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
            "properties": {
                name: {"type": "integer", "minimum": values[0], "maximum": values[-1]}
                if name == "truncate"
                else {"enum": list(values)}
                for name, values in ARGUMENTS.items()
            },
        },
    ]
}
Action = Annotated[
    ActionChoice,
    BeforeValidator(_choice),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(_ACTION_SCHEMA),
]


class PolicySettings(BaseModel):
    """What is done beyond masking. The default does nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    based_on: Literal["technical", "ops", "security", "personal", "special", "financial", "secret"] | None = Field(
        default=None, description="A policy that ships, which the keys below change."
    )
    actions: Mapping[str, Action] = Field(
        default_factory=dict,
        description="Rule of a redaction pack and what is done with what it finds; every other rule masks.",
    )
    fields: Mapping[str, Action] = Field(
        default_factory=dict,
        description="Field and what is done with it: a canonical key (user.name), labels.NAME, metadata.NAME, unmapped.PATH; a trailing .* covers all below.",
    )
    allow_fields: tuple[str, ...] | None = Field(
        default=None, description="When given, only these fields and those under `fields` leave as they are."
    )
    other_fields: Action = Field(
        default=ActionChoice("drop_field"), description="What is done with a field that `allow_fields` does not name."
    )
    pseudonym_epoch: Literal["day", "month", "year"] = Field(
        default="month", description="How long a value keeps its pseudonym, by the time of the event (UTC)."
    )

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"based_on": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        made = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"enum": list(SHIPPED)}, dict(made)], "description": made.get("description", "")}
