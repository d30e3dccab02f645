"""G11: every error at once, each with its path, line, reason and cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.cli.config import selector_findings
from exporter.errors import ConfigurationError, Finding
from exporter.settings.load import load_settings
from exporter.settings.model import Settings
from tests.support.configs import VALID, findings, load

HEAD = 'version: 1\nloki: {url: "http://h"}\n'
TENANTS = 'tenants: {acme: {selector: "{a=\\"b\\"}"}}\n'

# (document, path, part of the reason, part of the cure)
WRONG = [
    ("", "FILE", "empty", "init"),
    ("# nothing\n", "FILE", "empty", "init"),
    ("- a\n", "FILE", "not a mapping", "key: value"),
    ("a: [\n", "FILE", "YAML syntax at 2:1", "quotes"),
    ("a: 1\n\tb: 2\n", "FILE", "YAML syntax at 2:1", "spaces"),
    ("a: *unknown\n", "FILE", "YAML syntax at 1:4", "quotes"),
    ("a: !python/object:os.system x\n", "FILE", "YAML syntax at 1:4", "quotes"),
    ("a: 1\n---\nb: 2\n", "FILE", "YAML syntax", ""),
    ("a: &x [*x]\n", "FILE", "holds itself", "out"),
    ("a: \x07\n", "FILE", "control character", "plain text"),
    ("a: " + "[" * 3000, "FILE", "nested too deeply", "five"),
    (HEAD + TENANTS + "loki: {url: x}\n", "loki", "stands twice, first in line 2", "one of them"),
    (HEAD + "tenants: {acme: {selector: a, selector: b}}\n", "tenants.acme.selector", "stands twice", "one of them"),
    (HEAD + "tenants: {no: {selector: '{a=\"b\"}'}}\n", "tenants.no", "not text", "quotes"),
    (HEAD + "tenants: {7: {selector: '{a=\"b\"}'}}\n", "tenants.7", "not text", "quotes"),
    (HEAD, "tenants", "nothing to read", "selector"),
    (HEAD + "tenants: {}\n", "tenants", "nothing to read", "selector"),
    (HEAD + "tenants: [acme]\n", "tenants", "must be a section", "below it"),
    (HEAD + "tenants: {acme: {}}\n", "tenants.acme.selector", "is missing", '{job=~".+"}'),
    (HEAD + "tenants: {acme: }\n", "tenants", "nothing to read", "selector"),
    (HEAD + "tenants: {acme: x}\n", "tenants.acme", "must be a section", "below it"),
    (HEAD + "tenants: {..: {selector: '{a=\"b\"}'}}\n", "tenants...", "no usable name", "org_id"),
    (HEAD + "tenants: {'a/b': {selector: '{a=\"b\"}'}}\n", "tenants.a/b", "no usable name", "org_id"),
    (HEAD + "tenants: {acme: {selector: 7}}\n", "tenants.acme.selector", "must be text", "quotes"),
    (HEAD + "tenants: {a: {selector: '{}', start: soon}}\n", "tenants.a.start", "is no time", "earliest"),
    (HEAD + "tenants: {a: {selector: '{}', start: 2026-01-01}}\n", "tenants.a.start", "is no time", "offset"),
    (HEAD + "tenants: {a: {selector: '{}', start: 2026-01-01T00:00:00}}\n", "tenants.a.start", "no time", "offset"),
    (HEAD + "tenants: {a: {selector: '{}', original: some}}\n", "tenants.a.original", "'always'", "redacted line"),
    (HEAD + "tenants: {a: {selector: '{}', targets: soc}}\n", "tenants.a.targets", "must be a list", "[a, b]"),
    (HEAD + "tenants: {a: {selector: '{}', tragets: []}}\n", "tenants.a.tragets", "unknown key", "targets?"),
    (
        HEAD + "tenants: {a: {selector: '{}', fields: {x: user.nmae}}}\n",
        "tenants.a.fields.x",
        "no canonical name",
        "user.name?",
    ),
    (
        HEAD + "tenants: {a: {selector: '{}', fields: {x: zzzz}}}\n",
        "tenants.a.fields.x",
        "no canonical name",
        "keys.md",
    ),
    (
        HEAD + "tenants: {a: {selector: '{}', fields: {x: event.id}}}\n",
        "tenants.a.fields.x",
        "the exporter alone",
        "another",
    ),
    (
        HEAD + "tenants: {a: {selector: '{}', fields: {x: user.id, x.y: user.name}}}\n",
        "tenants.a.fields.x",
        "hold y",
        "not both",
    ),
    (
        HEAD + "tenants: {a: {selector: '{}', tempo_url: 'https://g/'}}\n",
        "tenants.a.tempo_url",
        "required form",
        "{trace_id}",
    ),
    (VALID.replace("[archive]", "[archve]"), "tenants.acme.targets[0]", "no target named archve", "archive?"),
    (VALID.replace("[archive]", "[archive, archive]"), "tenants.acme.targets", "2 times", "once"),
    (VALID.replace("version: 1", "version: 2"), "version", "version 1 only", "version: 1"),
    (VALID.replace("version: 1", ""), "version", "is missing", "version: 1"),
    (VALID.replace("loki:", "lokki:"), "lokki", "unknown key", "Did you mean loki?"),
    (TENANTS + "version: 1\n", "loki", "is missing", "url"),
    (VALID.replace("http://127", "127"), "loki.url", "required form", "without /loki/api/v1"),
    (VALID.replace('3100"', '3100", page_entries: many'), "loki.page_entries", "whole number", "asked for"),
    (VALID.replace('3100"', '3100", page_entries: 0'), "loki.page_entries", "greater than or equal to 1", "asked"),
    (VALID.replace('3100"', '3100", send_org_id: perhaps'), "loki.send_org_id", "true or false", "Org"),
    (VALID.replace('3100"', '3100", auth: {type: basci}'), "loki.auth.type", "no such choice", "none, basic, bearer"),
    (VALID.replace('3100"', '3100", auth: {}'), "loki.auth.type", "is missing", "none, basic, bearer"),
    (VALID.replace('3100"', '3100", auth: basic'), "loki.auth", "", ""),
    (VALID.replace('3100"', '3100", auth: {type: bearer}'), "loki.auth.token_file", "is missing", "token"),
    (
        VALID.replace('3100"', '3100", auth: {type: bearer, token: x}'),
        "loki.auth.token",
        "secrets",
        "`token_file: PATH`",
    ),
    (VALID.replace('3100"', '3100", tls: {ca_file: no.pem}'), "loki.tls.ca_file", "cannot be read", "path"),
    (VALID.replace('3100"', '3100", tls: {cert_file: loki-siem.yaml}'), "loki.tls.key_file", "is missing", "both"),
    (VALID + "bus: {kind: kafak}\n", "bus.kind", "no such choice", "sqlite, kafka"),
    (VALID + "bus: {path: x}\n", "bus.kind", "is missing", "sqlite, kafka"),
    (VALID + "bus: {kind: kafka}\n", "bus.bootstrap_servers", "is missing", "host:port"),
    (VALID + "bus: {kind: sqlite, pth: x}\n", "bus.pth", "unknown key", "path?"),
    (
        VALID + "bus: {kind: kafka, bootstrap_servers: 'h:1', replication_factor: 1}\n",
        "bus.min_insync_replicas",
        "greater than replication_factor (1)",
        "smaller",
    ),
    (
        VALID + "bus: {kind: kafka, bootstrap_servers: 'h:1', security_protocol: SASL_SSL}\n",
        "bus.sasl_password_file",
        "missing with SASL_SSL",
        "file",
    ),
    (
        VALID + "bus: {kind: kafka, bootstrap_servers: 'h:1', sasl_username: u}\n",
        "bus.security_protocol",
        "sends no user",
        "SASL_SSL",
    ),
    (
        VALID + "bus: {kind: kafka, bootstrap_servers: 'h:1', tls: {ca_file: loki-siem.yaml}}\n",
        "bus.security_protocol",
        "does not encrypt",
        "SSL",
    ),
    (VALID + "service: {listen: '127.0.0.1:99999'}\n", "service.listen", "above 65535", "free one"),
    (VALID + "service: {listen: somewhere}\n", "service.listen", "required form", "host:port"),
    (VALID + "service: {identity_key_file: nothing}\n", "service.identity_key_file", "cannot be read", "secret"),
    (VALID + "service: {state_dir: '${env:NO_SUCH_VARIABLE}/x'}\n", "service.state_dir", "is not set", "Set it"),
    (VALID + "service: {state_dir: '${env:}'}\n", "service.state_dir", "wrong form", "${env:NAME}"),
    (VALID + "  x: {}\n", "targets.x.kind", "is missing", "file, http"),
    (VALID + "  x: {kind: fiel}\n", "targets.x.kind", "no such kind", "Did you mean file?"),
    (VALID + "  x: {kind: 7}\n", "targets.x.kind", "no such kind", "file, http"),
    (VALID + "  X y: {kind: file}\n", "targets.X y", "no usable name", "lower-case"),
    (VALID + "  x: {kind: file}\n", "targets.x.directory", "is missing", "directory"),
    (VALID + "  x: {kind: file, directory: d, dir: e}\n", "targets.x.dir", "unknown key", "directory"),
    (VALID + "  x: {kind: file, directory: d, batch_max_bytes: -1}\n", "targets.x.batch_max_bytes", "than 0", "bytes"),
    (
        VALID + "  x: {kind: http, url: 'https://h', token_file: t}\n",
        "targets.x.token_file",
        "cannot be read",
        "secret",
    ),
    (VALID + "  x: {kind: http, url: 'https://u:p@h', token_file: t}\n", "targets.x.url", "holds a password", "out"),
    (VALID + "  x: {kind: http, url: 'https://h', token_file: ~nobody/t}\n", "targets.x.token_file", "read", "secret"),
    (VALID + "  x: {kind: http, url: 'https://h', token_file: 7}\n", "targets.x.token_file", "no file", "${env:NAME}"),
]


@pytest.mark.parametrize(("text", "path", "reason", "cure"), WRONG)
def test_each_fault_is_found_with_place_reason_and_cure(
    tmp_path: Path, text: str, path: str, reason: str, cure: str
) -> None:
    found = findings(tmp_path, text)
    expected = str(tmp_path / "loki-siem.yaml") if path == "FILE" else path
    match = [f for f in found if f.path == expected and reason in f.reason and cure in f.cure]
    assert match, [str(f) for f in found]
    assert all(f.reason and f.cure for f in found)
    if "." in path and path != "FILE":
        assert all(f.line for f in match)


def test_all_faults_stand_in_one_report_in_the_order_of_the_document(tmp_path: Path) -> None:
    found = findings(
        tmp_path,
        """\
