"""What ``make test`` runs: one real Kafka for the whole run, then pytest over both cores.

Arguments go to pytest. Tests that kill a broker start their own. A test that fails beside others is run once more alone, because
some kill and pause processes and a starved machine is not what they ask about; what fails twice fails the run, and the
first failure stays in the output.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.kafka import KafkaMissingError, KafkaServer

#: Most tests wait for processes rather than compute, so more workers than cores pay.
WORKERS = 4
TESTS_FAILED = 1  # pytest's exit code
#: Three times what a run takes on two busy cores: a native library that hangs cannot be stopped by a test's own time limit.
RUN_SECONDS = 1800.0
HUNG = -1


def run(command: list[str], environment: dict[str, str]) -> int:
    """Run a command in a process group of its own; HUNG when it had to be ended with all its workers."""
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        try:
            return process.wait(RUN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return HUNG


def main() -> int:
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="loki-siem-kafka-") as directory:
        server = None
        if "KAFKA_BOOTSTRAP" not in environment:
            try:
                server = KafkaServer(Path(directory)).start()
                environment["KAFKA_BOOTSTRAP"] = server.bootstrap_servers
            except KafkaMissingError as error:
                print(f"no real Kafka: {error}", file=sys.stderr)  # the fixture decides whether that fails the run
        try:
            pytest = [sys.executable, "-m", "pytest", *sys.argv[1:]]
            # One test at a time, long ones first (see tests.support.fixtures), so that none is left for the end.
            parallel = [*pytest, "-n", str(WORKERS), "--dist", "load", "--maxschedchunk", "1"]
            code = run(parallel, environment)
            if code == HUNG:
                print("\nthe run hung; once more:", flush=True)
                code = run(parallel, environment)
            if code == TESTS_FAILED:
                print("\nthe tests that failed, once more and alone:", flush=True)
                code = run([*pytest, "--last-failed"], environment)
            return code
        finally:
            if server is not None:
                server.stop()


if __name__ == "__main__":
    sys.exit(main())
