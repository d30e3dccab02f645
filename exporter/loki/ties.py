"""More entries on one nanosecond than a page may hold.

Time cannot be cut further and Loki has no cursor, so the nanosecond is cut by stream, then by line filters in pairs that
are disjoint and exhaustive (``|~ re`` and ``!~ re``: whatever Loki's regex means by ``re``, each line matches exactly one of
the two), and as a last resort read from both ends, which is whole if the two halves overlap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.domain.entries import StreamEntries
from exporter.loki.selector import exact_matchers, quote, re_escape, with_matchers

#: Filters in a row at most. Halving 10**6 lines needs 20; skewed choices some more.
_MAX_FILTERS = 48
#: Lines of a page and characters of a line that are looked at to choose a filter: enough to halve well, cheap.
_SAMPLE_LINES, _SAMPLE_CHARS = 256, 4000
#: RE2 takes at most this count in one repetition (re2 syntax, "Implementation restriction").
_MAX_REPEAT = 1000


@dataclass(slots=True, repr=False)
class Answer:
    """One page of a tie: its entries, and whether a source was cut."""

    entries: list[StreamEntries]
    cut: bool


#: ``(selector, filters, direction) → Answer``; raises only errors that end the attempt.
AskTie = Callable[[str, str, str], Awaitable[Answer]]


@dataclass(slots=True, repr=False)
class Tie:
    """What was read of one nanosecond. ``blocked`` counts the parts that could not be read whole."""

    entries: list[StreamEntries] = field(default_factory=list)
    blocked: int = 0


async def read_tie(selector: str, series: Sequence[Mapping[str, str]], ask: AskTie) -> Tie:
    """Read one nanosecond of ``selector`` whose streams are among ``series``."""
    tie = Tie()
    names = {name for labels in series for name in labels}
    exact = [with_matchers(selector, exact_matchers(dict(labels), names)) for labels in series]
    for one in exact or [selector]:
        await _read(one, (), ask, tie)
    return tie


async def _read(selector: str, filters: tuple[str, ...], ask: AskTie, tie: Tie) -> None:
    answer = await ask(selector, "".join(filters), "forward")
    if not answer.cut:
        tie.entries += answer.entries
        return
    pattern = halving_pattern([line for stream in answer.entries for line in stream.lines])
    matching = f" |~ {quote(pattern or '')}"
    if pattern is not None and matching not in filters and len(filters) < _MAX_FILTERS:
        await _read(selector, (*filters, matching), ask, tie)
        await _read(selector, (*filters, f" !~ {quote(pattern)}"), ask, tie)
        return
    backward = await ask(selector, "".join(filters), "backward")
    tie.entries += answer.entries + backward.entries
    if backward.cut and not _overlap(answer.entries, backward.entries):
        tie.blocked += 1


def _overlap(left: list[StreamEntries], right: list[StreamEntries]) -> bool:
    seen = {event_id for stream in left for event_id in stream.event_ids}
    return any(event_id in seen for stream in right for event_id in stream.event_ids)


def halving_pattern(lines: Sequence[str]) -> str | None:
    """Return an RE2 pattern that about half of the distinct sample lines match, or ``None`` without lines.

    It asks for one character at one place, so it stays short however long the lines are. When all lines of the page are
    equal (copies of a retried push can fill it), it asks for that line, so that the others can be reached.
    """
    distinct = sorted(set(lines))
    if len(distinct) < 2:
        return "(?s)^" + re_escape(distinct[0][:_SAMPLE_CHARS]) if distinct else None
    # The common prefix of a sorted list is that of its ends; what differs starts behind it.
    start = _common_length(distinct[0], distinct[-1])
    step = -(-len(distinct) // _SAMPLE_LINES)
    sample = distinct[:: min(step, len(distinct) - 1)]
    if _common_length(sample[0], sample[-1]) > start:
        sample = [distinct[0], distinct[-1]]
    best, place, chosen = 0, 0, ""
    for position in range(start, start + _SAMPLE_CHARS):
        matched, chars = _lower_half(sample, position)
        balance = min(matched, len(sample) - matched)
        if balance > best:
            best, place, chosen = balance, position, chars
        # A third is good enough: the search ends early, and the depth grows by less than one filter in two.
        if best * 3 >= len(sample) - 1:
            break
    return "(?s)^" + _any_chars(place) + _char_class(chosen)


def _common_length(left: str, right: str) -> int:
    """Length of the common prefix."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))


def _lower_half(sample: Sequence[str], position: int) -> tuple[int, str]:
    """Return how many lines hold, at ``position``, one of the lower characters, and these characters."""
    chars = Counter(line[position] for line in sample if len(line) > position)
    matched, taken = 0, ""
    for char, count in sorted(chars.items()):
        if taken and 2 * matched + count > len(sample):
            break
        taken, matched = taken + char, matched + count
    return matched, taken


def _any_chars(count: int) -> str:
    whole, rest = divmod(count, _MAX_REPEAT)
    return f".{{{_MAX_REPEAT}}}" * whole + (f".{{{rest}}}" if rest else "")


def _char_class(chars: str) -> str:
    """A class of the characters from the first to the last: what lies between them may match too, it stays one of two
    halves.
    """
    low, high = re_escape_in_class(chars[0]), re_escape_in_class(chars[-1])
    return f"[{low}-{high}]" if chars[0] != chars[-1] else f"[{low}]"


def re_escape_in_class(char: str) -> str:
    """Escape one character for a class; control characters are written by code."""
    if ord(char) < 0x20 or 0xD800 <= ord(char) <= 0xDFFF:
        return f"\\x{{{min(ord(char), 0xD7FF):x}}}"
    return "\\" + char if char in "-&~" else re_escape(char)
