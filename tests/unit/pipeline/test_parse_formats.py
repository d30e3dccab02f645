"""Formats behind JSON, logfmt and access logs: golden lines, round trips, masks, bounds, time."""

from __future__ import annotations

import string
from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.pipeline.parse import MAX_KEYS, OverBound
from exporter.pipeline.parse.lines import LineParser
from exporter.settings.model import FormatRule, LineFormat
from tests.support.fuzz_parsers import fuzz
from tests.support.parser_samples import SAMPLES

AUTO = LineParser("auto")


def fields(line: str, parser: LineParser = AUTO) -> dict[str, Any]:
    found = parser.parse(line)
    assert found is not None
    return {"": found[0], **dict(zip(found[1], found[2], strict=True))}


def source(line: str) -> str:
    found = AUTO.parse(line)
    return "text" if found is None else found[0]


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in SAMPLES.items() for line in lines])
def test_every_sample_is_read_as_its_format_and_the_same_after_any_other(name: str, line: str):
    assert source(line) == name
    assert LineParser("auto").parse(line) == AUTO.parse(line)


GOLDEN: list[tuple[str, dict[str, Any]]] = [
    (
        '<165>1 2026-01-02T03:04:05Z h app 7 ID [x@1 a="q\\"\\]\\\\" b="[redacted-email]"][y@1 c="d"] \ufeffhi',
        {
            "": "syslog",
            "x@1.a": 'q"]\\',
            "x@1.b": "[redacted-email]",
            "y@1.c": "d",
            "message": "hi",
            "process.pid": "7",
        },
    ),
    (
        "<86>Oct  1 22:14:15 web sshd[99]: Failed password for invalid user a from b from 192.0.2.7 port 22 ssh2",
        {
            "": "sshd",
            "user.name": "a from b",
            "source.ip": "192.0.2.7",
            "kind": "auth.logon",
            "event.outcome": "failure",
        },
    ),
    (
        "<134>Jan 01 10:00:00 host CEF:0|V|P\\|x|1|9|n|5|cs1Label=Rule Name cs1=a b\\=c msg=x\\ny",
        {"": "cef", "deviceProduct": "P|x", "Rule Name": "a b=c", "msg": "x\ny", "syslog.severity.text": "info"},
    ),
    ("LEEF:2.0|V|P|1|9|0x5E|src=192.0.2.1^usrName=a b", {"": "leef", "src": "192.0.2.1", "usrName": "a b"}),
    ("LEEF:2.0|V|P|1|9|x09|src=192.0.2.1\tusrName=a b", {"": "leef", "src": "192.0.2.1", "usrName": "a b"}),
    (
        'type=EXECVE msg=audit(1.5:9): argc=2 a0="ls" a1=2D6C61',
        {"": "auditd", "auditd.serial": "9", "a0": "ls", "a1": "-la"},
    ),
    ("type=SYSCALL msg=audit(1.5:9): a1=2D6C61 comm=C3", {"": "auditd", "a1": "2D6C61", "comm": "C3"}),
    (
        '{"log":"{\\"level\\":\\"warn\\",\\"msg\\":\\"x\\"}\\n","stream":"stderr","time":"t"}',
        {"": "json", "level": "warn", "msg": "x", "log.iostream": "stderr", "time": "t"},
    ),
    ('{"msg":"user=bob ok=true","n":1}', {"": "logfmt", "msg": "user=bob ok=true", "user": "bob", "n": 1}),
    ('{"msg":"user=bob is away","n":1}', {"": "json", "msg": "user=bob is away"}),
]


@pytest.mark.parametrize(("line", "expected"), GOLDEN)
def test_golden(line: str, expected: dict[str, Any]):
    found = fields(line)
    assert {key: found.get(key) for key in expected} == expected


def test_two_envelopes_are_opened_and_no_third():
    line = '2026-01-02T03:04:05Z stdout F {"message":"{\\"message\\":\\"{\\\\\\"a\\\\\\":1}\\"}"}'
    assert fields(line)["message"] == '{"a":1}'


TEXTS = (
    st.text(string.ascii_letters + string.digits + ' =|\\,]["é', min_size=1, max_size=12).map(str.strip).filter(bool)
)
NAMES = st.text(string.ascii_letters, min_size=1, max_size=8)


def escaped(text: str, marks: str) -> str:
    return "".join(f"\\{c}" if c in marks else c for c in text)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(NAMES.map("x".__add__), TEXTS, min_size=1, max_size=5), st.lists(TEXTS, min_size=6, max_size=6))
