r"""Rules files of gitleaks (TOML) as redaction rules: ``redaction: [eu-pii, secrets, rules/gitleaks.toml]``.

Understood as gitleaks 8 does (its ``config/config.go`` and ``detect/detect.go``): ``regex``, ``secretGroup`` (else the first group that
is not empty, else the whole match), ``keywords`` (one has to stand in the same line, whatever its case), ``entropy`` (Shannon, bits a character, the secret
must have more), ``allowlist`` and ``[[rules.allowlists]]`` with ``regexes``, ``regexTarget``, ``stopwords`` and ``condition``, the file's own allowlist,
``[extend] disabledRules``. Paths and commits mean nothing in logs: rules of a path alone are left out, allowlists that require one never allow.

The expressions are Go's (RE2). What ``re`` writes in another way is translated; what it cannot express is a finding that names the rule.
"""

from __future__ import annotations

import math
import re
import tomllib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

#: POSIX classes that RE2 knows inside of brackets.
_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "digit": "0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
    "space": r"\s",
    "word": r"\w",
    "punct": r"!-/:-@\[-`{-~",
}
_FLAGS = re.compile(r"\(\?([ims]+)\)")
#: Go calls these ``regexTarget``.
_TARGETS = ("secret", "match", "line")


class GitleaksError(ValueError):
    """A rules file or a rule of it cannot be used; the text says what to do and holds no pattern."""


@dataclass(frozen=True, slots=True)
class _Allow:
    """One allowlist: a secret that it knows is no secret."""

    regexes: Sequence[re.Pattern[bytes]]
    stopwords: Sequence[bytes]
    target: str
    needs_both: bool

    def knows(self, secret: bytes, match: bytes, line: bytes) -> bool:
        text = {"secret": secret, "match": match, "line": line}[self.target]
        lowered = secret.lower()
        known = [any(r.search(text) for r in self.regexes)] if self.regexes else []
        if self.stopwords:
            known.append(any(word in lowered for word in self.stopwords))
        return bool(known) and (all(known) if self.needs_both else any(known))


