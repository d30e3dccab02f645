"""What ``make test`` runs: one real Kafka for the whole run, then pytest over both cores.

Arguments go to pytest. Tests that kill a broker start their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.kafka import KafkaMissingError, KafkaServer

#: Most tests wait for processes rather than compute, so more workers than cores pay.
WORKERS = 4


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
            command = [sys.executable, "-m", "pytest", "-n", str(WORKERS), "--dist", "loadfile", *sys.argv[1:]]
            return subprocess.run(command, env=environment, check=False).returncode
        finally:
            if server is not None:
                server.stop()


if __name__ == "__main__":
    sys.exit(main())
