"""`policy test`: outcome, exit codes, and the example of the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support.cli import invoke

DOC = Path(__file__).parents[3] / "docs" / "filters.md"


def example(tmp_path: Path, old: str = "", new: str = "") -> Path:
    block = re.search(r"```yaml\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert block
    file = tmp_path / "c.yaml"
    file.write_text(block[1].replace(old, new) if old else block[1])
    return file


def test_the_documented_example_passes_its_tests(tmp_path: Path) -> None:
    file = example(tmp_path)
    done = invoke("policy", "test", "-c", file, "--json")
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["ok"], len(answer["tests"])) == (0, True, 2)
    assert re.fullmatch("[0-9a-f]{16}", answer["policies"]["acme"])
    assert invoke("check", "-c", file).exit_code == 0


def test_a_failing_test_fails_and_shows_no_line(tmp_path: Path) -> None:
    file = example(tmp_path, "outcome: dropped", "outcome: kept")
    done = invoke("policy", "test", "-c", file, "--tenant", "acme")
    assert done.exit_code == 1
    assert "the event is dropped by probes, expected kept" in done.stdout
    assert "made-up-value" not in done.output
    assert invoke("check", "-c", file).exit_code == 2


def test_an_unknown_tenant_is_a_fault_of_usage(tmp_path: Path) -> None:
    done = invoke("policy", "test", "-c", example(tmp_path), "--tenant", "acmee")
    assert done.exit_code == 2
