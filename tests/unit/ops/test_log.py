from __future__ import annotations

import subprocess
import sys

import pytest

from exporter.errors import TenantStopped
from exporter.ops.log import RateLimited, describe

SCRIPT = """
import asyncio, sys, threading
from exporter.ops import log
log.configure("debug", "json")
import structlog
logger = structlog.get_logger()
secret = "alice" + "@example.org"
try:
    int(secret)
except ValueError:
    logger.exception("step_failed")
def thread():
    {}[secret]
t = threading.Thread(target=thread); t.start(); t.join()
async def main():
    log.log_loop_errors(asyncio.get_running_loop())
    async def forgotten():
        raise RuntimeError(secret)
    task = asyncio.create_task(forgotten())
    await asyncio.sleep(0.01)
    del task
asyncio.run(main())
raise ValueError(secret)
"""


def test_no_exception_text_reaches_any_output() -> None:
    """Library exceptions quote their input; a crash on a log line must not print the line."""
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, timeout=30, check=False)
    output = result.stdout + result.stderr
    assert output.count(b"alice") == 0
    assert result.returncode == 1
    for event in (b"step_failed", b"task_failed", b"process_crashed"):
        assert event in output


def test_our_own_errors_keep_their_text() -> None:
    assert (
        describe(TenantStopped("tenant acme: 401", hint="check the token"))["message"]
        == "tenant acme: 401; check the token"
    )
    assert "message" not in describe(ValueError("payload"))


@pytest.mark.parametrize("key", ["a", "b"])
def test_rate_limit_counts_what_it_held_back(key: str) -> None:
    limit = RateLimited(seconds=3600)
    assert limit.ready(key) == 0
    assert limit.ready(key) is None
    assert limit.ready("other") == 0
