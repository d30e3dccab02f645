r"""IBM Log Event Extended Format: ``LEEF:1.0|vendor|product|version|id|key=value<tab>…``, in 2.0 with the delimiter as a
sixth header field, as a character or its code (``^``, ``x09``, ``0x5E``).

Source: IBM QRadar "LEEF overview". Without a delimiter the tab stands between attributes.
"""

from __future__ import annotations

import re

from exporter.pipeline.parse import Parsed
from exporter.pipeline.parse.fields import bound, collect

_HEADER = re.compile(r"LEEF: ?(1\.0|2\.0|1|2)\|([^|]*+)\|([^|]*+)\|([^|]*+)\|([^|]*+)\|")
_HEADER_KEYS = ("leef.version", "vendor", "product", "version", "eventId")
#: The sixth header field of 2.0; it is there when it is empty, one character, or a code, and a pipe follows.
_DELIMITER = re.compile(r"(?:(0?[xX][0-9A-Fa-f]{1,4})|(\\t|[^|A-Za-z0-9])|)\|")
_KEY = re.compile(r"[^\s=]{1,256}+=")


def parse_leef(line: str) -> Parsed | None:
    """Return header and attributes of a record, or None when this is none. Raises OverBound."""
    match = _HEADER.match(line)
    if match is None:
        return None
    bound(line)
    delimiter, at = "\t", match.end()
    if match[1].startswith("2") and (found := _DELIMITER.match(line, at)):
        at = found.end()
        if found[1]:
            delimiter = chr(int(found[1].lower().rpartition("x")[2], 16))
        elif found[2] and found[2] != "\\t":
            delimiter = found[2]
    pairs = list(zip(_HEADER_KEYS, match.groups(), strict=True))
    return collect(pairs + _attributes(line[at:], delimiter))


def _attributes(text: str, delimiter: str) -> list[tuple[str, str]]:
    """Split attributes; a part without a key belongs to the value before it, which held the delimiter."""
    pairs: list[tuple[str, list[str]]] = []
    for part in text.split(delimiter):
        key = _KEY.match(part.lstrip()) if part else None
        if key is not None:
            name, _, value = part.partition("=")
            pairs.append((name.strip(), [value]))
        elif pairs:
            pairs[-1][1].append(part)
        elif part.strip():
            pairs.append(("leef.attributes", [part]))
    return [(name, delimiter.join(parts)) for name, parts in pairs]
