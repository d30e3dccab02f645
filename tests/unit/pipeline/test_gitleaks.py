"""Rules files of gitleaks: what is understood, how it is found, what is refused. All secrets here are made up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.pipeline.redact.engine import Redactor, sample_findings, scan_patterns
from exporter.pipeline.redact.gitleaks import translated
from exporter.pipeline.redact.rules import load_rules
from exporter.pipeline.redact.scan import Scanner, StdlibScanner, best_scanner

MASK = "[redacted-gitleaks]"
FILE = r"""
title = "our own"
[allowlist]
stopwords = ["example"]
[[rules]]
id = "1acme-token"
description = "Acme's tokens"
regex = '''\b(acme_(?i)[a-z0-9]{12})(?:[\x60'"\s;]|\\[nr]|$)'''
entropy = 2
keywords = ["ACME_"]
[[rules]]
id = "widget-secret"
regex = '''(?i)[\w.-]{0,50}?(?:widget)(?:[ \t\w.-]{0,20})[\s'"]{0,3}(?:=|:)[\s'"]{0,5}([a-z0-9]{16})(?:[\s'"]|\z)'''
keywords = ["widget"]
[[rules.allowlists]]
regexTarget = "line"
regexes = ['''dry[ -]run''']
[[rules.allowlists]]
condition = "AND"
paths = ['''\.md$''']
regexes = ['''.*''']
[[rules]]
id = "pair"
regex = '''user=([[:alnum:]]+) pass=([[:alnum:]]+)'''
secretGroup = 2
keywords = ["pass="]
[[rules]]
id = "by-path"
path = '''\.p12$'''
"""


@pytest.fixture(params=["best", "stdlib"])
def redactor(request: pytest.FixtureRequest, tmp_path: Path) -> Redactor:
    (tmp_path / "leaks.toml").write_text(FILE)
    rules, _, findings = load_rules([str(tmp_path / "leaks.toml")], "redaction")
    assert not findings
    assert [rule.name for rule in rules] == ["gitleaks-1acme-token", "gitleaks-widget-secret", "gitleaks-pair"]
    patterns = scan_patterns(rules)
    scanner: Scanner = best_scanner(patterns) if request.param == "best" else StdlibScanner(patterns)
    return Redactor(rules, scanner)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("token acme_A1b2C3d4E5f6 used", f"token {MASK} used"),
        ("two acme_A1b2C3d4E5f6 and acme_Z9y8X7w6V5u4", f"two {MASK} and {MASK}"),
        ("ACME_A1b2C3d4E5f6 is of another case", None),
        ("acme_aaaaaaaaaaaa has too little entropy", None),
        ("acme_example1234x is known to be none", None),
        ('{"widget_key": "0123456789abcdef"}', f'{{"widget_key": "{MASK}"}}'),
        ("my.Widget = 0123456789ABCDEF", f"my.Widget = {MASK}"),
        ("widget=0123456789abcdef in a dry run", None),
        ("widget=0123456789abcdeg0", None),
        ("user=bob pass=hunter22 user=eve pass=s3cr3t99", f"user=bob pass={MASK} user=eve pass={MASK}"),
        ("a file called key.p12", None),
    ],
)
def test_found_as_gitleaks_finds_it(redactor: Redactor, text: str, expected: str | None) -> None:
    counts: dict[str, int] = {}
    before, after = "nothing here", "x" * 300
    done = redactor.redact([before, text, after], counts)
    assert done.texts == [before, expected or text, after]
    assert bool(counts) is (expected is not None)


def test_masks_are_no_data_and_a_long_line_is_looked_through(redactor: Redactor) -> None:
    assert not sample_findings(redactor, "redaction")
    text = " ".join(["acme_A1b2C3d4E5f6", *["filler"] * 2000] * 9)
    assert redactor.redact([text], {}).texts[0].count(MASK) == 9


def test_rules_of_gitleaks_stand_beside_packs_and_their_own_allowlists_hold(tmp_path: Path) -> None:
    (tmp_path / "leaks.toml").write_text(FILE + '[extend]\ndisabledRules = ["pair", "by-path"]\n')
    rules, _, findings = load_rules(["eu-pii", "secrets", str(tmp_path / "leaks.toml")], "redaction")
    assert not findings
    redactor = Redactor(rules)
    assert "gitleaks-pair" not in {rule.name for rule in rules}
    assert not sample_findings(redactor, "redaction")
    (done,) = redactor.redact(["mail a.b@example.com acme_A1b2C3d4E5f6"], {}).texts
    assert done == f"mail [redacted-email] {MASK}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("rules = 3 [", "is no rules file of gitleaks (TOMLDecodeError)"),
        ("title = 'empty'", "holds no rule with a regex"),
        ("[[rules]]\nregex = 'a'", "rules[0]: has no id"),
        ("[[rules]]\nid = 'x'\nregex = '(a'", "rule 'x': its regex cannot be used here"),
        ("[[rules]]\nid = 'x'\nregex = '\\pL+'", "rule 'x': its regex cannot be used here"),
        ("[[rules]]\nid = 'x'\nregex = 'a'\nsecretGroup = 2", "rule 'x': secretGroup names a group"),
        ("[[rules]]\nid = 'x'\nregex = 'a'\nkeywords = 'a'", "rule 'x': a list of texts was expected"),
        ("[[rules]]\nid = 'x'\nregex = 'a'\nallowlists = [{regexTarget = 'file', regexes = ['b']}]", "regexTarget"),
        ("[extend]\nuseDefault = true", "[extend] refers to rules that are not in the file"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "leaks.toml").write_text(text)
    _, _, findings = load_rules([str(tmp_path / "leaks.toml")], "redaction")
    assert any(reason in str(finding) for finding in findings)


@pytest.mark.parametrize(
    ("go", "ours"),
    [
        ("a(?i)b|c", "a(?i:b)|(?i:c)"),
        ("(?:x(?i)y|z)w", "(?:x(?i:y)|(?i:z))w"),
        ("(?im)a", "(?im:a)"),
        (r"[[:alnum:]_\]]x\z", r"[0-9A-Za-z_\]]x$"),
        (r"[]a[]", r"[\]a\[]"),
        (r"\(?(?:a)", r"\(?(?:a)"),
    ],
)
def test_translation(go: str, ours: str) -> None:
    assert translated(go) == ours


@given(st.from_regex(r"\A[a-z0-9.\\|()\[\]?*+^-]{0,30}\Z"))
def test_what_compiles_untranslated_means_the_same(expression: str) -> None:
    try:
        compiled = re.compile(expression)
    except (re.error, FutureWarning):
        return
    again = re.compile(translated(expression))
    for text in ("", "a", "ab1", "a.b-c", "x|y", "[a]"):
        assert bool(compiled.fullmatch(text)) == bool(again.fullmatch(text))
