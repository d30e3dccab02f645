"""A tenant's own tests, and the policy as a document with an id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from exporter.pipeline.checks import failed_findings, run_tests
from exporter.pipeline.policy import keep_policy, policy_id_of
from tests.support.pipelines import pipeline_of, settings_of

DROP = {"name": "probes", "when": {"field": "url.path", "equals": "/healthz"}, "then": "drop"}
LINE = '{"path":"/healthz","method":"GET","msg":"from anna@example.com","password":"hunter2hunter2"}'


def faults(expect: dict[str, Any], **changes: Any) -> tuple[str, ...]:
    settings = settings_of(tests=[{"name": "t", "line": LINE, "labels": {"job": "a"}, "expect": expect}], **changes)
    return run_tests(pipeline_of(**changes), settings.tests)[0].faults


def test_tests_that_pass() -> None:
    assert faults({"outcome": "dropped"}, filters=[DROP]) == ()
    fields = {"url.path": "/healthz", "loki.labels.job": "a"}
    assert faults({"fields": fields, "absent": ["anna@example.com", "hunter2hunter2"]}) == ()


def test_tests_that_fail_say_where_and_quote_nothing() -> None:
    assert faults({"outcome": "dropped"}) == ("the event is kept, expected dropped",)
    assert faults({}, filters=[DROP]) == ("the event is dropped by probes, expected kept",)
    wrong = {"fields": {"url.path": "/x", "nothing": 1}, "absent": ["healthz"]}
    said = faults(wrong)
    assert said == ("field url.path is not as expected", "the event has no field nothing", "text 1 of `absent` stands in the event")  # fmt: skip
    settings = settings_of(tests=[{"name": "t", "line": LINE, "expect": wrong}], redaction=[])
    findings = list(failed_findings(run_tests(pipeline_of(redaction=[]), settings.tests)))
    assert {f.path for f in findings} == {"tenants.acme.tests[0]"}
    assert sum("hunter2" in str(f) for f in findings) == 0


def test_the_policy_is_kept_under_its_id(tmp_path: Path) -> None:
    pipeline = pipeline_of(filters=[DROP])
    file = keep_policy(pipeline.policy, tmp_path / "policies")
    assert keep_policy(pipeline.policy, tmp_path / "policies") == file
    assert file.name == f"{pipeline.policy_id}.json"
    assert policy_id_of(json.loads(file.read_bytes())) == pipeline.policy_id
    assert [f.name for f in file.parent.iterdir()] == [file.name]


def test_everything_that_changes_events_changes_the_id(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"filters": [DROP]},
        {"format": "text"},
        {"original": "never"},
        {"data_class": "x"},
    ]
    for content in ("a,b\n1,2\n", "a,b\n1,3\n"):
        table = tmp_path / str(len(changes)) / "t.csv"
        table.parent.mkdir()
        table.write_text(content)
        lookup = {"file": str(table), "column": "a", "label": "a"}
        changes.append({"filters": [{"then": "enrich", "lookup": lookup}]})
    ids = [pipeline_of(**c).policy_id for c in changes]
    assert len(set(ids)) == len(ids)
    assert ids == [pipeline_of(**c).policy_id for c in changes]
