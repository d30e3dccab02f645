"""A tenant's policy compiled: an action for each rule, an action for each field, and every finding on the way."""

# ruff: noqa: ARG002 - the stand-ins for a store take what a store takes

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import orjson

from exporter.errors import Finding
from exporter.pipeline.redact import actions as act
from exporter.pipeline.redact.engine import Redactor
from exporter.pipeline.redact.rules import Rule
from exporter.pipeline.redact.shipped import POLICIES, resolved
from exporter.settings.findings import nearest
from exporter.settings.policy import ActionChoice, PolicySettings

#: Rules that find IP addresses; one kind, for the same address is the same in either notation.
ADDRESS_RULES = frozenset(("ipv4", "ipv6"))
#: Actions that only a field can have.
_FIELD_ONLY = frozenset(("drop_field", "truncate", "range"))
_PSEUDONYMS = frozenset(("pseudonym", "ip_prefix", "ip_token"))
_FIELD = re.compile(r"[^\s\"\\*]+(?:\.\*)?")
#: Fields whose actions need the clear address, which the rules replace before there are fields.
_ADDRESS_FIELDS = re.compile(r"(?:source|destination|client|server|host)\.ip")
#: Field → kind, so that one person has one token in all of them. Others have a kind of their own, made of the name.
_KIND_OF_FIELD: dict[str, str] = {
    "user.name": "user",
    "user.target.name": "user",
    "user.effective.name": "user",
    "user.email": "email",
    "source.ip": "ip",
    "destination.ip": "ip",
    "client.ip": "ip",
    "server.ip": "ip",
    "host.ip": "ip",
    "source.mac": "mac",
    "host.mac": "mac",
    "user.target.id": "user-id",
    "user.id": "user-id",
}


class NoTokens:
    """Stands where no store of pseudonyms is at hand: whatever needs a token fails, so its event is held back."""

    def begin(self, time_ns: int) -> None:
        """Nothing is asked until a token is needed."""

    def end_ns(self) -> int:
        return 1 << 63

    def stamp(self) -> object:
        return None

    def learn(self, values: Iterable[tuple[str, bytes]]) -> None:
        raise RuntimeError("no store of pseudonyms was given")

    def letters(self, kind: str, value: bytes) -> str:
        raise RuntimeError("no store of pseudonyms was given")

    def address_letters(self, packed: bytes, *, keep_prefix: bool) -> str:
        raise RuntimeError("no store of pseudonyms was given")

    def close(self) -> None:
        """Nothing is open."""


