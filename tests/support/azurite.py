"""A real block blob service over HTTP: Azurite, from npm, in a process of its own. ``python -m tests.support.azurite`` fetches it once.

It keeps conditions (409) and checks Content-MD5 (400); immutability it ignores or answers with 501, so what is sent for that is
read off the requests instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob.aio import ContainerClient

from connectors.azure_blob.settings import AzureBlobSettings
from connectors.s3.encode import decode
from exporter.domain.secrets import Secret

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".services" / "azurite"
PROGRAM = HOME / "node_modules" / ".bin" / "azurite-blob"
#: The well-known account of emulators, published by Microsoft; good for nothing else.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_RUNNING = re.compile(r"listens on (https?)://127\.0\.0\.1:(\d+)")


def prepare() -> None:
    """Let npm fetch it once, without running any script of its packages."""
    if PROGRAM.exists():
        return
    HOME.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "tests" / "services" / "azurite" / "package.json", HOME)
    command = ["npm", "install", "--no-fund", "--no-audit", "--ignore-scripts"]
    subprocess.run(command, cwd=HOME, check=True, timeout=600)


def program() -> str:
    """Return where it is, or skip the test."""
    found = os.environ.get("AZURITE_BIN") or shutil.which("azurite-blob") or (str(PROGRAM) if PROGRAM.exists() else "")
    if not found or not shutil.which("node"):
        pytest.skip("Azurite is not here: it needs node, and `make services` to fetch it")
    return found


class Azurite:
    """One server on a port that the system chose."""

    def __init__(self, *options: str) -> None:
        found = program()
        self._directory = tempfile.TemporaryDirectory()
        self._log = Path(self._directory.name) / "out.log"
        flags = ["--disableTelemetry", "--inMemoryPersistence", "--skipApiVersionCheck"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [found, "--blobPort", "0", *flags, *options], stdout=log, stderr=log, cwd=self._directory.name
            )

    def url(self) -> str:
        """Wait until it answers; return the account's address."""
        for _ in range(300):
            if found := _RUNNING.search(self._log.read_text("utf-8", "replace")):
                return f"{found[1]}://127.0.0.1:{found[2]}/{ACCOUNT}"
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError("Azurite does not start")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._directory.cleanup()


@pytest.fixture(scope="session")
def azurite() -> Iterator[str]:
    """Address of the emulator's account, one per test run."""
    server = Azurite()
    try:
        yield server.url()
    finally:
        server.stop()


def admin(url: str, container: str, **keys) -> ContainerClient:
    """Return a plain client (an async context manager) for what a test does as the container's admin."""
    return ContainerClient(url, container, credential=AzureNamedKeyCredential(ACCOUNT, KEY), retry_total=0, **keys)


async def make_container(url: str, **keys) -> str:
    name = f"c-{uuid.uuid4().hex[:12]}"
    async with admin(url, name, **keys) as client:
        await client.create_container()
    return name


async def blobs(url: str, container: str) -> dict[str, list[bytes]]:
    """Return the lines of each event blob by name, in order of their names."""
    found = {}
    async with admin(url, container) as client:
        async for name in client.list_blob_names():
            if not name.startswith("_loki-siem/"):
                stream = await client.get_blob_client(name).download_blob()
                found[name] = decode(await stream.readall())
    return dict(sorted(found.items()))


def make_settings(url: str, container: str, directory: Path, **keys) -> AzureBlobSettings:
    key = directory / "account-key"
    if not key.exists():
        key.write_text(KEY)
    login = {} if "auth" in keys else {"auth": "shared_key", "account_key_file": Secret(path=key)}
    return AzureBlobSettings(**{"kind": "azure_blob", "account_url": url, "container": container, **login, **keys})


if __name__ == "__main__":
    prepare()
