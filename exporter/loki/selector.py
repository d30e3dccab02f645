"""LogQL stream selectors: validation and safe addition of matchers.

Used by the settings loader (so this module imports nothing of ours) and by the reader, which narrows a tenant's selector
by further matchers. Grammar: Loki documentation "Log stream selector", loki ``pkg/logql/syntax``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OPERATOR = re.compile(r"=~|!~|!=|=")
_DOUBLE_QUOTED = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_BACK_QUOTED = re.compile(r"`[^`]*`")
_SPACE = re.compile(r"\s*")
#: Streams of Loki itself; naming them gives an empty answer (loki ``pkg/querier/limits/validation.go``).
_INTERNAL = ("__aggregated_metric__", "__pattern__")


class Matcher(NamedTuple):
    """One label matcher; ``value`` is unquoted."""

    name: str
    operator: str
    value: str


def validate_selector(text: str) -> None:
    """Check that ``text`` is a pure stream selector which Loki accepts. Raises ValueError with reason and cure."""
    matchers, _ = _parse(text)
    for matcher in matchers:
        if matcher.name in _INTERNAL:
            raise ValueError(f"{matcher.name} names an internal stream of Loki, which answers nothing; remove it")
    if all(_matches_empty(m) for m in matchers):
        raise ValueError(
            "every matcher also matches an absent label, which Loki refuses; "
            'add one that needs a value, e.g. {job=~".+"} instead of {job=~".*"}'
        )


def with_matchers(selector: str, matchers: Iterable[Matcher]) -> str:
    """Return the selector narrowed by further matchers, their values quoted. Raises ValueError as validation does."""
    _, end = _parse(selector)
    added = ", ".join(f"{m.name}{m.operator}{quote(m.value)}" for m in matchers)
    return f"{selector[:end].rstrip()}, {added}}}" if added else selector.strip()


def exact_matchers(labels: dict[str, str], all_names: Iterable[str]) -> list[Matcher]:
    """Return matchers that select the stream with exactly these labels among streams whose labels are ``all_names``:
    a stream whose labels are a subset of another's must not select the other.
    """
    found = [_equal(name, value) for name, value in sorted(labels.items())]
    return found + [Matcher(name, "=", "") for name in sorted(set(all_names) - labels.keys())]


def quote(text: str) -> str:
    """Quote a string for LogQL, which reads Go's escapes: JSON's are a subset of them when non-ASCII stays as it is."""
    return json.dumps(text, ensure_ascii=False)


def _equal(name: str, value: str) -> Matcher:
    """An equality; for a value whose bytes JSON could not carry (U+FFFD stands for them) the tightest regex."""
    if "\ufffd" not in value:
        return Matcher(name, "=", value)
    parts = [re_escape(part) for part in re.split("\ufffd+", value)]
    return Matcher(name, "=~", "(?s)" + ".+".join(parts))


def re_escape(text: str) -> str:
    """Quote a literal for Go's RE2 syntax, where (unlike in Python) only punctuation may be escaped."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)


def _matches_empty(matcher: Matcher) -> bool:
    if matcher.operator in {"=", "!="}:
        return (matcher.value == "") == (matcher.operator == "=")
    try:
        found = re.fullmatch(matcher.value, "") is not None
    except re.error:
        return False  # RE2 syntax that Python does not know; Loki will judge
    return found == (matcher.operator == "=~")


def _parse(text: str) -> tuple[list[Matcher], int]:
    """Return the matchers and the position of the closing brace. Raises ValueError."""
    position = _skip(text, 0)
    if not text.startswith("{", position):
        raise ValueError('a stream selector starts with a brace; write it like {job=~".+"}')
    matchers: list[Matcher] = []
    position = _skip(text, position + 1)
    while not text.startswith("}", position):
        if matchers:
            position = _skip(text, _expect(text, position, ","))
        matcher, position = _matcher(text, position)
        matchers.append(matcher)
        position = _skip(text, position)
    if not matchers:
        raise ValueError('the selector is empty, which Loki refuses; name at least one label, e.g. {job=~".+"}')
    if text[position + 1 :].strip():
        raise ValueError(
            "something follows the closing brace; only a stream selector is allowed here, "
            "without line filters, parsers or ranges: remove what follows"
        )
    return matchers, position


def _matcher(text: str, position: int) -> tuple[Matcher, int]:
    name = _NAME.match(text, position)
    if name is None:
        raise ValueError(f'a label name is missing at column {position + 1}; write matchers like name="value"')
    position = _skip(text, name.end())
    operator = _OPERATOR.match(text, position)
    if operator is None:
        raise ValueError(f"label {name[0]} has no operator; use one of =, !=, =~, !~")
    position = _skip(text, operator.end())
    value = _DOUBLE_QUOTED.match(text, position) or _BACK_QUOTED.match(text, position)
    if value is None:
        raise ValueError(
            f"the value of label {name[0]} is not quoted, or its quote is not closed; write it in double quotes"
        )
    return Matcher(name[0], operator[0], _unquote(name[0], value[0])), value.end()


def _unquote(name: str, quoted: str) -> str:
    if quoted.startswith("`"):
        return quoted[1:-1]
    try:
        unquoted = json.loads(_GO_ONLY.sub(_as_json, quoted), strict=False)
    except ValueError:
        raise ValueError(
            f"the value of label {name} holds a bad escape; double the backslash or use backquotes"
        ) from None
    assert isinstance(unquoted, str)
    return unquoted


#: Escapes that Go has and JSON has not: ``\a \v \xHH`` and octal (Go specification, "Rune literals").
_GO_ONLY = re.compile(r"\\(?:(a)|(v)|x([0-9a-fA-F]{2})|([0-7]{3})|\\)")


def _as_json(match: re.Match[str]) -> str:
    bell, tab, hexadecimal, octal = match.groups()
    if bell or tab:
        return "\\u0007" if bell else "\\u000b"
    if hexadecimal or octal:
        return f"\\u{int(hexadecimal, 16) if hexadecimal else int(octal, 8):04x}"
    return match[0]


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()


def _expect(text: str, position: int, token: str) -> int:
    if not text.startswith(token, position):
        raise ValueError(f"expected a comma or the closing brace at column {position + 1}; separate matchers by commas")
    return position + 1