version: 1
loki:
  url: nowhere
  page_entires: 5
bus: {kind: sqlit}
service: {log_level: loud}
tenants:
  acme:
    selector: 5
    targets: [sco]
  beta:
    start: yesterday
targets:
  soc: {kind: http, token_file: missing}
  other: {kind: fiel}
""",
        checks=(lambda s: [Finding(f"tenants.{name}.format", "is odd", "Look.") for name in s.tenants],),
    )
    places = {f.path: f.line for f in found}
    assert places == {
        "loki.url": 3,
        "loki.page_entires": 4,
        "bus.kind": 5,
        "service.log_level": 6,
        "tenants.acme.format": 8,  # not written: told at its tenant
        "tenants.acme.selector": 9,
        "tenants.acme.targets[0]": 10,
        "tenants.beta.format": 11,
        "tenants.beta.selector": 11,
        "tenants.beta.start": 12,
        "targets.soc.url": 14,
        "targets.soc.token_file": 14,
        "targets.other.kind": 15,
    }
    assert [f.line for f in found] == sorted(f.line for f in found)


def test_targets_of_a_broken_tenant_are_not_reported_as_unknown(tmp_path: Path) -> None:
    text = VALID.replace("kind: file, directory: out", "kind: file")
    assert [f.path for f in findings(tmp_path, text)] == ["targets.archive.directory"]


def test_checks_of_other_layers_see_the_sound_parts_and_get_lines(tmp_path: Path) -> None:
    seen: list[Settings] = []

    def check(settings: Settings) -> list[Finding]:
        seen.append(settings)
        return [Finding("tenants.acme.selector", "is wrong", "Mend it.")]

    text = VALID.replace("targets:\n", "  beta: {}\ntargets:\n").replace('"http://127.0.0.1:3100"', "x")
    found = findings(tmp_path, text, (check,))
    assert list(seen[0].tenants) == ["acme", "beta"]
    assert seen[0].service.log_level == "info"
    assert {(f.path, f.line) for f in found} == {
        ("tenants.acme.selector", 4),
        ("tenants.beta.selector", 5),
        ("loki.url", 2),
    }


def test_wrong_keys_do_not_hide_what_is_wrong_with_the_sound_ones(tmp_path: Path) -> None:
    """A newcomer mends a file in one round: selector and target are checked although `start` is wrong."""
    text = VALID.replace("targets:\n", "  beta: {selector: '{a=}', start: yesterday, targets: [sco]}\ntargets:\n", 1)
    text = text.replace("version: 1\n", "version: 1\nbus: {kind: kafka, partitions: 0, security_protocol: SASL_SSL}\n")
    found = findings(tmp_path, text, (selector_findings,))
    assert {f.path for f in found} == {
        "bus.bootstrap_servers",
        "bus.partitions",
        "bus.sasl_username",
        "bus.sasl_password_file",
        "tenants.beta.selector",
        "tenants.beta.start",
        "tenants.beta.targets[0]",
    }


def test_a_missing_file_a_folder_and_other_encodings(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: 1\nb: caf\xe9\n")
    for name, reason in (("nothing", "No such file"), (".", "directory"), ("latin", "not UTF-8")):
        with pytest.raises(ConfigurationError, match=reason):
            load_settings(tmp_path / name, {})


def test_aliases_are_fine_but_must_not_explode(tmp_path: Path) -> None:
    shared = VALID.replace("{selector: '{job=\"a\"}'", "&t {selector: '{job=\"a\"}'").replace(
        "targets:\n  archive", "  beta: {<<: *t, org_id: b}\ntargets:\n  archive"
    )
    settings = load(tmp_path, shared)
    assert settings.tenants["beta"].selector == settings.tenants["acme"].selector
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
    )
    assert "expand to too much" in findings(tmp_path, bomb)[0].reason
