from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.loki.selector import Matcher, _parse, exact_matchers, re_escape, validate_selector, with_matchers

VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.mark.parametrize(
    "text",
    [
        '{job=~".+"}',
        ' { job = "a" , x != "b" } ',
        "{job=`a\\d`}",
        '{job="a\\"}b"}',
        '{a!="", b=~".*"}',
        r'{a=~"\\pL+"}',
    ],
)
def test_pure_selectors_pass(text: str):
    validate_selector(text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "brace"),
        ('job="a"', "brace"),
        ("{}", "empty"),
        ('{job="a"} |= "x"', "follows"),
        ('{job="a"}[5m]', "follows"),
        ('count_over_time({job="a"}[5m])', "brace"),
        ('{job=~".*"}', "absent"),
        ('{job!="a"}', "absent"),
        ("{job=a}", "not quoted"),
        ('{job="a}', "not quoted"),
        ('{job="a" x="b"}', "comma"),
        ('{job="a",}', "label name"),
        ('{1job="a"}', "label name"),
        ('{job>"a"}', "operator"),
        ('{__aggregated_metric__="a"}', "internal"),
        ('{job="\\q"}', "escape"),
    ],
)
def test_what_is_refused_says_why_and_what_to_do(text: str, part: str):
    with pytest.raises(ValueError, match=part):
        validate_selector(text)


@given(st.lists(st.tuples(st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True), VALUES), max_size=4))
def test_added_matchers_come_back_whatever_their_values_hold(pairs: list[tuple[str, str]]):
    added = [Matcher(name, "=", value) for name, value in pairs]
    matchers, _ = _parse(with_matchers('{job=~".+"}', added))
    assert matchers == [Matcher("job", "=~", ".+"), *added]


def test_an_exact_selector_excludes_streams_with_more_labels():
    assert exact_matchers({"b": "1"}, ["a", "b", "c"]) == [
        Matcher("b", "=", "1"),
        Matcher("a", "=", ""),
        Matcher("c", "=", ""),
    ]


def test_a_label_with_lost_bytes_is_matched_by_a_regex():
    assert exact_matchers({"b": "x.\ufffd\ufffdy"}, ["b"]) == [Matcher("b", "=~", r"(?s)x\..+y")]


@given(st.text("\\.+*?()|[]{}^$ab-#&~ ", max_size=12))
def test_escaped_text_has_only_escapes_that_re2_knows(text: str):
    escaped = re_escape(text)
    position, plain = 0, ""
    while position < len(escaped):
        if escaped[position] == "\\":
            position += 1
            assert escaped[position] in "\\.+*?()|[]{}^$"
        plain += escaped[position]
        position += 1
    assert plain == text
