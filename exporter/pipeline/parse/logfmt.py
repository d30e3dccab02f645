r"""logfmt: ``key=value key="quoted \"value\"" bare`` (https://brandur.org/logfmt; go-logfmt's escapes).

Lines of one program have few shapes. The first line of a shape is read pair by pair; from its keys one anchored regular
expression is made that reads the next line of that shape in one call, about five times faster. A line that it does not
take goes the general way, so the outcome never depends on what came before.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from exporter.pipeline.parse import MAX_KEYS, MAX_LINE_CHARS, Keys, OverBound, Parsed
from exporter.pipeline.parse.fields import collect

#: What go-logfmt takes for blanks: every character up to space (and no other, such as a no-break space).
_BLANKS = "".join(map(chr, range(0x21)))
_PAIR = re.compile(
    r'([^\x00-\x20="]++)(?:=(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"|([^\x00-\x20"]*+)))?(?:[\x00-\x20]++|$)', re.DOTALL
)
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_PLAIN_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
#: Values in the expression of a shape. Three or more ranges make ``re`` look a character up in a table instead of comparing
#: it with each, which halves the time; the characters added for that (DEL, NUL) only send a line the general way.
_PLAIN = r'([^\x00-\x20"\x7f]*+)'
_QUOTED = r'"([^"\\\x00\x7f]*+)"'
#: Shapes remembered; a line's shape is looked up by its first key and its number of ``=``.
_MAX_SHAPES = 512
#: Above this a shape's expression costs more to compile than it saves.
_MAX_SHAPE_KEYS = 64

#: Finds a pair at the beginning of a line.
looks_like_logfmt = re.compile(r"[\x00-\x20]*+[A-Za-z_@][A-Za-z0-9_.@/\-]*+=").match
_Match = Callable[[str], re.Match[str] | None]


def _unescape(match: re.Match[str]) -> str:
    text = match[1]
    if len(text) == 5:
        return chr(int(text[1:], 16))
    return _PLAIN_ESCAPES.get(text, text)


def unquote(text: str) -> str:
    """Return what stood between quotes without its escapes."""
    return _ESCAPE.sub(_unescape, text)


class LogfmtParser:
    """Parses lines and remembers their shapes. Not thread-safe: one per pipeline."""

    def __init__(self) -> None:
        self._shapes: OrderedDict[tuple[str, int], tuple[_Match, Keys]] = OrderedDict()

    def parse(self, line: str) -> Parsed | None:
        """Return the pairs of a line, or None when it is prose with a pair at its front. Raises OverBound."""
        if len(line) > MAX_LINE_CHARS:
            raise OverBound
        bucket = (line[: line.find("=")], line.count("="))
        known = self._shapes.get(bucket)
        if known is not None and (match := known[0](line)):
            return known[1], match.groups()
        return self._parse_pairs(line, bucket)

    def _parse_pairs(self, line: str, bucket: tuple[str, int]) -> Parsed | None:
        pairs: list[tuple[str, Any]] = []
        regular = True
        bare = 0
        text = line.strip(_BLANKS)
        at = 0
        while at < len(text):
            match = _PAIR.match(text, at)
            if match is None:
                return None
            at = match.end()
            key, quoted, plain = match.groups()
            if quoted is not None:
                if "\\" in quoted:
                    regular = False
                    quoted = unquote(quoted)
                pairs.append((key, quoted))
            elif plain is not None:
                pairs.append((key, plain))
            else:
                # Words without "=" are flags; a line with as many of them as pairs is prose, and its words are no keys.
                bare += 1
                pairs.append((key, True))
        if bare * 2 >= len(pairs):
            return None
        if len(pairs) > MAX_KEYS:
            raise OverBound
        keys = tuple(key for key, _ in pairs)
        if len(set(keys)) < len(keys):
            return collect(pairs)
        if regular and not bare and len(keys) <= _MAX_SHAPE_KEYS:
            self._learn(line, bucket, keys)
        return keys, tuple(value for _, value in pairs)

    def _learn(self, line: str, bucket: tuple[str, int], keys: Keys) -> None:
        parts: list[str] = []
        at = 0
        for key in keys:
            at = line.find(f"{key}=", at) + len(key) + 1
            quoted = line[at : at + 1] == '"'
            parts.append(f"{re.escape(key)}={_QUOTED if quoted else _PLAIN}")
        pattern = re.compile(" ".join(parts))
        if pattern.fullmatch(line) is None:
            return  # other white space, or a key inside a value: the general way is right
        self._shapes[bucket] = (pattern.fullmatch, keys)
        self._shapes.move_to_end(bucket)
        if len(self._shapes) > _MAX_SHAPES:
            self._shapes.popitem(last=False)
