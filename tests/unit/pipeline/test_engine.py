"""The block scheme: same as rule by rule on single texts, closed under itself, same on both scanners."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.pipeline.redact import scan
from exporter.pipeline.redact.decoded import decoded_view
from exporter.pipeline.redact.engine import Redactor, mend_surrogates, scan_patterns
from exporter.pipeline.redact.rules import EXACT_LIMIT_BYTES, Rule, load_rules

PIECES = [
    "anna@example.com", "bob%40example.org", "müller@bücher.example", "10.1.2.3", "192.168.0.255", "2001:db8::1", "fe80::1",
    "DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "4111111111111111", "5500-0000-0000-0004", "password=x1",
    '"token":"ab1"', "Authorization: Bearer abcdef123456", "AKIAIOSFODNN7EXAMPLE", "://u:pw1@h/", "secret: [redacted-email]",
    "[redacted-password]", "[redacted-", "eyJhbGciOi.eyJzdWIiOi.x", "Basic dXNlcjpwYXNzd29yZA==", "@", ".", ":", "::", "=",
    '"', "\\", "\\n", "\\u0040", "%", "%40", "%20", " ", "\n", "\x00", "\n\x00\n", ",", "-", "_", "{", "}", "[", "]", "&", "1",
    "a", "Z", "é", "€", "\U0001f600", "\ud800", "pwd", "ghp_" + "0" * 36, "-----BEGIN PRIVATE KEY-----", "-----END X-----",
]  # fmt: skip
TEXTS = st.lists(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join), max_size=8)


@cache
def rules() -> tuple[Rule, ...]:
    return tuple(load_rules(("eu-pii", "secrets"), "")[0])


@cache
def redactor() -> Redactor:
    return Redactor(rules())


@cache
def stdlib_redactor() -> Redactor:
    return Redactor(rules(), scan.StdlibScanner(scan_patterns(rules())))


def one_by_one(text: str) -> bool:
    """Tell whether any rule, run over the text by itself without a scanner, finds something."""
    raw = mend_surrogates(text).encode()
    for rule in rules():
        at = 0
        while match := rule.search.search(raw, at):
            span = raw[slice(*match.span(rule.group))]
            if rule.validate is None or rule.validate(span):
                return True
            at = match.start() + 1
    return False


@settings(max_examples=200, deadline=None)
@given(TEXTS)
@example(["password=\n", "anna@example.com"])
@example(["anna@", "example.com"])
def test_redacted_texts_hold_nothing_and_stay_apart(texts: list[str]):
    done = redactor().settled(texts, {})
    assert len(done.texts) == len(texts)
    again = redactor().redact(done.texts, {})
    assert list(again.changed) == []
    changed = set(done.changed)
    for row, text in enumerate(texts):
        assert (row in changed) == redactor().has_hit(mend_surrogates(text))
        if row not in changed:
            assert done.texts[row] == mend_surrogates(text)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_the_scanner_misses_nothing_that_the_exact_patterns_find(texts: list[str]):
    done = redactor().settled(texts, {})
    missed = [row for row, text in enumerate(texts) if one_by_one(text) and row not in set(done.changed)]
    left = [row for row, text in enumerate(done.texts) if one_by_one(text)]
    assert (len(missed), len(left)) == (0, 0)


#: What may stand right before a datum, and escapes that do though they end in a letter or digit.
EDGES = (
    "",
    " ",
    '"',
    "_",
    "=",
    ":",
    "/",
    "[",
    "é",
    "\\n",
    "\\t",
    "\\u000a",
    "\\u0009",
    "\\u001F",
    "%20",
    "%0A",
    "%5b",
    "%3d",
    "%2520",
)
SHAPES = (
    "DE89370400440532013000", "gb82 west 1234 5698 7654 32", "NO93-8601-1117-947", "MT84MALT011000012345MTLCAST001S",
    "4111111111111111", "4222222222222", "5500-0000-0000-0004", "3782 822463 10005", "6304000000000000018", "2221000000000009",
    "4222 222 222 222", "5018 0000 0009", "::1", "::ffff:192.0.2.128", "fe80::1%eth0", "2001:DB8::", "1:2:3:4:5:6:7:8", "A:b::c",
    "2001:0db8:85a3:0000:0000:8a2e:0370:7334", "0:0:0:0:0:ffff:192.0.2.1", "64:ff9b::192.0.2.33", "1::2:3:4:5:6:7", "10.1.2.3",
)  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_the_scanner_finds_every_shape_after_every_edge(shape: str):
    for edge in EDGES:
        for text in (f"{edge}{shape}", f"a{edge}{shape}b", f"7{edge}{shape}, x", f"{edge}{edge}{shape}{edge}{shape}"):
            expected = one_by_one(text) or one_by_one(
                decoded_view(text.encode(), [len(text)]).text.decode("utf-8", "replace")
            )
            assert redactor().has_hit(text) == stdlib_redactor().has_hit(text) == expected
    assert one_by_one(f"%20{shape}") or shape.startswith(("4222 ", "5018 "))


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_both_scanners_give_the_same_texts(texts: list[str]):
    fast, slow = {}, {}
    assert redactor().redact(texts, fast).texts == stdlib_redactor().redact(texts, slow).texts
    assert fast == slow


def test_an_unchanged_text_is_the_very_object():
    text = "nothing to hide " * 3
    assert redactor().redact([text, "a@b.example"], {}).texts[0] is text


def test_overlapping_spans_become_one_mask():
    assert redactor().redact(["postgres://app:pw@db.example.com/x"], {}).texts[0].count("[redacted-") == 1


def test_matches_longer_than_the_first_window_are_taken_whole():
    long = "a" * 5000
    for text in (f"{long}@example.com", f"password={long}", f"a@{'b' * 500}.example.com"):
        out = redactor().redact([f"x {text} y"], {}).texts[0]
        assert re.fullmatch(r"x (password=)?\[redacted-[a-z]+\] y", out) is not None


@pytest.mark.parametrize(
    "unit", ["a@", "a.", "1:", "::", "password=", "4 ", "\\", "aa12 ", "%40", "://a:", "eyJa.", "-----BEGIN "]
)
def test_hostile_lines_end(unit: str):
    """Each candidate list here is as long as the line; quadratic work would not end within the suite's time limit."""
    line = unit * (3 * EXACT_LIMIT_BYTES // len(unit))
    assert len(redactor().redact([line, "a@b.example"], {}).texts) == 2


def test_threads_do_not_share_scratch_space():
    texts = ["mail anna@example.com from 10.1.2.3"] * 500
    expected = redactor().redact(texts, {}).texts
    failures: list[int] = []

    def work() -> None:
        failures.extend(redactor().redact(texts, {}).texts != expected for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 80
    assert not any(failures)


def test_texts_that_hold_every_separator():
    texts = ["\n\x00\n\n\x01\n\n\x00\x02\n\n\x03\x01\n\n\x004\x00\n a@b.example", "x"]
    done = redactor().redact(texts, {})
    assert (len(done.texts), list(done.changed), done.texts[1]) == (2, [0], "x")


def test_surrogates_are_mended():
    assert mend_surrogates("a\ud83d\ude00b\ud800") == "a\U0001f600b�"


class _Size:
    """An action that depends on the text."""

    fixed = None
    kind = None

    def replace(self, text: bytes) -> bytes:
        return b"<%d>" % len(text)


def test_an_action_may_depend_on_the_text():
    sizes = Redactor([replace(rule, action=_Size()) for rule in rules()])
    counts: dict[str, int] = {}
    done = sizes.redact(["a", "from 10.1.2.3 by anna@example.com,", "b", "10.1.2.30"], counts)
    assert done.texts == ["a", "from <8> by <16>,", "b", "<9>"]
    assert (list(done.changed), counts) == ([1, 3], {"email": 1, "ipv4": 2})
