"""The command as a real process: exit codes, standard output and error, pipes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import invoke, run_process, write_config


def test_help_names_every_command_and_loads_no_heavy_part() -> None:
    script = (
        "import sys; sys.argv=['loki-siem','--help']\nfrom exporter.cli import main\n"
        "try: main()\nfinally: print(sorted(m for m in sys.modules if m in HEAVY))"
    )
    heavy = "HEAVY={'pydantic','httpx','confluent_kafka','hyperscan','rich.table'}\n"
    result = subprocess.run([sys.executable, "-c", heavy + script], capture_output=True, timeout=30, check=False)
    text = result.stdout.decode()
    for command in ("run", "check", "status", "init", "schema", "demo", "dlq", "policy"):
        assert f"  {command} " in text
    assert text.splitlines()[-1] == "[]"
    assert b"\x1b" not in result.stdout


def test_exit_codes_and_streams(tmp_path: Path) -> None:
    good = run_process("check", "-c", write_config(tmp_path))
    assert (good.returncode, good.stderr) == (0, b"")
    bad = run_process("check", "-c", tmp_path / "none.yaml")
    assert (bad.returncode, bad.stdout) == (2, b"")
    assert b"Traceback" not in bad.stderr
    assert b"\x1b" not in bad.stderr
    usage = run_process("check")
    assert usage.returncode == 2
    failed = run_process("status", "-c", tmp_path / "c.yaml")
    assert failed.returncode == 1
    assert failed.stderr.startswith(b"error: ")


def test_secrets_are_in_no_output(tmp_path: Path) -> None:
    extra = "  soc: {kind: splunk_hec, url: 'https://h:8088', token_file: hunter2hunter2, token: hunter2hunter2}\n"
    path = write_config(tmp_path, extra=extra)
    for arguments in (["check"], ["check", "--json"], ["run"], ["status"]):
        result = invoke(*arguments, "-c", path)
        assert result.exit_code == 2
        leaked = "hunter2" in result.output
        assert not leaked, arguments
    process = run_process("--debug", "run", "-c", path)
    assert process.returncode == 2
    leaked = b"hunter2" in process.stdout + process.stderr
    assert not leaked


def test_policy_try_survives_a_reader_that_leaves(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", "policy", "try", "-c", str(path), "--tenant", "acme"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdin.write(b"hello\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"hello\n", "a line leaves before the input ends"
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        for _ in range(1000):
            process.stdin.write(b"hello again\n" * 1000)
            process.stdin.flush()
        pytest.fail("the command goes on reading although nobody reads it")
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) == 1
    assert errors == b""


def test_an_output_that_is_full_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("no /dev/full here")
    with device.open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "exporter", "policy", "try", "-c", str(write_config(tmp_path)), "--tenant", "acme"],
            input=b"secret anna@example.com\n",
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    assert result.returncode == 1
    leaked = b"anna" in result.stderr
    assert not leaked
    assert b"Traceback" not in result.stderr
    assert b"No space left" in result.stderr
