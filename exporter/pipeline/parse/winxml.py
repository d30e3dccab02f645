"""Windows event XML: ``<Event><System>…</System><EventData><Data Name="…">…</Data></EventData></Event>``.

expat with document types refused: without a DTD there are no entities, so nothing expands and nothing is fetched (billion
laughs, external entities). System's members keep their names (``EventID``, ``Provider.Name``), those of EventData and
UserData theirs. Source: Microsoft, "Event schema" (eventcons, ``System``, ``EventData``).
"""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

from exporter.pipeline.parse import MAX_DEPTH, MAX_KEYS, OverBound, Parsed
from exporter.pipeline.parse.fields import bound, collect


class _Refused(Exception):
    """The document holds what events do not hold, such as a document type."""


def parse_winxml(line: str) -> Parsed | None:
    """Return the members of an event, or None when it is no well-formed one. Raises OverBound."""
    bound(line)
    reader = _Reader()
    try:
        reader.parse(line)
    except (expat.ExpatError, _Refused, UnicodeError):
        return None
    return collect(reader.pairs) if reader.root == "Event" and reader.pairs else None


class _Reader:
    """Collects pairs as expat tells of elements."""

    def __init__(self) -> None:
        self.root = ""
        self.pairs: list[tuple[str, Any]] = []
        self._path: list[str] = []
        self._names: list[str] = []  # of Data elements
        self._text: list[str] = []
        self._parser = expat.ParserCreate(encoding="utf-8")
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text.append

    def parse(self, text: str) -> None:
        self._parser.Parse(text.encode(), True)

    def _refuse(self, *_: object) -> None:
        raise _Refused

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if not self._path:
            self.root = name
        self._path.append(name)
        if len(self._path) > MAX_DEPTH or len(self.pairs) > MAX_KEYS:
            raise OverBound
        self._names.append(attributes.get("Name", name) if name in {"Data", "ComplexData"} else name)
        self._text.clear()
        if len(self._path) == 3 and self._path[1] == "System":
            self.pairs += [(f"{name}.{key}", value) for key, value in attributes.items()]

    def _end(self, _: str) -> None:
        text = "".join(self._text).strip()
        self._text.clear()
        depth = len(self._path)
        name = self._names.pop()
        # Depth 3 is a member of System, EventData or RenderingInfo; UserData has one element of the provider's between.
        if text and depth >= 3:
            section = self._path[1]
            self.pairs.append((f"RenderingInfo.{name}" if section == "RenderingInfo" else name, text))
        self._path.pop()
