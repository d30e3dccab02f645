"""Writes ``docs/reference/actions.md`` from the code: ``python -m exporter.pipeline.redact.actions_reference > docs/reference/actions.md``.

A test compares the page with what this makes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from exporter.pipeline.redact.actions import Action
from exporter.pipeline.redact.policy import ADDRESS_RULES, SampleTokens, build_action
from exporter.pipeline.redact.shipped import POLICIES
from exporter.settings.policy import ARGUMENTS, PLAIN_ACTIONS, ActionChoice

#: Action → what it is for, and a value to show it by.
_ABOUT: dict[str, tuple[str, str]] = {
    "keep": ("leaves it as it is; a rule with it finds nothing", "anna"),
    "mask": ("the name of the rule or field in its place (the default of every rule)", "anna"),
    "drop_event": ("the whole event does not leave; it is counted as dropped. In labels and metadata it masks", ""),
    "drop_field": ("the field does not leave", ""),
    "pseudonym": ("a token that is the same for the same value within an epoch, and can be shredded", "anna"),
    "ip_prefix": ("an encrypted address; addresses of one network begin alike", "10.1.2.3"),
    "ip_token": ("an encrypted address that tells nothing of its network", "10.1.2.3"),
    "partial": ("the last characters, or of an e-mail address the domain", "4111111111111111"),
    "truncate": ("the first characters", "abcdefghijkl"),
    "generalise": ("the network of an address (IPv6 with 8, 16 or 24: /48), or a time cut to hour or day", "10.1.2.3"),
    "range": ("the range that a number lies in", "1234"),
}
_FOR: dict[str, str] = {
    "drop_field": "fields",
    "truncate": "fields",
    "range": "fields",
    "ip_prefix": f"fields, rules {' and '.join(sorted(ADDRESS_RULES))}",
    "ip_token": f"fields, rules {' and '.join(sorted(ADDRESS_RULES))}",
    "generalise": f"fields, rules {' and '.join(sorted(ADDRESS_RULES))} (not hour and day)",
}
#: Argument that the example of an action has.
_SHOWN: dict[str, int] = {"partial": 4, "truncate": 4, "generalise": 24, "range": 100}


def page() -> str:
    """Return the page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Actions and policies"
    yield ""
    yield "Generated from the code (`python -m exporter.pipeline.redact.actions_reference`); see `docs/privacy/policy.md` for how to use it."
    yield ""
    yield "## Actions"
    yield ""
    yield "| action | for | what it leaves | example |"
    yield "|---|---|---|---|"
    for name in (*PLAIN_ACTIONS, *ARGUMENTS):
        about, sample = _ABOUT[name]
        yield f"| {_written(name)} | {_FOR.get(name, 'rules, fields')} | {about} | {_example(name, sample)} |"
    yield ""
    yield "## Policies that ship"
    yield ""
    yield "Every rule that is not named masks. Rules of packs that the tenant does not use are passed over."
    for name, policy in POLICIES.items():
        yield ""
        yield f"### {name}"
        yield ""
        if not policy.actions and not policy.fields:
            yield "Masks whatever the packs find; no field policies."
            continue
        yield "| rule or field | action |"
        yield "|---|---|"
        for key, choice in [*policy.actions.items(), *policy.fields.items()]:
            yield f"| `{key}` | `{choice}` |"


def _written(name: str) -> str:
    if name not in ARGUMENTS:
        return f"`{name}`"
    values = ARGUMENTS[name]
    some = ", ".join(map(str, values)) if len(values) < 12 else f"{values[0]} to {values[-1]}"
    return f"`{{{name}: …}}` with {some}"


def _example(name: str, sample: str) -> str:
    if not sample:
        return ""
    rule = "ipv4" if "." in sample else "card" if sample.startswith("4111") else "user-name"
    action: Action = build_action(ActionChoice(name, _SHOWN.get(name)), rule, "user", SampleTokens(), is_rule=False)
    left = (action.fixed or action.replace(sample.encode())).decode()
    return f"`{sample}` → `{left}`"


if __name__ == "__main__":
    sys.stdout.write(page())
