"""One real Apache Kafka for tests and benchmarks: Maven brings the jars once, Java runs a KRaft node on loopback.

``python -m tests.support.kafka fetch`` brings the jars, ``start`` prints the bootstrap address and leaves the broker running, ``stop`` ends it. Tests use the
``kafka`` fixture (``tests/support/fixtures.py``), which takes ``KAFKA_BOOTSTRAP`` when that is set.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from string import Template
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "tests" / "services" / "kafka"
HOME = ROOT / ".services" / "kafka"
LIBS = HOME / "libs"
STATE = HOME / "running.json"
START_SECONDS = 60.0
CONTAINER_IMAGE = "apache/kafka:4.1.0"


class KafkaMissingError(RuntimeError):
    """Neither Java with Maven nor a Docker engine is there."""


def prepare_jars() -> None:
    """Let Maven copy the broker's jars once. Several test runs may ask at the same time."""
    HOME.mkdir(parents=True, exist_ok=True)
    done = LIBS / ".complete"
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return
        if not (shutil.which("mvn") and shutil.which("java")):
            raise KafkaMissingError("a real Kafka needs java (17 or newer) and mvn, or a running Docker engine")
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={LIBS}"]
        command = ["mvn", "-q", "-B", "-f", str(TEMPLATES / "pom.xml"), *goal]
        result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
        if result.returncode:
            raise KafkaMissingError(f"Maven could not bring Kafka's jars:\n{result.stdout[-2000:]}")
        done.touch()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class KafkaServer:
    """A broker with its own data directory: ``start``, ``stop``, ``kill`` (-9) and ``start`` again on the same data."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._broker_port = 0

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._broker_port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _java(self, *arguments: str) -> list[str]:
        # Serial collector and 512 MB: the machine has two cores and the broker is not what is measured.
        return ["java", "-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{LIBS}/*", *arguments]

    def _format(self) -> Path:
        """Write the properties and format the data directory on the first start."""
        properties = self._directory / "server.properties"
        if not properties.exists():
            prepare_jars()
            self._directory.mkdir(parents=True, exist_ok=True)
            self._broker_port = free_port()
            template = Template((TEMPLATES / "server.properties").read_text())
            values = {
                "broker_port": self._broker_port,
                "controller_port": free_port(),
                "data_dir": self._directory / "data",
            }
            properties.write_text(template.substitute(values))
            # The tool would take an id that begins with a hyphen for an option.
            cluster_id = "k" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
            command = self._java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties))
            subprocess.run(command, check=True, capture_output=True, timeout=START_SECONDS)
        return properties

    def start(self) -> KafkaServer:
        """Start and wait until it answers. Raises RuntimeError with the end of its log when it does not."""
        properties = self._format()
        with (self._directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(properties)), stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._broker_port)) == 0 and answers(self.bootstrap_servers, 5):
                    return self
            time.sleep(0.1)
        self.kill()
        raise RuntimeError("Kafka did not start:\n" + (self._directory / "server.log").read_text()[-3000:])

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_SECONDS)
            self._process = None

    def kill(self) -> None:
        """Kill -9: the data directory stays for the next start."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in an orderly way; after ten seconds by force."""
        try:
            if self._process is not None:
                self._process.terminate()
                self._process.wait(10)
                self._process = None
        except subprocess.TimeoutExpired:
            self.kill()


def answers(bootstrap_servers: str, timeout_seconds: float) -> bool:
    """Tell whether a broker answers with itself in the metadata."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        return bool(admin.list_topics(timeout=timeout_seconds).brokers)
    except KafkaException:
        return False


class ContainerServer:
    """The same broker as a container, where Docker runs and Java or Maven are missing."""

    def __init__(self) -> None:
        from testcontainers.kafka import KafkaContainer  # noqa: PLC0415 - only where it is used

        self._container: Any = KafkaContainer(image=CONTAINER_IMAGE)

    @property
    def bootstrap_servers(self) -> str:
        return str(self._container.get_bootstrap_server())

    def start(self) -> ContainerServer:
        self._container.start()
        return self

    def stop(self) -> None:
        self._container.stop()


def docker_runs() -> bool:
    docker = shutil.which("docker")
    return (
        docker is not None
        and subprocess.run([docker, "info"], check=False, capture_output=True, timeout=20).returncode == 0
    )


def start_any(directory: Path) -> KafkaServer | ContainerServer:
    """Start a broker by whatever this machine has. Raises KafkaMissingError."""
    if not (shutil.which("java") and (shutil.which("mvn") or (LIBS / ".complete").exists())) and docker_runs():
        return ContainerServer().start()
    return KafkaServer(directory).start()


def _running() -> dict[str, Any] | None:
    """Return the state of the broker that ``start`` left, when it still is that process."""
    try:
        state: dict[str, Any] = json.loads(STATE.read_text())
        command = Path(f"/proc/{state['pid']}/cmdline").read_bytes().decode()
    except (OSError, ValueError):
        return None
    return state if state["directory"] in command else None


def main(argument: str) -> int:
    state = _running()
    if argument == "start":
        if state is None:
            HOME.mkdir(parents=True, exist_ok=True)
            server = KafkaServer(Path(tempfile.mkdtemp(prefix="broker-", dir=HOME))).start()
            state = {
                "pid": server.pid,
                "bootstrap": server.bootstrap_servers,
                "directory": str(server._directory),
            }
            STATE.write_text(json.dumps(state))
        print(state["bootstrap"])
    elif argument == "stop" and state is not None:
        os.kill(state["pid"], signal.SIGTERM)
        for _ in range(100):
            if _running() is None:
                break
            time.sleep(0.1)
        else:
            os.kill(state["pid"], signal.SIGKILL)
        shutil.rmtree(state["directory"], ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            STATE.unlink()
    elif argument == "fetch":
        if shutil.which("mvn") or not docker_runs():
            prepare_jars()
    elif argument != "stop":
        print("usage: python -m tests.support.kafka fetch|start|stop", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