def test_cef_reads_what_was_written(values: dict[str, str], header: list[str]):
    if any(key.endswith("Label") for key in values):
        return
    written = "|".join(escaped(part, "\\|") for part in header)
    line = f"CEF:0|{written}|" + " ".join(f"{k}={escaped(v, '=' + chr(92))}" for k, v in values.items())
    found = fields(line, LineParser("cef"))
    assert {k: found[k] for k in values} == values
    assert [found["deviceVendor"], found["name"]] == [header[0], header[4]]


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(NAMES, TEXTS, min_size=1, max_size=5), st.integers(0, 191), TEXTS)
def test_rfc_5424_reads_what_was_written(values: dict[str, str], pri: int, message: str):
    params = " ".join(f'{k}="{escaped(v, chr(92) + chr(34) + "]")}"' for k, v in values.items())
    found = fields(f"<{pri}>1 - h - - - [id@1 {params}] x {message}")
    assert {k: found[f"id@1.{k}"] for k in values} == values
    assert found["host.name"] == "h"


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(NAMES, TEXTS.filter(lambda t: "^" not in t), min_size=1, max_size=5))
def test_leef_reads_what_was_written(values: dict[str, str]):
    line = "LEEF:2.0|V|P|1|9|^|" + "^".join(f"{k}={v}" for k, v in values.items())
    found = fields(line)
    assert {k: found[k] for k in values if k not in {"vendor", "product", "version"}} == {
        k: v for k, v in values.items() if k not in {"vendor", "product", "version"}
    }


@pytest.mark.parametrize(
    "line",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Event><System><EventID>&b;</EventID></System></Event>',
        '<?xml version="1.0"?><!DOCTYPE Event SYSTEM "file:///etc/hostname"><Event><System><EventID>1</EventID></System></Event>',
        "<Event><System><EventID>1</EventID></System>",
        "<Event></Event>",
    ],
)
def test_windows_xml_declines_document_types_and_broken_documents(line: str):
    assert LineParser("winxml").parse(line) is None


def test_labels_choose_rules_and_tell_the_program():
    rules = [FormatRule(labels={"app": "fw-*"}, format="kv"), FormatRule(labels={"app": "raw"}, format="text")]
    parser = LineParser(rules)
    assert parser.stream({"app": "fw-1"}).parse("a: b, c: d") == ("kv", ("a", "c"), ("b", "d"))
    assert parser.stream({"app": "raw"}).parse('{"a":1}') is None
    assert parser.stream({"app": "x"}).parse('{"a":1}') == ("json", ("a",), (1,))
    bare = "Accepted publickey for bob from 192.0.2.1 port 5 ssh2: ED25519 SHA256:x"
    assert parser.stream({"app": "x"}).parse(bare) is None
    found = parser.stream({"unit": "ssh.service"}).parse(bare)
    assert found is not None
    assert dict(zip(found[1], found[2], strict=True))["user.name"] == "bob"


def test_an_original_is_not_opened():
    found = AUTO.parse_original('{"msg":"CEF:0|V|P|1|9|n|5|a=b"}')
    assert found == ("json", ("msg",), ("CEF:0|V|P|1|9|n|5|a=b",))


PIECES = [
    "a", " ", "=", "|", "\\", '"', "[", "]", ",", ": ", "a=", "a=b ", " from ", " from a port 1", "<", "x.y ", "a, b: ", "\\|", " ; ",
    '[a b="', "\\=", "A=1 ", "0", "'", "(", "2D",
]  # fmt: skip
HEADS = ["", *(line for lines in SAMPLES.values() for line in lines[:2])]


@pytest.mark.parametrize("piece", PIECES)
def test_no_format_backtracks(piece: str):
    """A pattern that backtracks takes minutes for these, so the limit of time that every test has ends it."""
    for head in HEADS:
        for wanted in get_args(LineFormat):
            with suppress(OverBound):
                LineParser(wanted).parse((head + piece * (65_000 // len(piece)))[:65_000])


def test_many_keys_are_over_the_bound():
    with pytest.raises(OverBound):
        AUTO.parse("CEF:0|V|P|1|9|n|5|" + " ".join(f"k{i}=v" for i in range(MAX_KEYS + 1)))


def test_mutated_lines_fail_nowhere():
    totals = fuzz(3000, 11)
    assert (totals["failed"], totals["parsed"] + totals["text"] + totals["over_bound"]) == (0, 3000)


def test_an_access_line_in_an_envelope_is_no_access_line_with_a_long_user():
    line = '203.0.113.7 - - [02/Jan/2026:03:04:05 +0000] "GET / HTTP/1.1" 200 5 "-" "x" 0.1 0.2'
    source, keys, values = AUTO.parse(f"2026-01-02T03:04:05.1Z stdout F {line}") or ("", (), ())
    found = dict(zip(keys, values, strict=True))
    assert (source, found["source.ip"], found["log.iostream"]) == ("access", "203.0.113.7", "stdout")
    assert "user.name" not in found
