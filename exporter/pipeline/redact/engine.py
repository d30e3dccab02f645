"""Find what rules match in a block of many texts, and cut it out in one splice.

The scheme (measured in the project's notes on redaction): join all texts of a batch, encode once, let the scanner name
candidates, take exact spans only there, resolve overlaps over spans of the *original* text, splice once. Never one rule
after the other: the second would see the masks of the first. A text without a hit leaves as the very object that came.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from operator import itemgetter

from exporter.errors import Finding, RedactionFailed
from exporter.pipeline.redact.rules import Rule
from exporter.pipeline.redact.scan import Hit, Scanner, ScanPattern, best_scanner

#: The exact step looks at most this far from a candidate, to either side. It bounds what a hostile line can cost.
EXACT_LIMIT_BYTES = 65_536
#: First tries of the exact step, back and ahead; nearly every match lies within, and a false candidate costs no more.
_NEAR_BYTES = 256
_AHEAD_BYTES = 128
#: Between texts of a block. A line break, which no rule crosses; the longer ones only where texts hold line breaks.
_SEPARATORS = ("\n", "\n\x00\n", "\n\x01\n", "\n\x00\x02\n", "\n\x03\x01\n")

#: start and end offset, rule index
Span = tuple[int, int, int]


def mend_surrogates(text: str) -> str:
    r"""Return text that UTF-8 can hold: pairs of surrogates joined, lone ones as U+FFFD. Loki writes labels without UTF-8
    repair and JSON may say ``\ud800``.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@dataclass(slots=True, repr=False)
class Redacted:
    """Outcome of one block: ``texts`` in order, ``changed`` the ascending indices of those with a hit."""

    texts: list[str]
    changed: Sequence[int] = ()


class Redactor:
    """The compiled rules of one tenant. Thread-safe; holds no text.

    Raises ValueError when a scan pattern does not compile.
    """

    def __init__(self, rules: Sequence[Rule], scanner: Scanner | None = None) -> None:
        self.rules = tuple(rules)
        self.scanner = scanner or best_scanner(scan_patterns(rules))

    def alone(self, index: int) -> Redactor:
        """Return a redactor in which only one rule acts."""
        return Redactor(self.rules, _OneRule(self.scanner, index))

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
            self._exact(block, separator, index, of_rule, found)
        if len(found) > 1:
            found.sort()
            found = _united(found)
        return found

    def _exact(  # noqa: C901 (one loop on purpose: calls would cost more than the work)
        self, block: bytes, separator: bytes, index: int, hits: Iterable[Hit], found: list[Span]
    ) -> None:
        """Add the matches of one rule around its candidates, which come in the order of their ends (or starts)."""
        rule = self.rules[index]
        search, group, reach, validate = rule.search.search, rule.group, rule.reach, rule.validate
        start_known, find = rule.start_known, block.find
        done = 0  # how far this rule is through with the block, so that no stretch is searched twice
        for _, start, end in hits:
            if end <= done:
                continue
            if not start_known:
                near = block[end - _NEAR_BYTES : end] if end > _NEAR_BYTES else block[:end]
                start = end - len(near) + len(near.rstrip(reach))  # noqa: PLW2901
                if start + _NEAR_BYTES <= end:
                    start = _far_back(block, end, reach)  # noqa: PLW2901
            at = max(start, done)
            stop = find(separator, end - 1, end + _AHEAD_BYTES)
            if stop < 0:
                stop = _end_of_text(block, separator, end, _AHEAD_BYTES)
            done = end
            while match := search(block, at, stop):
                if match.end() == stop and stop - end < EXACT_LIMIT_BYTES:
                    # It may go on beyond the window: look again to the end of the text.
                    full = _end_of_text(block, separator, end, EXACT_LIMIT_BYTES)
                    if full != stop:
                        stop = full
                        continue
                first, last = match.span(group)
                if validate is not None:
                    used = validate(block[first:last])
                    if not used:
                        at = match.start() + 1
                        if at > end:
                            break
                        continue
                    last = first + used
                found.append((first, last, index))
                at = done = last if last > first else first + 1
                if at >= end:
                    break

    def redact(self, texts: Sequence[str], counts: dict[str, int]) -> Redacted:
        """Redact texts, adding to ``counts`` by rule. One text out for each in; line breaks inside a text are kept."""
        if not texts:
            return Redacted([])
        separator, block, texts = _joined(texts)
        raw = block.encode()
        spans = self.spans(raw, separator.encode())
        if not spans:
            return Redacted(list(texts))
        gap = len(separator)
        sizes = map(len, texts) if block.isascii() else [len(text.encode()) for text in texts]
        ends = list(accumulate(map(gap.__add__, sizes)))
        replace = [rule.action.replace for rule in self.rules]
        tally = [0] * len(self.rules)
        out = list(texts)
        changed: list[int] = []
        pieces: list[bytes] = []
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
            pieces.append(raw[at:first])
            pieces.append(replace[index](raw[first:last]))
            tally[index] += 1
            at = last
        pieces.append(raw[at : limit - gap])
        # A span never cuts a UTF-8 sequence: patterns take whole ones (tested); should a foreign pack do it, replace.
        out[row] = b"".join(pieces).decode("utf-8", "replace")
        for rule, number in zip(self.rules, tally, strict=True):
            if number:
                counts[rule.name] = counts.get(rule.name, 0) + number
        return Redacted(out, changed)

    def has_hit(self, text: str) -> bool:
        """Tell whether any rule matches."""
        return bool(self.spans(text.encode(), b"\n"))


class _OneRule:
    """A scanner that reports the candidates of one rule."""

    def __init__(self, scanner: Scanner, index: int) -> None:
        self._scanner, self._index = scanner, index

    def scan(self, block: bytes) -> list[Hit]:
        return [hit for hit in self._scanner.scan(block) if hit[0] == self._index]


def scan_patterns(rules: Sequence[Rule]) -> list[ScanPattern]:
    """Return what a scanner for these rules has to look for."""
    return [pattern for index, rule in enumerate(rules) for pattern in rule.scan_patterns(index)]


def _end_of_text(block: bytes, separator: bytes, end: int, ahead: int) -> int:
    """Return where the text of a candidate ends, or the limit of the search when that is nearer."""
    limit = min(len(block), end + ahead)
    stop = block.find(separator, end - 1, limit)
    return limit if stop < 0 else stop


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
