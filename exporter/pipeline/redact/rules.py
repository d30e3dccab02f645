"""Redaction packs: YAML files of rules that carry their own tests.

A rule has two patterns. ``scan`` finds candidates in a whole block at memory speed: short, its tail cut (``@x``, not the
whole address), in the syntax common to Vectorscan and ``re`` (no look-around). ``pattern`` gives the exact span, with look-around, run
only around a candidate. ``scan_digits`` is for scan patterns that hold no literal, only digits and the like: they run in a
pass of their own. ``reach`` names the characters that may stand between the start of a match and the end of the
candidate; walking back over them finds where the exact step has to start. ``ahead`` says how many bytes after the candidate
may still belong to a match or decide it, for rules of a fixed shape; the default is all of the text, up to 64 KiB.

Samples are part of a rule: ``match`` texts mark with « » exactly what must be replaced, ``pass`` texts must stay as they
are. They run at every load, and one that fails refuses the configuration, for a pack that does not do what its author
thinks is worse than none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from exporter.errors import Finding
from exporter.pipeline.redact import gitleaks
from exporter.pipeline.redact.actions import Action, Mask, mark
from exporter.pipeline.redact.scan import ScanPattern
from exporter.pipeline.redact.validators import VALIDATORS, Validator

#: Where a datum may begin: not inside a word, but after an escape such as the ``\\n`` of JSON or the ``%20`` of a URL.
_EDGE = rb"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=\\u00[01][0-9A-Fa-f])|(?<=%[0-9A-Fa-f][0-9A-Fa-f]))"
_MACROS = {b"{{edge}}": _EDGE}

#: The exact step looks at most this far from a candidate, to either side. It bounds what a hostile line can cost.
EXACT_LIMIT_BYTES = 65_536


class Samples(BaseModel):
    """Tests of a rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    match: tuple[str, ...] = Field(min_length=1)
    passes: tuple[str, ...] = Field(alias="pass", min_length=1)