class SampleTokens(NoTokens):
    """Tokens as they may look, to check what rules make of them."""

    def learn(self, values: Iterable[tuple[str, bytes]]) -> None:
        """Every value has the same."""

    def letters(self, kind: str, value: bytes) -> str:
        return "bcdfghjklmnpqrst"

    def address_letters(self, packed: bytes, *, keep_prefix: bool) -> str:
        return "bcdfghjk" * (len(packed) // 4)


@dataclass(frozen=True, slots=True)
class FieldActions:
    """Field policies: by exact name, by leading names (``user.*`` → ``user.``, longest first), and for all others."""

    exact: dict[str, act.Action]
    below: tuple[tuple[str, act.Action], ...]
    others: act.Action | None


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """``actions``: one a rule. ``fields``: None where no field policy is. ``digest``: empty for the default policy."""

    actions: tuple[act.Action, ...]
    fields: FieldActions | None
    needs_tokens: bool
    digest: str


def uses_pseudonyms(policy: PolicySettings) -> bool:
    """Tell whether a policy needs the key and the store."""
    whole = resolved(policy)
    choices = [*whole.actions.values(), *whole.fields.values(), whole.other_fields]
    return any(choice.name in _PSEUDONYMS for choice in choices)


def kind_of_rule(name: str) -> str:
    """Return the kind under which a rule's pseudonyms are made."""
    return "ip" if name in ADDRESS_RULES else name


def kind_of_field(name: str) -> str:
    """Return the kind under which a field's pseudonyms are made."""
    own = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return _KIND_OF_FIELD.get(name) or own or "field"


def known_kinds(policy: PolicySettings) -> list[str]:
    """Return the kinds of every pseudonym that a policy makes, and that the shipped ones make: an older policy of the tenant
    may have made them.
    """
    kinds: dict[str, None] = {"ip": None}
    for one in (resolved(policy), *POLICIES.values()):
        kinds |= {kind_of_rule(n): None for n, choice in one.actions.items() if choice.name == "pseudonym"}
        kinds |= {kind_of_field(n): None for n, choice in one.fields.items() if choice.name == "pseudonym"}
        if one.other_fields.name == "pseudonym":
            kinds["field"] = None
    return sorted(kinds)


def compile_policy(
    policy: PolicySettings, rules: Sequence[Rule], tokens: act.Tokens, path: str
) -> tuple[CompiledPolicy, list[Finding]]:
    """Return the policy for these rules, and what is wrong with it. ``path``: of the tenant's policy."""
    findings: list[Finding] = []
    whole = resolved(policy)
    names = [rule.name for rule in rules]
    for name in policy.actions:
        if name not in names:
            reason = f"no pack of this tenant has a rule {name}"
            findings.append(Finding(f"{path}.actions.{name}", reason, nearest(name, names)))
    actions = tuple(_for_rule(rule, whole.actions.get(rule.name), tokens, path, findings) for rule in rules)
    fields = _fields(whole, policy, actions, names, tokens, path, findings)
    is_default = whole == PolicySettings()
    digest = "" if is_default else hashlib.blake2b(_canonical(whole), digest_size=16).hexdigest()
    return CompiledPolicy(actions, fields, uses_pseudonyms(policy), digest), findings


def _canonical(policy: PolicySettings) -> bytes:
    return orjson.dumps(policy.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)


def _for_rule(
    rule: Rule, choice: ActionChoice | None, tokens: act.Tokens, path: str, findings: list[Finding]
) -> act.Action:
    if choice is None:
        return rule.action
    where = f"{path}.actions.{rule.name}"
    if choice.name in _FIELD_ONLY or choice.argument in {"hour", "day"}:
        findings.append(Finding(where, f"{choice} is for fields", "Use mask here, or write it under `fields`."))
        return rule.action
    try:
        return build_action(choice, rule.name, kind_of_rule(rule.name), tokens, is_rule=True)
    except ValueError as error:
        reason, _, cure = str(error).partition("; ")
        findings.append(Finding(where, reason, cure))
        return rule.action


def build_action(  # noqa: PLR0911 - one return an action
    choice: ActionChoice, name: str, kind: str, tokens: act.Tokens, *, is_rule: bool
) -> act.Action:
    """Return the action. ``name`` stands in its marks, ``kind`` in pseudonyms. Raises ValueError ("reason; cure")."""
    argument = choice.argument
    is_address = not is_rule or name in ADDRESS_RULES
    if choice.name in {"ip_prefix", "ip_token"} or (choice.name == "generalise" and isinstance(argument, int)):
        if not is_address:
            raise ValueError(f"{choice} is for IP addresses; use it for ipv4 and ipv6")
        if isinstance(argument, int):
            return _generalise_address(argument, name, is_rule=is_rule)
        return act.AddressToken(name, tokens, keep_prefix=choice.name == "ip_prefix")
    if choice.name == "partial" and argument == "domain" and is_rule and name != "email":
        raise ValueError("only an e-mail address has a domain; use {partial: 4}, or mask")
    mask = act.mark(name)
    made: dict[str, act.Action] = {
        "keep": act.Keep(),
        "mask": act.Mask(mask),
        "drop_event": act.DropEvent(mask),
        "drop_field": act.DropField(mask),
        "pseudonym": act.Pseudonym(kind, tokens),
    }
    if choice.name in made:
        return made[choice.name]
    if choice.name == "partial":
        return act.PartialDomain(name) if argument == "domain" else act.Partial(name, int(argument or 0))
    if choice.name == "truncate":
        return act.Truncate(int(argument or 0))
    if choice.name == "range":
        return act.Range(name, int(argument or 0))
    return act.GeneraliseTime(name, str(argument))


def _generalise_address(bits: int, name: str, *, is_rule: bool) -> act.Action:
    if is_rule and name == "ipv6":
        if bits < 16 or bits % 16:
            raise ValueError(f"/{bits} does not end with a group of an IPv6 address; choose 16, 32, 48 or 64")
        return act.GeneraliseAddress(name, ipv6_bits=bits)
    if bits > 24:
        raise ValueError(f"/{bits} generalises no IPv4 address; choose 8, 16 or 24 (IPv6 is cut to /48 then)")
    return act.GeneraliseAddress(name, ipv4_bits=bits)


def _fields(
    whole: PolicySettings,
    written: PolicySettings,
    actions: Sequence[act.Action],
    names: Sequence[str],
    tokens: act.Tokens,
    path: str,
    findings: list[Finding],
) -> FieldActions | None:
    exact: dict[str, act.Action] = {}
    below: dict[str, act.Action] = {}
    allowed = {name: ActionChoice("keep") for name in whole.allow_fields or ()}
    for name, choice in (allowed | dict(whole.fields)).items():
        where = f"{path}.fields.{name}" if name in whole.fields else f"{path}.allow_fields"
        if not _FIELD.fullmatch(name):
            cure = "Write a field's name such as user.name, labels.NAME, unmapped.a.b, or one that ends with .*"
            findings.append(Finding(where, f"{name!r} is no name of a field", cure))
            continue
        own = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "field"
        try:
            action = build_action(choice, own, kind_of_field(name), tokens, is_rule=False)
        except ValueError as error:
            reason, _, cure = str(error).partition("; ")
            findings.append(Finding(where, reason, cure))
            continue
        if name in written.fields:
            findings.extend(_address_findings(name, choice, actions, names, where))
        if name.endswith(".*"):
            below[name[:-1]] = action
        else:
            exact[name] = action
    others = None
    if whole.allow_fields is not None:
        others = build_action(whole.other_fields, "field", "field", tokens, is_rule=False)
    elif not exact and not below:
        return None
    return FieldActions(exact, tuple(sorted(below.items(), key=lambda item: -len(item[0]))), others)


def _address_findings(
    name: str, choice: ActionChoice, actions: Sequence[act.Action], names: Sequence[str], where: str
) -> Iterator[Finding]:
    """An address in a line is replaced by its rule before there are fields, so a field policy would only see the mark."""
    if not _ADDRESS_FIELDS.fullmatch(name) or choice.name in {"mask", "drop_event", "drop_field"}:
        return
    acting = [
        n for n, action in zip(names, actions, strict=True) if n in ADDRESS_RULES and not isinstance(action, act.Keep)
    ]
    if acting:
        reason = f"the rules {' and '.join(acting)} replace addresses before there are fields"
        keep = ", ".join(f"{n}: keep" for n in acting)
        cure = f"Give the rules this action (`actions: {{{acting[0]}: {choice}}}`), or leave all other addresses clear (`actions: {{{keep}}}`)."
        yield Finding(where, reason, cure)


def outcome_findings(redactor: Redactor, policy: CompiledPolicy, path: str) -> list[Finding]:
    """Look that no rule takes for data what an action leaves of a rule's own samples."""
    findings = []
    for rule, action in zip(redactor.rules, policy.actions, strict=True):
        if isinstance(action, act.Keep | act.Mask):
            continue
        texts = [part.partition("»")[0] for sample in rule.samples.match for part in sample.split("«")[1:]]
        left = [action.replace(text.encode()).decode("utf-8", "replace") for text in texts]
        around = [form for text in left for form in (text, f'"a":"{text}"', f"a={text}=Zq1{text}", f"1{text}2")]
        found = {index for text in around for _, _, index in redactor.spans(text.encode(), b"\n")}
        hits = sorted(redactor.rules[i].name for i in found if not isinstance(policy.actions[i], act.Keep))
        if hits:
            reason = f"the rule {hits[0]} takes for data what this action leaves"
            findings.append(Finding(f"{path}.actions.{rule.name}", reason, "Choose another action, such as mask."))
    return findings
