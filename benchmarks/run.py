"""``make bench``: the hot path up to a real Kafka, reading, and delivery, one after the other.

``LINES=SCRIPT`` uses a script that makes the lines (see ``benchmarks.hotpath``).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import delivery, hotpath, passes, reading, s3, sentinel
from exporter.bus import create_bus
from exporter.bus.base import Commit
from exporter.domain.events import EncodedBatch
from exporter.settings.model import KafkaBus
from tests.support.kafka import KafkaServer

#: As the other stages: the best of so many, for a shared machine only ever makes a run slower.
RUNS = 5


class KafkaStage:
    """Commits batches as the worker does, one transaction a page, and counts the CPU of all threads of this process."""

    def __init__(self, bootstrap_servers: str) -> None:
        settings = KafkaBus(
            kind="kafka",
            bootstrap_servers=bootstrap_servers,
            replication_factor=1,
            min_insync_replicas=1,
            shard_count=1,
        )
        self._bus = create_bus(settings)
        self._bus.prepare([hotpath.TENANT], [])
        self._writer = self._bus.open_shard(0, "bench")
        self._writer.checkpoints()

    def __call__(self, batches: Sequence[EncodedBatch]) -> float:
        self._writer.commit(Commit(batches[:1]))  # connections and topic metadata are not measured
        return min(self._run(batches) for _ in range(RUNS))

    def _run(self, batches: Sequence[EncodedBatch]) -> float:
        before = time.process_time()
        for batch in batches:
            self._writer.commit(Commit([batch], {f"live/{batch.tenant}": b"{}"}, b"{}"))
        return time.process_time() - before

    def close(self) -> None:
        self._writer.close()
        self._bus.close()


def main() -> int:
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP")
    with tempfile.TemporaryDirectory() as directory:
        server = None if bootstrap else KafkaServer(Path(directory)).start()
        stage = KafkaStage(bootstrap or server.bootstrap_servers)
        try:
            print("== hot path: Loki page → … → Kafka ==\n")
            leaked = hotpath.main(stage, [os.environ.get("LINES", "")])
        finally:
            stage.close()
            if server is not None:
                server.stop()
    further = (
        ("reading from the stand-in Loki", reading),
        ("passes over quiet history", passes),
        ("bus → Splunk HEC, gzip", delivery),
        ("bus → S3, ndjson.gz", s3),
        ("bus → Microsoft Sentinel, gzip, TLS", sentinel),
    )
    for title, module in further:
        print(f"\n== {title} ==\n", flush=True)
        sys.argv = [title]
        module.main()
    return leaked


if __name__ == "__main__":
    sys.exit(main())
