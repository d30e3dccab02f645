"""Which parser takes a line."""

from __future__ import annotations

from typing import Literal

from exporter.pipeline.parse import Parsed, Sourced
from exporter.pipeline.parse.access import parse_access
from exporter.pipeline.parse.json import parse_json
from exporter.pipeline.parse.logfmt import LogfmtParser, looks_like_logfmt

Format = Literal["auto", "json", "logfmt", "text"]


class LineParser:
    """Parses lines in the tenant's format, or (``auto``) in the one each line shows. Not thread-safe."""

    def __init__(self, wanted: Format) -> None:
        self._wanted = wanted
        self._logfmt = LogfmtParser()

    def parse(self, line: str) -> Sourced | None:
        """Return the source and the fields of a line, or None: it is text. Raises OverBound."""
        wanted = self._wanted
        if wanted == "auto":
            first = line[:1]
            if first == "{" or (first.isspace() and line.lstrip()[:1] == "{"):
                return _from("json", parse_json(line))
            if looks_like_logfmt(line):
                return _from("logfmt", self._logfmt.parse(line))
            return _from("access", parse_access(line))
        if wanted == "json":
            return _from("json", parse_json(line))
        return _from("logfmt", self._logfmt.parse(line)) if wanted == "logfmt" else None

    def is_declined(self, line: str) -> bool:
        """Tell whether a line that no parser took should have been taken by one."""
        if self._wanted == "auto":
            return line.lstrip()[:1] == "{"
        return self._wanted != "text"


def _from(source: str, parsed: Parsed | None) -> Sourced | None:
    return None if parsed is None else (source, *parsed)
