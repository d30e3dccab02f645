"""Packs: load, own samples, every finding at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from exporter.errors import ConfigurationError
from exporter.pipeline import compile_pipeline
from exporter.pipeline.redact.engine import Redactor, sample_findings
from exporter.pipeline.redact.rules import known_packs, load_rules
from tests.support.pipelines import TENANT, batch_of, events_of, pipeline_of, settings_of, stream_of

RULE = {
    "name": "badge",
    "scan": ["badge-[0-9]"],
    "reach": "a-z0-9-",
    "pattern": "badge-[0-9]+",
    "samples": {"match": ["see «badge-12» now"], "pass": ["badge-x"]},
}


def write_pack(folder: Path, name: str, *rules: dict[str, object]) -> None:
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"pack": name, "rules": list(rules)}), "utf-8")


def findings_of(packs: list[str], folder: Path | None = None) -> list[str]:
    named = [str(folder / f"{pack}.yaml") if folder and (folder / f"{pack}.yaml").exists() else pack for pack in packs]
    with pytest.raises(ConfigurationError) as caught:
        compile_pipeline(TENANT, settings_of(redaction=named))
    return [str(f) for f in caught.value.findings]


def test_shipped_packs_pass_their_own_samples():
    rules, _, findings = load_rules(("eu-pii", "secrets"), "here")
    assert not findings
    assert not sample_findings(Redactor(rules), "here")
    assert {"eu-pii", "secrets"} <= set(known_packs())


def test_the_files_under_config_are_the_shipped_packs():
    for name in ("eu-pii", "secrets"):
        shown = Path("config/redaction") / f"{name}.yaml"
        assert shown.read_bytes() == (Path("exporter/pipeline/redact/packs") / f"{name}.yaml").read_bytes()


def test_a_pack_of_ones_own_acts(tmp_path: Path):
    write_pack(tmp_path, "mine", RULE)
    pipeline = compile_pipeline(TENANT, settings_of(redaction=[str(tmp_path / "mine.yaml")]))
    assert pipeline.redact_lines(["x badge-77 y"]) == ["x [redacted-badge] y"]


def test_every_finding_comes_at_once(tmp_path: Path):
    write_pack(tmp_path, "bad", {**RULE, "pattern": "("}, {**RULE, "name": "other", "validator": "nope"})
    write_pack(tmp_path, "worse", {**RULE, "name": "third", "pattern": "[z"})
    found = findings_of(["eu-pi", "bad", "worse"], tmp_path)
    assert len(found) == 3
    assert any("'eu-pi' not found" in f and "eu-pii" in f for f in found)
    assert any("unknown validator" in f for f in found)
    assert any("does not compile" in f for f in found)


@pytest.mark.parametrize(
    "change",
    [
        {"samples": {"match": ["see «badge-12»3 now"], "pass": ["x"]}},
        {"samples": {"match": ["«badge-1»"], "pass": ["badge-9"]}},
        {"name": "badge-1", "samples": {"match": ["«badge-2»"], "pass": ["x"]}},
    ],
)
def test_a_failing_sample_or_a_mask_that_looks_like_data_refuses_the_pack(tmp_path: Path, change: dict[str, object]):
    write_pack(tmp_path, "mine", {**RULE, **change})
    assert findings_of(["mine"], tmp_path)


def test_scan_pattern_outside_of_the_common_syntax_is_a_finding(tmp_path: Path):
    write_pack(tmp_path, "mine", {**RULE, "scan": ["(?<=x)badge"]})
    assert "does not compile" in findings_of(["mine"], tmp_path)[0]


def test_a_file_that_is_no_pack_is_a_finding(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("a: [", "utf-8")
    (tmp_path / "list.yaml").write_text("- 1", "utf-8")
    assert len(findings_of(["mine", "list"], tmp_path)) == 2


def test_policy_id_follows_the_packs():
    assert pipeline_of().policy_id == pipeline_of(targets=["soc"]).policy_id
    assert pipeline_of().policy_id != pipeline_of(data_class="security").policy_id
    assert pipeline_of().policy_id != pipeline_of(redaction=["secrets", "eu-pii"]).policy_id


def test_no_packs_means_nothing_is_redacted():
    out = pipeline_of(redaction=[]).process(batch_of(stream_of(["mail a@b.example"])))
    assert events_of(out)[0]["message"] == "mail a@b.example"
