"""The part of LogQL that the exporter and its checks use: selectors, line filters, counts.

Written apart from ``exporter.loki`` on purpose: a stand-in that shared the reader's code would share its mistakes.
Grammar: Loki documentation "Log queries" and "Metric queries"; loki ``pkg/logql/syntax``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

_TOKEN = re.compile(
    r"""\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)
        |(?P<quoted>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
        |(?P<duration>\[[^\]]*\])
        |(?P<number>[0-9][0-9a-zA-Zµ.]*)
        |(?P<symbol>\|=|\|~|!=|!~|=~|[{}(),=])
        |(?P<end>\Z))""",
    re.VERBOSE,
)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|ns|us|µs|[smhdwy])")
_UNIT_NS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9,
    "d": 86_400 * 10**9, "w": 604_800 * 10**9, "y": 31_536_000 * 10**9,
}  # fmt: skip
_GO_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)
_SIMPLE_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}


class ParseError(ValueError):
    """Loki would answer 400 with this text. Quotes no part of the query."""

    def __init__(self, reason: str, column: int = 0) -> None:
        place = f" at line 1, col {column + 1}:" if column else " :"
        super().__init__(f"parse error{place} {reason}")


@dataclass(frozen=True, slots=True)
class Matcher:
    """One label matcher; an absent label counts as the empty string."""

    name: str
    operator: str
    value: str
    test: Callable[[str], bool]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a stream with these labels is selected."""
        return self.test(labels.get(self.name, ""))


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query. ``function`` is empty for a log query; ``range_ns`` and ``offset_ns`` belong to a count.
    ``summed``: wrapped in ``sum()``; otherwise one series for each stream.
    """

    matchers: tuple[Matcher, ...]
    filters: tuple[Callable[[str], bool], ...]
    function: str = ""
    range_ns: int = 0
    offset_ns: int = 0
    summed: bool = False

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a stream is selected."""
        return all(m.matches(labels) for m in self.matchers)

    def keeps(self, line: str) -> bool:
        """Tell whether a line passes every line filter."""
        return all(f(line) for f in self.filters)


@lru_cache(maxsize=4096)
def parse(text: str) -> Query:
    """Parse a query. Raises ParseError for what Loki refuses and for what this stand-in does not know."""
    parser = _Parser(text)
    query = parser.expression()
    parser.expect("end")
    if all(m.matches({}) for m in query.matchers):
        raise ParseError(
            "queries require at least one regexp or equality matcher that does not have an empty-compatible value. "
            'For instance, app=~".*" does not meet this requirement, but app=~".+" will'
        )
    return query


def parse_duration_ns(text: str, *, nanoseconds: bool = False) -> int:
    """Read a LogQL duration such as ``1h30m``. Raises ParseError. ``nanoseconds``: units below a millisecond are known,
    as in ``offset`` but not in a range (finding 12).
    """
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ParseError("not a valid duration string")
    for _, unit in parts:
        if unit in {"ns", "us", "µs"} and not nanoseconds:
            raise ParseError(f"unknown unit {unit}")
    return sum(int(float(number) * _UNIT_NS[unit]) for number, unit in parts)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self.kind = self.value = ""
        self._advance()

    def _advance(self) -> None:
        match = _TOKEN.match(self._text, self._position)
        if match is None or match.lastgroup is None:
            raise ParseError("syntax error: unexpected character", self._position)
        self.kind, self.value = match.lastgroup, match[match.lastgroup]
        self._position = match.end()

    def take(self, kind: str, value: str | None = None) -> str | None:
        """Consume the present token when it is this one."""
        if self.kind != kind or (value is not None and self.value != value):
            return None
        taken = self.value
        if kind != "end":
            self._advance()
        return taken

    def expect(self, kind: str, value: str | None = None) -> str:
        taken = self.take(kind, value)
        if taken is None:
            raise ParseError(f"syntax error: unexpected token, expecting {value or kind}", self._position)
        return taken

    def expression(self) -> Query:
        if self.take("name", "sum"):
            self.expect("symbol", "(")
            query = self._range_function()
            self.expect("symbol", ")")
            return Query(query.matchers, query.filters, query.function, query.range_ns, query.offset_ns, summed=True)
        return self._range_function() if self.kind == "name" else self._log_query()

    def _range_function(self) -> Query:
        function = self.expect("name")
        if function not in {"count_over_time", "bytes_over_time"}:
            raise ParseError("the stand-in knows only count_over_time and bytes_over_time", self._position)
        self.expect("symbol", "(")
        log = self._log_query()
        range_ns = parse_duration_ns(self.expect("duration")[1:-1].strip())
        offset_ns = 0
        if self.take("name", "offset"):
            offset_ns = parse_duration_ns(self.expect("number"), nanoseconds=True)
        self.expect("symbol", ")")
        return Query(log.matchers, log.filters, function, range_ns, offset_ns)

    def _log_query(self) -> Query:
        self.expect("symbol", "{")
        matchers: list[Matcher] = []
        while not self.take("symbol", "}"):
            if matchers:
                self.expect("symbol", ",")
                if self.take("symbol", "}"):
                    break
            matchers.append(self._matcher())
        filters = []
        while self.kind == "symbol" and self.value in {"|=", "!=", "|~", "!~"}:
            operator = self.expect("symbol")
            filters.append(_line_filter(operator, self._string()))
        return Query(tuple(matchers), tuple(filters))

    def _matcher(self) -> Matcher:
        name = self.expect("name")
        operator = self.expect("symbol")
        if operator not in {"=", "!=", "=~", "!~"}:
            raise ParseError("syntax error: unexpected operator", self._position)
        return _matcher(name, operator, self._string())

    def _string(self) -> str:
        text = self.expect("quoted")
        return text[1:-1] if text.startswith("`") else _unescape(text[1:-1])


def _matcher(name: str, operator: str, value: str) -> Matcher:
    if operator in {"=", "!="}:
        return Matcher(name, operator, value, value.__eq__ if operator == "=" else value.__ne__)
    # Label matchers are anchored and their dot takes line feeds (prometheus model/labels/regexp.go).
    pattern = _compile(value, re.DOTALL)
    if operator == "=~":
        return Matcher(name, operator, value, lambda text: pattern.fullmatch(text) is not None)
    return Matcher(name, operator, value, lambda text: pattern.fullmatch(text) is None)


def _line_filter(operator: str, value: str) -> Callable[[str], bool]:
    if operator == "|=":
        return lambda line: value in line
    if operator == "!=":
        return lambda line: value not in line
    pattern = _compile(value, 0)
    if operator == "|~":
        return lambda line: pattern.search(line) is not None
    return lambda line: pattern.search(line) is None


def _compile(pattern: str, flags: int) -> re.Pattern[str]:
    try:
        return re.compile(pattern, flags)
    except re.error:
        raise ParseError("error parsing regexp") from None


def _unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        two, four, eight, octal, simple = match.groups()
        if simple is None:
            return chr(int(two or four or eight, 16)) if octal is None else chr(int(octal, 8))
        if simple not in _SIMPLE_ESCAPES:
            raise ParseError("invalid char escape")
        return _SIMPLE_ESCAPES[simple]

    return _GO_ESCAPE.sub(one, text)
