"""The whole service as processes, for tests: a configuration in a folder, programs with their output in files, a feed that
remembers what Loki took, and the bus read from outside.

Nothing here prints an event: comparisons are numbers of missing, foreign and repeated ids.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import yaml
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient
from pydantic import TypeAdapter

from exporter.bus import create_bus
from exporter.bus.kafka.topics import Names
from exporter.bus.sqlite.blocks import unpack
from exporter.custody.ledger import verify_chain
from exporter.domain.checkpoints import CHAIN_KEY, LiveCheckpoint
from exporter.domain.events import event_id_of
from exporter.domain.ids import StreamHasher, add_fingerprints, fingerprint
from exporter.errors import ExporterError
from exporter.settings.model import BusSettings
from tests.support.kafka import free_port

ROOT = Path(__file__).parents[2]
#: For whatever has to happen at all; the tests assert no time.
PATIENCE_SECONDS = 90.0
#: (time in ns, line, structured metadata)
Entry = tuple[int, str, Mapping[str, str] | None]


def wait_until(reached: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Return the first true answer. ``what`` says in the failure what did not come; it must hold no payload."""
    started = time.monotonic()
    while not (answer := reached()):
        now = time.monotonic()
        if now - started > seconds:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(min(0.05 + (now - started) / 20, 1.0))  # looking costs what the service needs itself
    return answer


# --- processes --------------------------------------------------------------------------------------------------------


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


# --- stand-ins ---------------------------------------------------------------------------------------------------------


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


# --- the service ------------------------------------------------------------------------------------------------------


