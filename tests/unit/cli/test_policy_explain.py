"""`policy explain`: says what acts where and why, and shows nothing that the policy takes away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.cli import invoke
from tests.support.pipelines import leaked
from tests.support.planted import planted

CONFIG = """\
version: 1
loki: {url: "http://127.0.0.1:9"}
tenants:
  acme:
    selector: '{job=~".+"}'
    redaction: [secrets, eu-pii]
    policy:
      actions: {email: pseudonym, card: drop_event}
      fields: {user.name: drop_field, unmapped.note: mask, labels.owner: mask}
    filters:
      - {name: audit, when: {label: job, equals: audit}, then: keep}
      - {name: noise, when: {label: job, equals: noise}, then: drop}
      - {name: place, when: {field: url.path, exists: true}, then: enrich, add: {site: fra1}}
      - name: probes
        when: {all: [{field: url.path, equals: /healthz}, {any: [{field: site, equals: fra1}]}]}
        then: drop
      - {name: flood, then: cap, per_second: 2}
"""


def config(tmp_path: Path) -> Path:
    file = tmp_path / "c.yaml"
    file.write_text(CONFIG)
    return file


def explained(tmp_path: Path, *lines: str, labels: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    options = [text for label in labels for text in ("--labels", label)]
    done = invoke(
        "policy", "explain", "-c", config(tmp_path), "--tenant", "acme", "--json", *options,
        stdin="".join(line + "\n" for line in lines).encode(),
    )  # fmt: skip
    assert done.exit_code == 0
    return [json.loads(row) for row in done.stdout.splitlines()]


def test_rules_are_told_with_their_characters(tmp_path: Path) -> None:
    line = "grüße an ann@example.com, von bob@example.com"
    (row,) = explained(tmp_path, line)
    places = [(hit["rule"], hit["action"], line[hit["start"] : hit["end"]]) for hit in row["rules"]]
    assert places == [("email", "pseudonym", "ann@example.com"), ("email", "pseudonym", "bob@example.com")]
    assert (row["outcome"], row["parser"], row["kind"], row["elsewhere"]) == ("kept", None, "log", {})


def test_field_policies_are_told_with_the_field(tmp_path: Path) -> None:
    rows = explained(
        tmp_path, *['{"user":"quentin-q","note":"made up"}'] * 2, labels=("owner=olga-o", "mail=ann@example.com")
    )
    for row in rows:  # what a stream's labels have in common is told of every line
        assert {hit["field"]: hit["action"] for hit in row["fields"]} == {
            "user.name": "drop_field", "unmapped.note": "mask", "labels.owner": "mask",
        }  # fmt: skip
        assert row["elsewhere"] == {"email": 1}
        assert row["parser"] == "json"
        assert leaked(["quentin-q", "made up", "olga-o", "ann@"], json.dumps(row).encode()) == 0


def test_filters_are_told_as_far_as_the_event_came(tmp_path: Path) -> None:
    (row,) = explained(tmp_path, '{"method":"GET","path":"/healthz","status":200}')
    assert (row["outcome"], row["dropped_by"]) == ("dropped", "probes")
    steps = [(s["filter"], s["holds"], s["decided_by"], s["effect"]) for s in row["filters"]]
    assert steps == [
        ("audit", False, "stream", "none"),
        ("noise", False, "stream", "none"),
        ("place", True, "event", "enriches"),
        ("probes", True, "event", "drops"),
    ]
    assert row["filters"][-1]["tests"] == [
        {"test": "all[0].field url.path equals", "holds": True},
        {"test": "all[1].any[0].field site equals", "holds": True},  # what the filter before it added
    ]
    assert row["event"]["url.path"] == "/healthz"


def test_labels_alone_decide(tmp_path: Path) -> None:
    (kept,) = explained(tmp_path, "x", labels=("job=audit",))
    assert (kept["outcome"], [s["effect"] for s in kept["filters"]]) == ("kept", ["keeps"])
    (dropped,) = explained(tmp_path, "4111 1111 1111 1111", labels=("job=noise",))
    assert (dropped["dropped_by"], [s["effect"] for s in dropped["filters"]]) == ("noise", ["none", "drops"])


def test_a_cap_counts_the_lines_of_one_input(tmp_path: Path) -> None:
    rows = explained(tmp_path, "a", "b", "c")
    assert [row["dropped_by"] for row in rows] == [None, None, "flood"]
    assert [row["filters"][-1]["effect"] for row in rows] == ["lets_through", "lets_through", "drops"]


def test_an_event_dropped_by_the_policy_is_not_shown(tmp_path: Path) -> None:
    (row,) = explained(tmp_path, '{"user":"u","n":"4111 1111 1111 1111"}')
    assert (row["outcome"], row["dropped_by"], row["event"], row["filters"]) == ("dropped", "policy", None, [])
    assert [(hit["rule"], hit["action"]) for hit in row["rules"]] == [("card", "drop_event")]


def test_any_input_is_explained(tmp_path: Path) -> None:
    data = b"\xff\xfe raw\n\n" + b'{"n":123456789012345678901234567890,"s":"\\ud800"}\n' + b"\x1b[31m \x9b no newline"
    done = invoke("policy", "explain", "-c", config(tmp_path), "--tenant", "acme", stdin=data)
    assert done.exit_code == 0
    assert sum(row.startswith("line ") for row in done.stdout.splitlines()) == 4
    assert done.stdout.replace("→", "").isascii()
    assert "\x1b" not in done.stdout


def test_no_planted_secret_is_shown(tmp_path: Path) -> None:
    file, lines = config(tmp_path), list(planted(120, seed=7))
    cores = [item.secret.core for item in lines]
    data = "\n".join(item.line for item in lines).encode()
    labels = [text for item in lines[:400] for k, v in item.labels.items() for text in ("--labels", f"{k}={v}")]
    for options in (["--json"], []):
        done = invoke("policy", "explain", "-c", file, "--tenant", "acme", *options, *labels, stdin=data)
        assert done.exit_code == 0
        assert leaked(cores, done.stdout.encode(), done.stderr.encode()) == 0


def test_faults_of_usage_quote_nothing(tmp_path: Path) -> None:
    done = invoke("policy", "explain", "-c", config(tmp_path), "--tenant", "acme", "--labels", "hunter2", stdin=b"")
    assert (done.exit_code, "hunter2" in done.output) == (2, False)
    assert invoke("policy", "explain", "-c", config(tmp_path), "--tenant", "acne", stdin=b"").exit_code == 2