class RuleModel(BaseModel):
    """One rule as written in a pack. Texts of patterns never appear in errors together with log text."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=40)
    about: str = ""
    scan: tuple[str, ...] = ()
    scan_digits: tuple[str, ...] = ()
    start_known: bool = False
    ignore_case: bool = False
    reach: str = Field(min_length=1)
    ahead: int = Field(default=EXACT_LIMIT_BYTES, ge=1, le=EXACT_LIMIT_BYTES)
    pattern: str
    validator: str | None = None
    samples: Samples

    @model_validator(mode="after")
    def _is_found(self) -> RuleModel:
        if not self.scan and not self.scan_digits:
            raise ValueError("needs a pattern under scan or scan_digits")
        return self

    @field_validator("validator")
    @classmethod
    def _known_validator(cls, value: str | None) -> str | None:
        if value is not None and value not in VALIDATORS:
            raise ValueError(f"unknown validator; known are {', '.join(sorted(VALIDATORS))}")
        return value


class PackModel(BaseModel):
    """A pack file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    pack: str
    about: str = ""
    rules: tuple[RuleModel, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, compiled. ``group``: the part of a match that is replaced (the group ``value``, else all of it)."""

    name: str
    search: re.Pattern[bytes]
    group: int
    reach: bytes
    ahead: int
    start_known: bool
    validate: Validator | None
    action: Action
    scan: tuple[bytes, ...]
    scan_digits: tuple[bytes, ...]
    ignore_case: bool
    samples: Samples
    #: Of a rule that looks at whole lines: yields where in ``block[start:stop]`` it matches; pattern and reach are not used then.
    find: Callable[[bytes, int, int], Iterable[tuple[int, int]]] | None = None

    @property
    def label(self) -> str:
        """What a mask of this rule says. One word for all rules of gitleaks: a name like "client-secret" before an equals sign would look
        like data to other rules.
        """
        return self.name if self.find is None else "gitleaks"

    def scan_patterns(self, index: int) -> list[ScanPattern]:
        """Return what this rule, as number ``index``, asks of a scanner."""
        return [
            ScanPattern(index, expression, self.ignore_case, digits, self.start_known)
            for digits, expressions in ((False, self.scan), (True, self.scan_digits))
            for expression in expressions
        ]


def _expand_class(text: str) -> bytes:
    """Return every byte that the bracket expression ``[text]`` matches, without line breaks."""
    one = re.compile(b"[" + text.encode("latin-1") + b"]")
    return bytes(c for c in range(256) if one.match(bytes([c])) and c not in b"\r\n")


def _compile(model: RuleModel) -> Rule:
    """Raises re.error or ValueError."""
    expression = model.pattern.encode()
    for name, text in _MACROS.items():
        expression = expression.replace(name, text)
    flags = re.IGNORECASE if model.ignore_case else re.NOFLAG
    search = re.compile(expression, flags)
    return Rule(
        name=model.name,
        search=search,
        group=search.groupindex.get("value", 0),
        reach=_expand_class(model.reach),
        ahead=model.ahead,
        start_known=model.start_known,
        validate=VALIDATORS[model.validator] if model.validator else None,
        action=Mask(mark(model.name)),
        scan=tuple(s.encode() for s in model.scan),
        scan_digits=tuple(s.encode() for s in model.scan_digits),
        ignore_case=model.ignore_case,
        samples=model.samples,
    )


def _of_gitleaks(rule: gitleaks.GitleaksRule) -> Rule:
    return Rule(
        name=rule.name,
        search=rule.pattern,
        group=0,
        reach=b"",
        ahead=EXACT_LIMIT_BYTES,
        start_known=False,
        validate=None,
        action=Mask(mark("gitleaks")),
        scan=(rule.expression,),
        scan_digits=(),
        ignore_case=False,
        samples=Samples.model_construct(match=(), passes=()),
        find=rule.find,
    )


def _builtin_packs() -> Traversable:
    return resources.files("exporter.pipeline.redact") / "packs"


def _read_pack(name: str) -> bytes | None:
    """Return a pack's text: a file by its path (``….yaml``, gitleaks: ``….toml``), else one that ships by its name."""
    as_path = name.endswith((".yaml", ".yml", ".toml"))
    if as_path and Path(name).is_file():
        return Path(name).read_bytes()
    file_name = name if as_path else f"{name}.yaml"
    shipped = _builtin_packs() / file_name
    return shipped.read_bytes() if "/" not in file_name and shipped.is_file() else None


def known_packs() -> list[str]:
    """Return the names of the packs that ship."""
    found = (file.name for file in _builtin_packs().iterdir())
    return sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml"))


def _validation_findings(path: str, error: ValidationError) -> Iterable[Finding]:
    for item in error.errors(include_input=False, include_url=False):
        where = ".".join(str(part) for part in item["loc"])
        yield Finding(path, f"{where}: {item['msg']}", "Correct the pack file.")


def load_rules(names: Sequence[str], path: str) -> tuple[list[Rule], str, list[Finding]]:
    """Read packs in the given order; the order of rules is their priority where spans overlap.

    Returns the rules, a digest of the packs' texts, and every finding (``path``: the key of the configuration).
    """
    rules: dict[str, Rule] = {}
    findings: list[Finding] = []
    digest = hashlib.blake2b(digest_size=16)
    for name in names:
        raw = _read_pack(name)
        if raw is None:
            cure = f"Known packs: {', '.join(known_packs())}; or the path of a .yaml file, or of a .toml file with rules of gitleaks."
            findings.append(Finding(path, f"redaction pack {name!r} not found", cure))
            continue
        digest.update(len(raw).to_bytes(8, "big") + raw)
        for rule in _rules_of(name, raw, path, findings):
            if rule.name in rules:
                where = f"{path}: pack {name!r}: rule {rule.name!r}"
                findings.append(Finding(where, "a rule of this name exists already", "Rename one of the two."))
            else:
                rules[rule.name] = rule
    return list(rules.values()), digest.hexdigest(), findings


def _rules_of(name: str, raw: bytes, path: str, findings: list[Finding]) -> list[Rule]:
    if name.endswith(".toml"):

        def found(where: str, reason: str) -> None:
            place = f"{path}: pack {name!r}" + (f": {where}" if where else "")
            findings.append(Finding(place, reason, "Correct the file, or name the rule under [extend] disabledRules."))

        return [_of_gitleaks(rule) for rule in gitleaks.parse(raw, found)]
    try:
        document: Mapping[str, Any] = yaml.safe_load(raw)
        pack = PackModel.model_validate(document)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        findings.append(Finding(path, f"pack {name!r} is not YAML ({type(error).__name__})", "Correct the file."))
        return []
    except ValidationError as error:
        findings.extend(_validation_findings(f"{path}: pack {name!r}", error))
        return []
    rules: list[Rule] = []
    for model in pack.rules:
        try:
            rules.append(_compile(model))
        except (re.error, ValueError) as error:
            where = f"{path}: pack {name!r}: rule {model.name!r}"
            findings.append(Finding(where, f"does not compile: {error}", "Correct the pattern."))
    return rules
