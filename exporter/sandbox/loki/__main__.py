"""``python -m exporter.sandbox.loki``: the stand-in as a process of its own, for the demo and for tests that kill things.

Prints one line of JSON with its address when it serves, and ends on SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal

from exporter.sandbox.loki.limits import LokiLimits
from exporter.sandbox.loki.standin import StandInLoki


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m exporter.sandbox.loki", description="A stand-in Loki on loopback.")
    parser.add_argument("--port", type=int, default=3100, help="0 takes a free one")
    parser.add_argument("--ingesters", type=int, default=3)
    parser.add_argument("--replication", type=int, default=1)
    parser.add_argument("--mode", choices=["separate", "single"], default="separate")
    parser.add_argument("--no-auth", action="store_true", help="one tenant, X-Scope-OrgID is ignored")
    parser.add_argument("--retention-seconds", type=float, default=0.0, help="forget older entries; 0 keeps all")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    loki = StandInLoki(
        ingesters=arguments.ingesters,
        replication=arguments.replication,
        mode=arguments.mode,
        limits=LokiLimits(retention_seconds=arguments.retention_seconds),
        auth_enabled=not arguments.no_auth,
        control=True,
    )
    # The control routes script faults and tell counts, so they are never offered beyond loopback.
    await loki.start("127.0.0.1", arguments.port)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(json.dumps({"url": loki.url}), flush=True)
    await stopped.wait()
    await loki.stop()


if __name__ == "__main__":
    asyncio.run(_serve(_arguments()))
