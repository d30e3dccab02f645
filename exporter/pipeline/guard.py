"""The exit scan of a target: the final bytes, after schema mapping, once more past the tenant's rules.

What the reader's own exit scan let pass with the tenant's policy may leave, under whatever name and in whatever order a schema
has it. What a mapping joined, cut, decoded or invented is looked at as what it is. Nothing is mended here: what is found is held
back. So no rule's action is ever carried out, and no store of pseudonyms is asked.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import orjson

from exporter.domain.events import event_id_of, time_ns_of
from exporter.errors import RedactionFailed
from exporter.pipeline.redact.actions import Keep, Mask, mark
from exporter.pipeline.redact.engine import Redactor
from exporter.pipeline.redact.values import ValueRedactor

#: Members that are ours, not the data's: digests and a time, whose digits may look like a card number.
_OURS = ("event.id", "time", "policy.id", "loki.stream")


class ExitGuard:
    """See ``connectors.base.Guard``. ``redactor``: the acting one of the tenant's policy. Not thread-safe."""

    def __init__(self, redactor: Redactor) -> None:
        finding = [rule.action if isinstance(rule.action, Keep) else Mask(mark(rule.label)) for rule in redactor.rules]
        self._redactor = redactor.acting(finding, None)
        self._values = ValueRedactor(self._redactor)

    def hits(self, bodies: Sequence[bytes], canonical: Sequence[bytes]) -> list[int]:
        """Return the ascending places of bodies that must not leave; ``canonical`` are the events they were made from."""
        spans = self._redactor.spans(b"\n".join(bodies), b"\n")
        if not spans:
            return []
        ends = list(accumulate(len(body) + 1 for body in bodies))
        found = dict.fromkeys(bisect_right(ends, first) for first, _, _ in spans)
        return [index for index in found if self._is_hit(bodies[index], canonical[index])]

    def _is_hit(self, body: bytes, event: bytes) -> bool:
        """Tell whether a key or a value holds what the rules remove. A hit that is in none was made by the encoding, as
        ``"password:","`` out of the end of one text and the beginning of the next.
        """
        if not self._redactor.spans(_without_own(body, event), b"\n"):
            return False
        try:
            canonical = _decoded(event)
            own = [canonical.pop(key) for key in _OURS if key in canonical]
            if self._is_unaccepted(canonical):
                return True
            if body == event:
                return False
            time_ns = time_ns_of(event)
            # The units of time that a schema may want; the rest of it is text with signs in between.
            known = {*_texts_of(canonical), *map(_text_of, own), str(time_ns // 1_000), str(time_ns // 1_000_000)}
            return self._finds(_unknown(_decoded(body), known))
        except (ValueError, RecursionError, RedactionFailed):
            return True  # fail closed

    def _is_unaccepted(self, canonical: dict[str, Any]) -> bool:
        """Tell whether the reader's exit scan would not have let this event pass: first as it is encoded, then by value."""
        encoded = json.dumps(canonical, ensure_ascii=False, separators=(",", ":")).encode()
        return bool(self._redactor.spans(encoded, b"\n")) and self._finds(canonical)

    def _finds(self, value: Any) -> bool:
        return bool(self._values.redact(value, {}) != value)


def _without_own(body: bytes, event: bytes) -> bytes:
    """Return a body without our own id and time, to tell cheaply that nothing else was found."""
    digits = b"%d" % time_ns_of(event)
    body = body.replace(event_id_of(event).encode(), b"")
    for cut in (None, -6):
        body = body.replace(b":" + digits[:cut] + b",", b":0,")
    return body


def _decoded(event: bytes) -> dict[str, Any]:
    """Return an encoded event. Raises ValueError, also for a name that stands twice, of which one would go unseen."""
    # Not orjson: integers of any size stay exact.
    decoded: dict[str, Any] = json.loads(event, object_pairs_hook=_each_once)
    return decoded


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return members


def _text_of(value: Any) -> str:
    return value if type(value) is str else repr(value)


def _texts_of(value: Any) -> Iterator[str]:
    """Yield every key, text and number."""
    if type(value) is dict:
        for key, item in value.items():
            yield key
            yield from _texts_of(item)
    elif type(value) is list:
        for item in value:
            yield from _texts_of(item)
    elif value is not None and type(value) is not bool:
        yield _text_of(value)


def _unknown(value: Any, known: set[str]) -> Any:
    """Return what there is in a mapped value beyond the texts of its event; an empty text stands for what is known."""
    if type(value) is dict:
        left = {key: _unknown(item, known) for key, item in value.items()}
        return "" if known.issuperset(left) and _is_bare(left.values()) else left
    if type(value) is list:
        items = [_unknown(item, known) for item in value]
        return "" if _is_bare(items) else items
    if value is None or type(value) is bool:
        return value
    text = _text_of(value)
    if text in known:
        return ""
    if type(value) is str and value[:1] in {"{", "["}:
        return _unknown_of_json(value, known)
    return value


def _unknown_of_json(text: str, known: set[str]) -> Any:
    """Return the same for JSON as text, if it is such as the schemas write; any other text is looked at as a text."""
    try:
        decoded = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return _unknown(decoded, known) if orjson.dumps(decoded).decode() == text else text


def _is_bare(items: Any) -> bool:
    return all(item is None or item == "" or type(item) is bool for item in items)