@dataclass(frozen=True, slots=True)
class GitleaksRule:
    """One usable rule. ``expression`` is what a scanner may look for, without look-around."""

    name: str
    about: str
    expression: bytes
    pattern: re.Pattern[bytes]
    secret_group: int
    keywords: Sequence[bytes]
    entropy: float
    allows: Sequence[_Allow]

    def find(self, block: bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield where the secrets of one line stand. Called by the engine around a candidate."""
        line = block[start:stop]
        lowered = line.lower()
        if self.keywords and not any(word in lowered for word in self.keywords):
            return
        for match in self.pattern.finditer(line):
            first, last = self._secret(match)
            secret = line[first:last]
            if last > first and _entropy(secret) > self.entropy and not self._allowed(secret, match[0], line):
                yield start + first, start + last

    def _secret(self, match: re.Match[bytes]) -> tuple[int, int]:
        if self.secret_group:
            return match.span(self.secret_group)
        return next((match.span(n + 1) for n, text in enumerate(match.groups()) if text), match.span())

    def _allowed(self, secret: bytes, match: bytes, line: bytes) -> bool:
        return any(allow.knows(secret, match, line) for allow in self.allows)


def _entropy(text: bytes) -> float:
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in Counter(text).values())


def translated(expression: str) -> str:
    r"""Return an RE2 expression as ``re`` and Vectorscan write it. Flags in the middle of a group hold up to its end, in later alternatives
    too; ``\z`` is the end of the text; classes like ``[:alnum:]`` are spelled out.
    """
    out: list[str] = []
    scopes: list[list[str]] = [[]]  # flags set in the middle of each open group: groups of ours to close
    at = 0
    while at < len(expression):
        char = expression[at]
        if char == "\\":
            pair = expression[at : at + 2]
            out.append("$" if pair == "\\z" else pair)
            at += 2
            continue
        if char == "[":
            at = _bracket(expression, at, out)
            continue
        if flags := _FLAGS.match(expression, at):
            scopes[-1].append(flags[1])
            out.append(f"(?{flags[1]}:")
            at = flags.end()
            continue
        if char == "(":
            scopes.append([])
        elif char == "|" and scopes[-1]:
            out.append(")" * len(scopes[-1]) + "|" + "".join(f"(?{flag}:" for flag in scopes[-1]))
            at += 1
            continue
        elif char == ")" and len(scopes) > 1:
            out.append(")" * len(scopes.pop()))
        out.append(char)
        at += 1
    out.append(")" * len(scopes[0]))
    return "".join(out)


def _bracket(expression: str, at: int, out: list[str]) -> int:
    """Copy a bracket expression; return where it ends."""
    start = at
    at += 2 if expression[at + 1 : at + 2] == "^" else 1
    out.append(expression[start:at])
    if expression[at : at + 1] == "]":  # the first one is a literal
        out.append("\\]")
        at += 1
    while at < len(expression) and expression[at] != "]":
        name = re.compile(r"\[:(\w+):\]").match(expression, at)
        if name is not None and name[1] in _POSIX:
            out.append(_POSIX[name[1]])
            at = name.end()
        elif expression[at] == "\\":
            out.append(expression[at : at + 2])
            at += 2
        else:
            out.append("\\[" if expression[at] == "[" else expression[at])
            at += 1
    out.append("]")
    return at + 1


def _compiled(expression: str) -> re.Pattern[bytes]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning of ``re`` says that it may read the expression in another way
            return re.compile(translated(expression).encode())
    except (re.error, FutureWarning, DeprecationWarning, OverflowError, RecursionError):
        raise GitleaksError("its regex cannot be used here; remove the rule or write it in another way") from None


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise GitleaksError("a list of texts was expected; compare the format of gitleaks 8")
    return value


def _allow(table: dict[str, Any]) -> _Allow | None:
    regexes, stopwords = _texts(table.get("regexes")), _texts(table.get("stopwords"))
    needs_both = str(table.get("condition", "OR")).upper() in {"AND", "&&"}
    if not (regexes or stopwords) or (needs_both and (table.get("paths") or table.get("commits"))):
        return None
    target = table.get("regexTarget") or "secret"
    if target not in _TARGETS:
        raise GitleaksError(f"regexTarget of an allowlist is none of {', '.join(_TARGETS)}")
    words = [word.lower().encode() for word in stopwords]
    return _Allow([_compiled(r) for r in regexes], words, target, needs_both)


def _allows(table: dict[str, Any]) -> list[_Allow]:
    """Both forms: one ``allowlist`` (older) and several ``allowlists``."""
    one, several = table.get("allowlist"), table.get("allowlists", [])
    found = [_allow(item) for item in ([one] if one else []) + list(several)]
    return [allow for allow in found if allow is not None]


def _rule(table: dict[str, Any], common: Sequence[_Allow]) -> GitleaksRule:
    expression, group, entropy = table["regex"], table.get("secretGroup", 0), table.get("entropy", 0)
    if not (isinstance(expression, str) and isinstance(group, int) and isinstance(entropy, (int, float))):
        raise GitleaksError("regex is a text, secretGroup and entropy are numbers; correct them")
    pattern = _compiled(expression)
    if not 0 <= group <= pattern.groups:
        raise GitleaksError("secretGroup names a group that its regex does not have")
    return GitleaksRule(
        name="gitleaks-" + re.sub(r"[^a-z0-9]+", "-", str(table["id"]).lower()).strip("-"),
        about=str(table.get("description", "")),
        expression=f"(?m:{translated(expression)})".encode(),
        pattern=pattern,
        secret_group=group,
        keywords=[word.lower().encode() for word in _texts(table.get("keywords"))],
        entropy=float(entropy),
        allows=[*_allows(table), *common],
    )


def parse(raw: bytes, finding: Callable[[str, str], None]) -> list[GitleaksRule]:
    """Return the rules of a file; ``finding`` is told (where, reason) of everything that is wrong. Called by ``rules.load_rules``."""
    try:
        document = tomllib.loads(raw.decode())
        if document.get("extend", {}).get("useDefault") or document.get("extend", {}).get("path"):
            raise GitleaksError(
                "[extend] refers to rules that are not in the file; name that file in redaction as well"
            )
        common, tables = _allows(document), document.get("rules", [])
        disabled = set(_texts(document.get("extend", {}).get("disabledRules")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError, TypeError) as error:
        finding("", f"is no rules file of gitleaks ({type(error).__name__})")
        return []
    except GitleaksError as error:
        finding("", str(error))
        return []
    rules: list[GitleaksRule] = []
    for number, table in enumerate(tables):
        name = str(table.get("id", "")) if isinstance(table, dict) else ""
        if not name:
            finding(f"rules[{number}]", "has no id")
        elif name not in disabled and table.get("regex"):
            try:
                rules.append(_rule(table, common))
            except GitleaksError as error:
                finding(f"rule {name!r}", str(error))
    if not rules:
        finding("", "holds no rule with a regex")
    return rules
