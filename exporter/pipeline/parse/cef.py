r"""ArcSight Common Event Format (``CEF:0|vendor|product|version|id|name|severity|key=value …``).

Source: ArcSight "Common Event Format Implementation Standard": in the header ``|`` and ``\`` are escaped, in values ``=``,
``\`` and line ends. A value may hold blanks, so it ends where the next ``key=`` begins. Keys are returned as the format
names them; ``cs1`` with ``cs1Label`` comes under the label's text.
"""

from __future__ import annotations

import re

from exporter.pipeline.parse import Parsed
from exporter.pipeline.parse.fields import bound, collect

_HEADER = re.compile(
    r"CEF: ?([0-9.]{1,8}+)\|" + r"([^|\\]*+(?:\\.[^|\\]*+)*+)\|" * 5 + r"([^|\\]*+(?:\\.[^|\\]*+)*+)(?:\||$)"
)
_HEADER_KEYS = (
    "cef.version",
    "deviceVendor",
    "deviceProduct",
    "deviceVersion",
    "deviceEventClassId",
    "name",
    "deviceSeverity",
)
#: A key and its equals sign, which no backslash escapes. The lookbehind keeps each key to one attempt.
_KEY = re.compile(r"(?<![^\s])([A-Za-z0-9_][A-Za-z0-9_.,\[\]\-]*+)=")
_HEADER_ESCAPE = re.compile(r"\\([|\\])")
_VALUE_ESCAPE = re.compile(r"\\([=\\nr|])")
_LINE_ENDS = {"n": "\n", "r": "\r"}


def parse_cef(line: str) -> Parsed | None:
    """Return header and extension of a record, or None when this is none. Raises OverBound."""
    match = _HEADER.match(line)
    if match is None:
        return None
    bound(line)
    header = [_HEADER_ESCAPE.sub(r"\1", value) for value in match.groups()]
    pairs = list(zip(_HEADER_KEYS, header, strict=True))
    return collect(_labelled(pairs + _extension(line[match.end() :])))


def _extension(text: str) -> list[tuple[str, str]]:
    keys = list(_KEY.finditer(text))
    if not keys:
        return [("cef.extension", text.strip())] if text.strip() else []
    pairs = [("cef.extension", text[: keys[0].start()].strip())] if text[: keys[0].start()].strip() else []
    ends = [match.start() - 1 for match in keys[1:]] + [len(text.rstrip())]
    for match, end in zip(keys, ends, strict=True):
        value = text[match.end() : max(match.end(), end)]
        pairs.append((match[1], _VALUE_ESCAPE.sub(_unescape, value) if "\\" in value else value))
    return pairs


def _unescape(match: re.Match[str]) -> str:
    return _LINE_ENDS.get(match[1], match[1])


def _labelled(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Give ``cs1`` the name that ``cs1Label`` says; a label without a value stays, so does a name that is taken."""
    values = dict(pairs)
    names = {
        key.removesuffix("Label"): label
        for key, label in pairs
        if key.endswith("Label") and label and label not in values and key.removesuffix("Label") in values
    }
    return [
        (names.get(key, key), value)
        for key, value in pairs
        if not (key.endswith("Label") and key.removesuffix("Label") in names)
    ]
