"""A process that delivers one lane to a bucket until it is done or killed: ``python -m tests.support.s3_child URL BUCKET DIR SEED COUNT``.

Its position file is what a bus would have committed; it lags behind what is stored, as commits do.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from connectors.base import Batch, Record, TargetUnavailable
from exporter.domain.events import encode_head
from tests.support.moto import make_connector

BASE_NS = 1_764_000_000_000_000_000
_MINUTE_NS = 60_000_000_000


def record(number: int) -> Record:
    """Events of a few minutes each, so that a batch spans hours, with a late one now and then."""
    minute = number // 3 - (90 if number % 17 == 0 else 0)
    head = encode_head(f"{number:032x}", BASE_NS + minute * _MINUTE_NS)
    return Record(number * 2, b"stream", head + b'"tenant.id":"acme"}')


async def main(url: str, bucket: str, directory: Path, seed: int, count: int) -> None:
    chance, position = random.Random(seed), directory / "position"
    number = int(position.read_text()) if position.exists() else 0
    connector = make_connector(url, bucket, directory)
    await connector.open()
    print("ready", flush=True)
    while number < count:
        records = [record(n) for n in range(number, min(count, number + chance.randrange(1, 100)))]
        done = len(records)
        while records:
            try:
                result = await connector.deliver(Batch("acme", 0, records, 1))
            except TargetUnavailable:
                continue
            records = [records[i] for i in result.retry]
        number += done
        if chance.random() < 0.4:
            fresh = position.with_suffix(".new")
            fresh.write_text(str(number))
            fresh.replace(position)
    await connector.close()
    position.write_text(str(count))
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
