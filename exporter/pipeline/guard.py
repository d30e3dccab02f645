"""The exit scan of a target: the final bytes, after schema mapping, once more past the tenant's rules.

A mapping joins and re-encodes what was clean apart, so its result is looked at as what it is. Nothing is mended here: what is
found is held back.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from exporter.domain.events import event_id_of, time_ns_of
from exporter.errors import RedactionFailed
from exporter.pipeline.redact.engine import Redactor
from exporter.pipeline.redact.values import ValueRedactor


class ExitGuard:
    """See ``connectors.base.Guard``. Not thread-safe."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._values = ValueRedactor(redactor)

    def hits(self, bodies: Sequence[bytes], canonical: Sequence[bytes]) -> list[int]:
        """Return the ascending places of bodies that must not leave; ``canonical`` are the events they were made from."""
        spans = self._redactor.spans(b"\n".join(bodies), b"\n")
        if not spans:
            return []
        ends = list(accumulate(len(body) + 1 for body in bodies))
        found = dict.fromkeys(bisect_right(ends, first) for first, _, _ in spans)
        return [index for index in found if self._is_hit(bodies[index], canonical[index])]

    def _is_hit(self, value: bytes, head: bytes) -> bool:
        """Tell whether a key or a value holds what the rules remove. A hit that is in none was made by the encoding, as
        ``"password:","`` out of the end of one text and the beginning of the next; ours are the id and the time, whose
        digits may look like a card number in any of their units.
        """
        if not self._redactor.spans(_without_own(value, head), b"\n"):
            return False
        try:
            decoded: Any = json.loads(value)
            rest = _blank(decoded, {time_ns_of(head), time_ns_of(head) // 1_000_000}, event_id_of(head))
            return bool(self._values.redact(rest, {}) != rest)
        except (ValueError, RecursionError, RedactionFailed):
            return True  # fail closed


def _without_own(value: bytes, head: bytes) -> bytes:
    digits = b"%d" % time_ns_of(head)
    value = value.replace(event_id_of(head).encode(), b"")
    for cut in (None, -6):
        value = value.replace(b":" + digits[:cut] + b",", b":0,")
    return value


def _blank(value: Any, own: set[int], event_id: str) -> Any:
    """Return a value without our own id and times."""
    if type(value) is dict:
        return {key: _blank(item, own, event_id) for key, item in value.items()}
    if type(value) is list:
        return [_blank(item, own, event_id) for item in value]
    if type(value) is int and value in own:
        return 0
    return "" if value == event_id else value
