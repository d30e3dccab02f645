"""Views of decoded text: what is cut out of the original, and what is left."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.pipeline.redact import scan
from exporter.pipeline.redact.decoded import decoded_view
from exporter.pipeline.redact.engine import Redactor, scan_patterns
from exporter.pipeline.redact.rules import load_rules

RULES = load_rules(["eu-pii", "secrets", "eu-ids"], "packs")[0]
REDACTOR = Redactor(RULES)
#: Pieces of which texts are made: escapes of all sorts, broken ones, and what rules look for.
PIECES = st.sampled_from([
    "a", "1", " ", "%", "%2", "%40", "%25", "%2540", "%C3%BC", "%0A", r"\u0040", r"\\u0040", r"\u000a", r"\u00fc", "&#64;", "&#x40;",
    "&amp;#64;", "&lt;", "&quot;", "&#0;", "&#999999;", "\uff20", "\uff21", "\uff11", "bob@example.com", "password=", "token%3D",
    "abc", r"\"", '"', ",", "/", "\n", "[redacted-email]",
])  # fmt: skip


def view_of(block: bytes) -> bytes:
    return decoded_view(block, [len(block)]).text


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        ("a%40b%2540c%252540d", "a@b@c@d"),
        (r"a\u0040b\\u0040c\u00fc", "a@b@cü"),
        ("a&#64;b&#x40;c&amp;#64;&lt;&amp;quot;", 'a@b@c@<"'),
        ("\uff41\uff20\uff42\uff11\uff5e", "a@b1~"),
        ("100% %zz %0A \\u000a &#10; &nbsp; \\ud800", "100% %zz %0A \\u000a &#10; &nbsp; \\ud800"),
    ],
)
def test_escapes(escaped: str, plain: str) -> None:
    assert view_of(escaped.encode()).decode() == plain + "\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=bob%2B1%40example.com%20y", "x=[redacted-email]%20y"),
        ("q=token%3Dabc123%26n%3D1", "q=token%3D[redacted-password]"),
        ("a 02%3A42%3Aac%3A11%3A00%3A02, b", "a [redacted-mac], b"),
        (
            "\uff14\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11 x",
            "[redacted-card] x",
        ),
        ("one\n&#98;ob&#64;example.com\nthree", "one\n[redacted-email]\nthree"),
        ("100%25 of a &lt;b&gt; &amp; c", "100%25 of a &lt;b&gt; &amp; c"),
    ],
)
def test_spliced_in_the_original(text: str, expected: str) -> None:
    assert REDACTOR.redact(["before", text, "after"], {}).texts == ["before", expected, "after"]


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join))
def test_places_of_the_view_name_the_original(text: str) -> None:
    block = text.encode()
    view = decoded_view(block, range(1, len(block) + 1))
    for place in range(len(view.text)):
        if view.text[place : place + 1] != b"\n":
            first, last = view.original(place, place + 1)
            assert 0 <= first < last <= len(block)
            assert last - first > 1 or block[first:last] == view.text[place : place + 1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=20).map("".join), max_size=4))
def test_both_scanners_agree_and_it_settles(texts: list[str]) -> None:
    done = REDACTOR.settled(texts, {}).texts
    slow = Redactor(RULES, scan.StdlibScanner(scan_patterns(RULES)))
    assert slow.settled(texts, {}).texts == done
    assert REDACTOR.settled(done, {}).changed == ()
