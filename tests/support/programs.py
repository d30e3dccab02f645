"""Programs as processes for tests: started in groups of their own, with their output in files, and all ended at the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from exporter.domain.events import event_id_of
from tests.support.feed import Feed

ROOT = Path(__file__).parents[2]
#: For whatever has to happen at all; the tests assert no time.
PATIENCE_SECONDS = 90.0


def wait_until(reached: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Return the first true answer. ``what`` says in the failure what did not come; it must hold no payload."""
    started = time.monotonic()
    while not (answer := reached()):
        now = time.monotonic()
        if now - started > seconds:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(min(0.05 + (now - started) / 20, 1.0))  # looking costs what the service needs itself
    return answer


class Program:
    """A process in a group of its own; what it prints goes to ``<name>.out`` and ``<name>.err``, appended on a restart."""

    def __init__(self, name: str, command: Sequence[str], directory: Path, environment: Mapping[str, str] = {}) -> None:
        self.name, self._command, self._directory = name, list(command), directory
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def out(self) -> Path:
        return self._directory / f"{self.name}.out"

    @property
    def err(self) -> Path:
        return self._directory / f"{self.name}.err"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Program:
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self._process = subprocess.Popen(
                self._command,
                stdout=out,
                stderr=err,
                cwd=self._directory,
                env=self._environment,
                start_new_session=True,
            )
        return self

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Return its exit code; an AssertionError and its end by force when it does not end."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {seconds:.0f} s") from None

    def terminate(self, seconds: float = PATIENCE_SECONDS) -> int:
        """SIGTERM to the program alone, as Kubernetes sends it; return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self.wait(seconds)

    def kill_alone(self) -> None:
        """Kill -9 the program but not its children."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """Kill -9 the program and all its children at one instant."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(PATIENCE_SECONDS)

    def children(self) -> list[int]:
        """Pids of its direct children."""
        if not self.alive:
            return []
        try:
            texts = [p.read_text() for p in Path(f"/proc/{self.pid}/task").glob("*/children")]
        except OSError:
            return []
        return [int(pid) for text in texts for pid in text.split()]

    def children_of_role(self, role: str) -> list[int]:
        """Pids of its reader or delivery processes."""
        return [pid for pid in self.children() if f"\0--role\0{role}\0" in _command_line(pid)]

    def log(self) -> list[dict[str, Any]]:
        """What it logged, as far as it is whole lines of JSON."""
        events = []
        for line in self.err.read_bytes().splitlines() if self.err.exists() else []:
            with contextlib.suppress(ValueError):
                events.append(json.loads(line))
        return [event for event in events if isinstance(event, dict)]

    def logged(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.log() if event.get("event") == name]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def resident_bytes(pid: int) -> int:
    """Memory of a process that only it needs (its anonymous pages); 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


class Processes:
    """Starts programs and ends all of them at the end of the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._programs: list[Program] = []
        self._feeds: list[Feed] = []

    def feed(self, loki_url: str) -> Feed:
        """Return a feed for as long as the programs live."""
        self._feeds.append(Feed(loki_url))
        return self._feeds[-1]

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] = {}) -> Program:
        program = Program(name, command, self.directory, environment)
        self._programs.append(program)
        return program.start()

    def end(self) -> None:
        for feed in self._feeds:
            feed.close()
        for program in reversed(self._programs):
            program.kill()


@contextlib.contextmanager
def processes(directory: Path) -> Iterator[Processes]:
    """Programs that live as long as the block."""
    made = Processes(directory)
    try:
        yield made
    finally:
        made.end()


class StandIn:
    """A stand-in as a process of its own, with its control routes."""

    def __init__(self, program: Program) -> None:
        self.program = program
        wait_until(lambda: b"\n" in program.out.read_bytes(), f"{program.name} tells its address")
        first = program.out.read_bytes().splitlines()[0]
        self.url: str = json.loads(first)["url"] if first.startswith(b"{") else first.decode()

    def control(self, method: str, action: str, **options: Any) -> Any:
        """Ask ``/sandbox/<action>``."""
        answer = httpx.request(method, f"{self.url}/sandbox/{action}", timeout=20, **options)
        answer.raise_for_status()
        return answer.json()


def stand_in_loki(running: Processes, *arguments: str) -> StandIn:
    """Start a Loki of three ingesters."""
    return StandIn(running.start("loki", [sys.executable, "-m", "exporter.sandbox.loki", "--port", "0", *arguments]))


class Hec(StandIn):
    """A Splunk HEC that keeps what it took in ``hec.store``, and the section of a target that delivers there."""

    def __init__(self, running: Processes, port: int = 0) -> None:
        self.token = "stand-in-of-the-tests"
        self._token = running.directory / "hec.token"
        self._token.write_text(self.token)
        self.store = running.directory / "hec.store"
        command = ["-m", "exporter.sandbox.hec", "--port", str(port), "--token-file", str(self._token)]
        super().__init__(running.start("hec", [sys.executable, *command, "--store", str(self.store)]))

    def target(self, **keys: Any) -> dict[str, Any]:
        return {
            "kind": "splunk_hec",
            "url": self.url,
            "token_file": str(self._token),
            "batch_linger_seconds": 0.2,
            "retry_max_seconds": 1,
            **keys,
        }

    def ids(self) -> list[str]:
        """Ids of the events it stored, in order."""
        return list(self.control("GET", "ids"))

    def wait_stored(self, count: int) -> None:
        """Wait until it has stored so many different events."""
        wait_until(lambda: self.control("GET", "stats")["distinct"] >= count, f"{count} events are at the HEC")


def stored_ids(directory: Path) -> list[str]:
    """Ids of the events in the files of a file target, those still open included; a line being written is left out."""
    ids: list[str] = []
    for path in sorted(directory.rglob("*.ndjson*")):
        with contextlib.suppress(FileNotFoundError):  # just renamed: the next look finds it
            ids += [event_id_of(line) for line in path.read_bytes().split(b"\n")[:-1]]
    return ids
