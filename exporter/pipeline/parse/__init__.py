"""Line formats, one module each.

A parser takes a line and returns its keys and values as two tuples of equal length, or None: it declines, and the line
leaves whole as a log event. The choice is made per line from the line alone, not from what the stream sent before: one
container mixes start-up text with JSON, and a replay must build the same event whatever came first.
"""

from __future__ import annotations

from typing import Any

Keys = tuple[str, ...]
#: Keys and values of a line, as one format's parser reads them.
Parsed = tuple[Keys, tuple[Any, ...]]
#: The same behind the name of the source, which says whose vocabulary the keys are (``exporter.pipeline.normalise``).
Sourced = tuple[str, Keys, tuple[Any, ...]]

#: Bounds of what is parsed. A line beyond them leaves whole and flagged (``metadata.is_truncated``).
MAX_LINE_CHARS = 65_536
MAX_KEYS = 512
MAX_DEPTH = 32


class OverBound(Exception):
    """The line is readable but larger than the bounds above."""
