"""What the stand-ins of targets have in common: faults in a queue, their control over HTTP, a file of what was stored, and
running until a signal comes.
"""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson

from exporter.sandbox.http import Request, Response


@dataclass(slots=True, kw_only=True)
class ScriptedFault:
    """What happens to the next requests with data, ``times`` of them, after ``skip`` others.

    ``store``: store everything, then go wrong. ``cut``: close without an answer. ``hang``: never answer. ``slow_seconds``: answer
    late. ``body``: answer 200 with this text, as a captive proxy does.
    """

    store: bool = False
    cut: bool = False
    hang: bool = False
    slow_seconds: float = 0.0
    body: str | None = None
    retry_after: str | None = None
    skip: int = 0
    times: int = 1

    def unanswered(self) -> Response | None:
        """Return the answer that is none of the service's own, None where the service answers."""
        if self.cut or self.hang:
            return Response(close=self.cut, hang=self.hang)
        return None if self.body is None else Response(200, self.body.encode(), {"Content-Type": "text/html"})


F = TypeVar("F", bound=ScriptedFault)


class Faults(deque[F]):
    """Faults that wait for requests, in order."""

    def next(self) -> F | None:
        """Return what happens to the request that just came."""
        if not self:
            return None
        fault = self[0]
        if fault.skip > 0:
            fault.skip -= 1
            return None
        fault.times -= 1
        if fault.times <= 0:
            self.popleft()
        return fault

    def control(self, request: Request, make: Callable[..., F]) -> Response | None:
        """Serve ``POST /sandbox/faults`` (a JSON list of faults) and ``/sandbox/faults/clear``; None for anything else."""
        if request.method != "POST" or not request.path.startswith("/sandbox/faults"):
            return None
        if request.path == "/sandbox/faults":
            self.extend(make(**fault) for fault in orjson.loads(request.body))
        elif request.path == "/sandbox/faults/clear":
            self.clear()
        else:
            return None
        return json_answer({"waiting": len(self)})


class Store:
    """A file of what was accepted; without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("ab") if path is not None else None

    def write(self, data: bytes) -> None:
        """Append, and hand it to the operating system: a killed stand-in must not forget what it acknowledged."""
        if self._file is not None:
            self._file.write(data)
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _Server(Protocol):
    @property
    def url(self) -> str: ...

    async def stop(self) -> None: ...


async def serve_until_signalled(server: _Server) -> None:
    """Print the address of a started stand-in, and stop it on SIGTERM or SIGINT."""
    print(server.url, flush=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    await server.stop()


def json_answer(value: Any) -> Response:
    """Return 200 with JSON."""
    return Response(200, orjson.dumps(value), {"Content-Type": "application/json"})
