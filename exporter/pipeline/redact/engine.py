"""Find what rules match in a block of many texts, and cut it out in one splice.

The scheme (measured in the project's notes on redaction): join all texts of a batch, encode once, let the scanner name
candidates, take exact spans only there, resolve overlaps over spans of the *original* text, splice once. Never one rule
after the other: the second would see the masks of the first. A text without a hit leaves as the very object that came.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, repeat
from operator import itemgetter

from exporter.errors import Finding, RedactionFailed
from exporter.pipeline.redact.actions import Action, DropEvent, Keep
from exporter.pipeline.redact.decoded import decoded_view, escape_patterns
from exporter.pipeline.redact.rules import EXACT_LIMIT_BYTES, Rule
from exporter.pipeline.redact.scan import Hit, Scanner, ScanPattern, best_scanner

#: First try of the walk back; nearly every match starts within it.
_NEAR_BYTES = 256
#: Passes after which :meth:`Redactor.settled` gives up. Two are rare, more were never seen outside of tests.
_MAX_PASSES = 8
#: Between texts of a block. A line break, which no rule crosses; the longer ones only where texts hold line breaks.
_SEPARATORS = ("\n", "\n\x00\n", "\n\x01\n", "\n\x00\x02\n", "\n\x03\x01\n")

#: start and end offset, rule index
Span = tuple[int, int, int]
#: Yields where in ``block[start:stop]`` a rule matches.
LineFinder = Callable[[bytes, int, int], Iterable[tuple[int, int]]]
#: Told all (kind, text) of a block that pseudonyms are needed for, before any of them is asked for.
Learn = Callable[[Iterable[tuple[str, bytes]]], None]


def mend_surrogates(text: str) -> str:
    r"""Return text that UTF-8 can hold: pairs of surrogates joined, lone ones as U+FFFD. Loki writes labels without UTF-8
    repair and JSON may say ``\ud800``.
    """
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@dataclass(slots=True, repr=False)
class Redacted:
    """Outcome of one block: ``texts`` in order, ``changed`` the ascending indices of those with a hit, ``dropped`` of
    those whose event must not leave.
    """

    texts: list[str]
    changed: Sequence[int] = ()
    dropped: frozenset[int] = frozenset()


class Redactor:
    """The compiled rules of one tenant. Thread-safe; holds no text.

    Raises ValueError when a scan pattern does not compile.
    """

    def __init__(self, rules: Sequence[Rule], scanner: Scanner | None = None, learn: Learn | None = None) -> None:
        self.rules = tuple(rules)
        self.scanner = scanner or best_scanner(scan_patterns(rules))
        self._replace = [rule.action.replace for rule in rules]
        self._fixed = [rule.action.fixed for rule in rules]
        self._kinds = [rule.action.kind for rule in rules]
        self._learn = learn if any(self._kinds) else None
        self._kept = {i for i, rule in enumerate(rules) if isinstance(rule.action, Keep)}
        self._drops = {i for i, rule in enumerate(rules) if isinstance(rule.action, DropEvent)}

    @property
    def dropping(self) -> frozenset[str]:
        """Names of the rules whose events must not leave."""
        return frozenset(self.rules[index].name for index in self._drops)

    def acting(self, actions: Sequence[Action], learn: Learn | None) -> Redactor:
        """Return a redactor of the same rules and scanner with other actions, one a rule."""
        rules = [replace(rule, action=action) for rule, action in zip(self.rules, actions, strict=True)]
        return Redactor(rules, self.scanner, learn)

    def alone(self, index: int) -> Redactor:
        """Return a redactor in which only one rule acts."""
        return Redactor(self.rules, _OneRule(self.scanner, (index, len(self.rules))))

    def spans(self, block: bytes, separator: bytes) -> list[Span]:
        """Return exact spans in order, overlapping ones united under the longest one's rule.

        ``separator`` stands between the texts of the block and must end with a line break.
        """
        hits = self.scanner.scan(block)
        if not hits:
            return []
        hits.sort()
        found: list[Span] = []
        for index, of_rule in groupby(hits, itemgetter(0)):
            if index in self._kept:
                continue
            if index == len(self.rules):
                self._decoded(block, of_rule, found)
            else:
                self._exact(block, separator, index, of_rule, found)
        if len(found) > 1:
            found.sort()
            found = _united(found)
        return found

    def _decoded(self, block: bytes, escapes: Iterable[Hit], found: list[Span]) -> None:
        """Add what rules match in lines with escapes once those are decoded."""
        view = decoded_view(block, [end for _, _, end in escapes])
        hits = [hit for hit in self.scanner.scan(view.text) if hit[0] < len(self.rules) and hit[0] not in self._kept]
        hits.sort()
        inside: list[Span] = []
        for index, of_rule in groupby(hits, itemgetter(0)):
            self._exact(view.text, b"\n", index, of_rule, inside)
        found.extend((*view.original(first, last), index) for first, last, index in inside)

    def _exact(self, block: bytes, separator: bytes, index: int, hits: Iterable[Hit], found: list[Span]) -> None:
        """Add the matches of one rule around its candidates, which come in the order of their ends (or starts)."""
        rule = self.rules[index]
        if rule.find is not None:
            _whole_lines(block, separator, index, rule.find, hits, found)
            return
        matching, group, reach, validate = rule.search.match, rule.group, rule.reach, rule.validate
        start_known, ahead, find, add = rule.start_known, rule.ahead, block.find, found.append
        done = 0  # how far this rule is through with the block, so that no stretch is searched twice
        run_start = run_end = 0  # the stretch of reach characters before the last candidate
        for _, start, end in hits:
            if end <= done:
                continue
            if not start_known:
                low = end - _NEAR_BYTES if end > _NEAR_BYTES else 0
                start = low + len(block[low:end].rstrip(reach))  # noqa: PLW2901
                if start + _NEAR_BYTES <= end:
                    # Without remembering the run, a line of nothing but candidates would cost the square of its length.
                    start = run_start if run_end >= start else _far_back(block, end, reach)  # noqa: PLW2901
                run_start, run_end = start, end
            stop = find(separator, end - 1, end + ahead)
            if stop < 0:
                stop = end + ahead  # beyond the block does no harm
            at = max(start, done)
            # Tried place by place, for a search would go on to the end of the text when nothing begins before `end`.
            while at < end and (
                match := matching(block, at, stop)
                or next(filter(None, map(matching, repeat(block), range(at + 1, end), repeat(stop))), None)
            ):
                first, last = match.span(group)
                if validate is not None:
                    last = first + validate(block[first:last])
                if last > first:
                    add((first, last, index))
                    at = last
                else:
                    at = match.start() + 1
            done = max(at, end)

    def redact(self, texts: Sequence[str], counts: dict[str, int]) -> Redacted:
        """Redact texts, adding to ``counts`` by rule. One text out for each in; line breaks inside a text are kept."""
        if not texts:
            return Redacted([])
        separator, block, texts = _joined(texts)
        raw = block.encode()
        spans = self.spans(raw, separator.encode())
        if not spans:
            return Redacted(list(texts))
        if self._learn is not None:
            self._learn_spans(raw, spans)
        gap = len(separator)
        sizes = map(len, texts) if block.isascii() else [len(text.encode()) for text in texts]
        ends = list(accumulate(map(gap.__add__, sizes)))
        out = list(texts)
        changed: list[int] = []
        pieces: list[bytes] = []
        replace, fixed = self._replace, self._fixed
        at = limit = row = 0
        for first, last, index in spans:
            if first >= limit:
                if pieces:
                    pieces.append(raw[at : limit - gap])
                    out[row] = b"".join(pieces).decode("utf-8", "replace")
                row = bisect_right(ends, first, row)
                changed.append(row)
                at, limit = (ends[row - 1] if row else 0), ends[row]
                pieces = []
            if last > limit - gap:
                raise RedactionFailed("a rule matches across texts", hint="mend its pattern")
            pieces += raw[at:first], fixed[index] or replace[index](raw[first:last])
            at = last
        pieces.append(raw[at : limit - gap])
        # A span never cuts a UTF-8 sequence: patterns take whole ones (tested); should a foreign pack do it, replace.
        out[row] = b"".join(pieces).decode("utf-8", "replace")
        for index, number in sorted(Counter(map(itemgetter(2), spans)).items()):
            name = self.rules[index].name
            counts[name] = counts.get(name, 0) + number
        drops = self._drops
        dropped = frozenset(bisect_right(ends, first) for first, _, index in spans if index in drops) if drops else ()
        return Redacted(out, changed, frozenset(dropped))

    def _learn_spans(self, raw: bytes, spans: Sequence[Span]) -> None:
        kinds = self._kinds
        wanted = {(kind, raw[first:last]) for first, last, index in spans if (kind := kinds[index]) is not None}
        if wanted and self._learn is not None:
            self._learn(wanted)

    def replacement(self, index: int, text: str) -> str:
        """Return what a rule puts in the place of a text that it was not asked to find."""
        raw = mend_surrogates(text).encode()
        if self._learn is not None and (kind := self._kinds[index]) is not None:
            self._learn([(kind, raw)])
        return (self._fixed[index] or self._replace[index](raw)).decode("utf-8", "replace")

    def settled(self, texts: Sequence[str], counts: dict[str, int]) -> Redacted:
        """Redact until nothing is found any more. A mask can be the edge that another match was waiting for (two addresses
        written without anything between them); on the hot path the exit scan finds those. Raises RedactionFailed.
        """
        done = self.redact(texts, counts)
        rows = list(done.changed)
        for _ in range(_MAX_PASSES):
            if not rows:
                return done
            again = self.redact([done.texts[row] for row in rows], counts)
            for row, text in zip(rows, again.texts, strict=True):
                done.texts[row] = text
            if again.dropped:
                done.dropped |= {rows[position] for position in again.dropped}
            rows = [rows[position] for position in again.changed]
        raise RedactionFailed("redaction does not come to an end", hint="a rule takes its own mask for data")

    def has_hit(self, text: str) -> bool:
        """Tell whether any rule matches."""
        return bool(self.spans(text.encode(), b"\n"))


class _OneRule:
    """A scanner that reports the candidates of one rule, and escapes."""

    def __init__(self, scanner: Scanner, indices: tuple[int, int]) -> None:
        self._scanner, self._indices = scanner, indices

    def scan(self, block: bytes) -> list[Hit]:
        return [hit for hit in self._scanner.scan(block) if hit[0] in self._indices]


def scan_patterns(rules: Sequence[Rule]) -> list[ScanPattern]:
    """Return what a scanner for these rules has to look for; escapes count as one rule more."""
    wanted = [pattern for index, rule in enumerate(rules) for pattern in rule.scan_patterns(index)]
    return wanted + escape_patterns(len(rules))


def _whole_lines(
    block: bytes, separator: bytes, index: int, find: LineFinder, hits: Iterable[Hit], found: list[Span]
) -> None:
    """Add what a rule finds in the lines that hold its candidates, each line once."""
    done = 0
    for _, _, end in hits:
        if end <= done:
            continue
        start = max(block.rfind(b"\n", 0, end - 1) + 1, done, end - EXACT_LIMIT_BYTES)
        stop = block.find(separator, end - 1, end + EXACT_LIMIT_BYTES)
        done = stop if stop >= 0 else min(end + EXACT_LIMIT_BYTES, len(block))
        found.extend((first, last, index) for first, last in find(block, start, done))


def _far_back(block: bytes, end: int, reach: bytes) -> int:
    far = block[max(0, end - EXACT_LIMIT_BYTES) : end]
    return end - len(far) + len(far.rstrip(reach))


def _united(spans: list[Span]) -> list[Span]:
    out = [spans[0]]
    for span in spans[1:]:
        first, last, _ = out[-1]
        if span[0] >= last:
            out.append(span)
            continue
        longer = span if span[1] - span[0] > last - first else out[-1]
        out[-1] = (first, max(last, span[1]), longer[2])
    return out


def _joined(texts: Sequence[str]) -> tuple[str, str, Sequence[str]]:
    """Return the separator, the block, and the texts as they stand in it (mended where UTF-8 cannot hold them)."""
    for separator in _SEPARATORS:
        block = separator.join(texts)
        if block.count(separator) == len(texts) - 1:
            break
    else:
        # Texts that hold every separator are hostile: make one from characters that no text has beside each other.
        number = 4
        while any(f"\n\x00{number}\x00\n" in text for text in texts):
            number += 1
        separator = f"\n\x00{number}\x00\n"
        block = separator.join(texts)
    if not block.isascii():
        try:
            block.encode()
        except UnicodeEncodeError:
            texts = [mend_surrogates(text) for text in texts]
            block = separator.join(texts)
    return separator, block, texts


def sample_findings(redactor: Redactor, path: str) -> list[Finding]:
    """Run the samples of every rule, with only that rule, and look that no rule takes a mask for data."""
    findings: list[Finding] = []
    for index, rule in enumerate(redactor.rules):
        alone = redactor.alone(index)
        where = f"{path}: rule {rule.name!r}"
        mask = rule.action.replace(b"").decode()
        for number, sample in enumerate(rule.samples.match):
            before, *marked = sample.split("«")
            expected = before + "".join(mask + part.partition("»")[2] for part in marked)
            if alone.redact([sample.replace("«", "").replace("»", "")], {}).texts != [expected]:
                findings.append(Finding(where, f"sample match[{number}] fails", "Mend the pattern or the sample."))
        for number, sample in enumerate(rule.samples.passes):
            if alone.redact([sample], {}).changed:
                findings.append(Finding(where, f"sample pass[{number}] is redacted", "Mend the pattern or the sample."))
        around = [mask, f"{mask}=Zq1{mask}", f'"{mask}":"{mask}"', f"{mask}: Zq1x {mask}@{mask}", f"1{mask}2"]
        if any(redactor.has_hit(text) for text in around):
            findings.append(Finding(where, "a rule takes its mask for data", "Choose another name for the rule."))
    return findings