@dataclass
class Installation:
    """A configuration and what runs by it. ``tenants`` and ``targets`` are written as they are; tenants get the usual selector."""

    running: Processes
    loki_url: str
    bus: dict[str, Any]
    tenants: dict[str, dict[str, Any]]
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    loki: dict[str, Any] = field(default_factory=dict)
    service: dict[str, Any] = field(default_factory=dict)
    name: str = "service"

    @property
    def directory(self) -> Path:
        return self.running.directory

    @property
    def config_path(self) -> Path:
        return self.directory / f"{self.name}.yaml"

    def write(self, **service: Any) -> Path:
        """Write the configuration; ``service`` overrides keys of that section."""
        document = {
            "version": 1,
            "loki": {"url": self.loki_url, **self.loki},
            "bus": self.bus,
            "service": {"state_dir": "state", "log_format": "json", **self.service, **service},
            "tenants": {name: {"selector": '{job=~".+"}', **keys} for name, keys in self.tenants.items()},
            "targets": self.targets,
        }
        self.config_path.write_text(yaml.safe_dump(document))
        return self.config_path

    def start(self, name: str, *arguments: str, **service: Any) -> Program:
        """Start ``run`` with a free port for its probes (``port`` of the program)."""
        service.setdefault("listen", f"127.0.0.1:{free_port()}")
        path = self.write(**service).rename(self.directory / f"{name}.yaml")
        return self.running.start(name, [sys.executable, "-m", "exporter", "run", "-c", str(path), *arguments])

    def drain(self, *arguments: str, seconds: float = PATIENCE_SECONDS, **service: Any) -> tuple[int, str]:
        """Run ``run --drain`` to its end; return the exit code and what it printed."""
        program = self.start("drain", "--drain", *arguments, **service)
        before = program.out.stat().st_size
        code = program.wait(seconds)
        return code, program.out.read_bytes()[before:].decode()

    def command(self, *arguments: str, configuration: str | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run another command of the CLI with the configuration of a started program, or a fresh one."""
        path = self.directory / f"{configuration}.yaml" if configuration else self.write()
        return subprocess.run(
            [sys.executable, "-m", "exporter", *arguments, "-c", str(path)],
            check=False,
            capture_output=True,
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=PATIENCE_SECONDS,
        )

    def probe(self, name: str, path: str) -> httpx.Response | None:
        """Ask the probes of a started program; None while nothing listens."""
        listen = yaml.safe_load((self.directory / f"{name}.yaml").read_text())["service"]["listen"]
        try:
            return httpx.get(f"http://{listen}{path}", timeout=5)
        except httpx.TransportError:
            return None

    def wait_ready(self, *names: str) -> None:
        for name in names:
            wait_until(
                lambda n=name: (answer := self.probe(n, "/healthz/ready")) is not None and answer.status_code == 200,
                f"{name} is ready",
            )

    def wait_stored(self, feed: Feed, directory: Path) -> None:
        """Wait until every line that Loki took stands in the files of a file target."""
        expected = {event_id for tenant in feed.tenants for event_id in feed.ids(tenant)}
        wait_until(lambda: expected <= set(stored_ids(directory)), "all lines are in the files")

    def wait_logged(self, program: Program, name: str) -> None:
        wait_until(lambda: program.logged(name), f"{program.name} logs {name}")

    def contents(self) -> BusContents:
        """Everything committed on the bus."""
        if self.bus["kind"] == "kafka":
            return kafka_contents(self.bus["bootstrap_servers"], self.bus["topic_prefix"], list(self.tenants))
        return sqlite_contents(self.directory / self.bus["path"])

    def lives(self) -> dict[str, LiveCheckpoint]:
        """Live checkpoints by tenant as a bus client sees them; cheaper than all contents. Empty before the bus exists."""
        bus = create_bus(TypeAdapter(BusSettings).validate_python(self.bus | self._anchored()))
        try:
            raw = [value for key, value in bus.all_checkpoints().items() if key.startswith("live/")]
        except ExporterError:
            return {}
        finally:
            bus.close()
        return {live.tenant: live for live in map(LiveCheckpoint.decode, raw)}

    def _anchored(self) -> dict[str, Any]:
        return {"path": self.directory / self.bus["path"]} if self.bus["kind"] == "sqlite" else {}

    def owners(self) -> set[int]:
        """Pids of the readers that committed last for some tenant."""
        return {pid_of(live.worker) for live in self.lives().values()}


def pid_of(worker: str) -> int:
    """The pid in a worker's name (``exporter.app.worker_name``)."""
    return int(worker.split("-reader-")[1].split("-", maxsplit=1)[0])


SQLITE_BUS: dict[str, Any] = {"kind": "sqlite", "path": "state/bus.db"}


def kafka_bus(bootstrap_servers: str, prefix: str, **keys: Any) -> dict[str, Any]:
    """A Kafka section for a single broker."""
    return {
        "kind": "kafka",
        "bootstrap_servers": bootstrap_servers,
        "topic_prefix": prefix,
        "shard_count": 8,
        "partitions": 2,
        "replication_factor": 1,
        "min_insync_replicas": 1,
        **keys,
    }


# --- the bus from outside ---------------------------------------------------------------------------------------------


@dataclass(repr=False)
class BusContents:
    """Committed events per tenant, ledger records per shard, checkpoint records per shard."""

    events: dict[str, list[bytes]]
    ledger: dict[int, list[bytes]]
    checkpoints: dict[int, dict[str, bytes]]

    def ids(self, tenant: str) -> list[str]:
        return [event_id_of(value) for value in self.events.get(tenant, [])]

    def late_ids(self, tenant: str) -> list[str]:
        """Ids of events that are marked as late."""
        return [event["event.id"] for event in map(json.loads, self.events.get(tenant, [])) if event["late"]]

    def lives(self) -> dict[str, LiveCheckpoint]:
        """Live checkpoints by tenant."""
        raw = [v for records in self.checkpoints.values() for k, v in records.items() if k.startswith("live/")]
        return {live.tenant: live for live in map(LiveCheckpoint.decode, raw)}


def sqlite_contents(path: Path) -> BusContents:
    """Read the file as it is, without the exporter's reader (which would subscribe a target)."""
    events: dict[str, list[bytes]] = {}
    ledger: dict[int, list[bytes]] = {}
    checkpoints: dict[int, dict[str, bytes]] = {}
    if not path.exists():
        return BusContents(events, ledger, checkpoints)
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as db:
        if not db.execute("PRAGMA user_version").fetchone()[0]:  # being made
            return BusContents(events, ledger, checkpoints)
        db.execute("BEGIN")
        rows = "SELECT tenant, first_offset, data FROM blocks JOIN lanes ON lanes.id = lane ORDER BY blocks.id"
        for tenant, first, data in db.execute(rows):
            events.setdefault(tenant, []).extend(record.value for record in unpack(data, first, first, 0))
        for shard, record in db.execute("SELECT shard, record FROM ledger WHERE shard IS NOT NULL ORDER BY id"):
            ledger.setdefault(shard, []).append(record)
        for shard, key, value in db.execute("SELECT shard, key, value FROM checkpoints"):
            checkpoints.setdefault(shard, {})[key] = value
    return BusContents(events, ledger, checkpoints)


def kafka_messages(bootstrap_servers: str, topics: Sequence[str]) -> Iterator[tuple[str, int, bytes, bytes | None]]:
    """Yield topic, partition, key and value of every committed record up to the end of each partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "outside-check",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        known = AdminClient({"bootstrap.servers": bootstrap_servers}).list_topics(timeout=20).topics
        places = {(t, p) for t in topics if t in known for p in known[t].partitions}
        consumer.assign([TopicPartition(t, p, OFFSET_BEGINNING) for t, p in sorted(places)])
        deadline = time.monotonic() + PATIENCE_SECONDS
        while places:
            assert time.monotonic() < deadline, f"{len(places)} partitions cannot be read to their end"
            for message in consumer.consume(1000, 0.2):
                place = (message.topic() or "", message.partition() or 0)
                if (error := message.error()) is None:
                    yield (*place, message.key() or b"", message.value())
                elif error.code() == KafkaError._PARTITION_EOF:
                    places.discard(place)
    finally:
        consumer.close()


def kafka_topics(bootstrap_servers: str, prefix: str) -> list[str]:
    """All topics of one installation."""
    known = AdminClient({"bootstrap.servers": bootstrap_servers}).list_topics(timeout=20).topics
    return sorted(name for name in known if name.startswith(f"{prefix}."))


def kafka_contents(bootstrap_servers: str, prefix: str, tenants: Sequence[str]) -> BusContents:
    """Read the topics with a plain ``read_committed`` consumer."""
    names = Names(prefix)
    contents = BusContents({}, {}, {})
    topics = [names.checkpoints, names.ledger, *(names.events(tenant) for tenant in tenants)]
    for topic, partition, key, value in kafka_messages(bootstrap_servers, topics):
        if topic == names.checkpoints:
            records = contents.checkpoints.setdefault(partition, {})
            if value is None:
                records.pop(key.decode(), None)
            else:
                records[key.decode()] = value
        elif value is None:
            continue
        elif topic == names.ledger:
            if key == b"commit":
                contents.ledger.setdefault(partition, []).append(value)
        else:
            contents.events.setdefault(names.tenant_of(topic) or "", []).append(value)
    return contents


@dataclass(frozen=True)
class Difference:
    """How two collections of event ids differ, in numbers."""

    missing: int = 0
    foreign: int = 0
    repeated: int = 0


def difference(expected: Iterable[str], found: Iterable[str]) -> Difference:
    """Compare as sets, and count what was found more than once."""
    wanted, have = set(expected), Counter(found)
    return Difference(len(wanted - have.keys()), len(have.keys() - wanted), have.total() - len(have))


def assert_exactly_once(contents: BusContents, feed: Feed) -> None:
    """On the bus stands every accepted line exactly once, and checkpoints and ledger agree with it."""
    found = {tenant: difference(feed.ids(tenant), contents.ids(tenant)) for tenant in feed.tenants}
    assert found == {tenant: Difference() for tenant in feed.tenants}
    assert_accounted(contents)


def assert_accounted(contents: BusContents) -> None:
    """Ledger chains verify and end where the checkpoints say; their counts and fingerprints are those of the events."""
    counts: Counter[str] = Counter()
    prints: dict[str, int] = {}
    for shard, records in contents.ledger.items():
        number, digest = verify_chain(records)
        assert contents.checkpoints[shard][CHAIN_KEY] == f"{number} {digest}".encode()
        for record in map(json.loads, records):
            for entry in record["entries"]:
                counts[entry["tenant"]] += entry["events_out"]
                before = prints.get(entry["tenant"], 0)
                prints[entry["tenant"]] = add_fingerprints(before, int(entry["fingerprint"], 16))
    lives = contents.lives()
    for tenant, values in contents.events.items():
        assert lives[tenant].held == 0
        assert (counts[tenant], lives[tenant].events) == (len(values), len(values))
        assert prints[tenant] == fingerprint(bytes.fromhex(event_id) for event_id in contents.ids(tenant))


# --- the feed ---------------------------------------------------------------------------------------------------------


class Feed:
    """Pushes lines over HTTP and remembers the ids of those that Loki took: the truth, apart from any Loki's own."""

    def __init__(self, loki_url: str) -> None:
        self._client = httpx.Client(base_url=loki_url, timeout=30)
        self._lock = threading.Lock()
        self._ids: dict[str, list[str]] = {}
        self.accepted_at: dict[str, float] = {}  # event id → wall clock at which Loki had taken it

    @property
    def tenants(self) -> list[str]:
        return sorted(self._ids)

    def ids(self, tenant: str) -> list[str]:
        with self._lock:
            return list(self._ids.get(tenant, []))

    @property
    def count(self) -> int:
        with self._lock:
            return sum(map(len, self._ids.values()))

    def push(self, tenant: str, labels: Mapping[str, str], entries: Sequence[Entry]) -> list[str]:
        """Push entries of one stream; return their ids. Raises unless Loki took all of them."""
        values = [[str(t), line, dict(metadata)] if metadata else [str(t), line] for t, line, metadata in entries]
        answer = self._client.post(
            "/loki/api/v1/push",
            json={"streams": [{"stream": dict(labels), "values": values}]},
            headers={"X-Scope-OrgID": tenant},
        )
        assert answer.status_code == 204, f"push answered {answer.status_code}"
        now = time.time()
        hasher = StreamHasher(tenant, dict(sorted(labels.items())))
        ids = hasher.event_ids([e[0] for e in entries], [e[1] for e in entries], [e[2] or {} for e in entries])
        names = [raw.hex() for raw in ids]
        with self._lock:
            self._ids.setdefault(tenant, []).extend(names)
            self.accepted_at |= dict.fromkeys(names, now)
        return names

    def close(self) -> None:
        self._client.close()


class Traffic:
    """Pushes for as long as the block lives, from a thread: several streams a tenant, ties on one nanosecond, and a share of
    lines that come up to ``late_seconds`` after their stamp, as agents send them.
    """

    def __init__(
        self, feed: Feed, tenants: Sequence[str], *, seed: int, pushes_per_second: float = 20, late_seconds: int = 15
    ) -> None:
        self._feed, self._tenants, self._late_seconds = feed, list(tenants), late_seconds
        self._random = random.Random(seed)
        self._pause_seconds = 1 / pushes_per_second
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._number = 0
        self.late_ids: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)
        assert self._error is None, f"the feed failed: {type(self._error).__name__}"

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._pause_seconds):
                self._push_some()
        except Exception as error:  # noqa: BLE001 - raised again, by type, in the test's own thread
            self._error = error

    def _push_some(self) -> None:
        chance = self._random
        late = chance.random() < 0.3
        age_ns = int(chance.uniform(1, self._late_seconds) * 1e9) if late else 0
        labels = {"job": "traffic", "late": str(late).lower(), "stream": str(chance.randrange(3))}
        now_ns = time.time_ns() - age_ns
        entries: list[Entry] = []
        for _ in range(chance.randrange(3, 20)):
            self._number += 1
            metadata = {"trace": f"{self._number:x}"} if chance.random() < 0.3 else None
            tie_or_not = chance.choice((0, 0, 1, 1_000, 1_000_000))
            now_ns += tie_or_not
            entries.append((now_ns, f'{{"n":{self._number},"msg":"user {self._number} logged in"}}', metadata))
        ids = self._feed.push(chance.choice(self._tenants), labels, entries)
        if late:
            self.late_ids.update(ids)


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
