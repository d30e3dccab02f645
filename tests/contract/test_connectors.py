"""Every connector of ours passes the shipped contract suite."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from connectors.base import Connector, ConnectorContext
from connectors.registry import factories
from connectors.testing import CHECKS, make_event
from exporter.domain.events import encode_head
from exporter.domain.secrets import Secret
from exporter.sandbox.hec import Fault, StandInHec
from exporter.sandbox.logs_ingestion import Fault as LogsFault
from exporter.sandbox.logs_ingestion import StandInLogs
from tests.support import azurite as azurite_support
from tests.support import moto as moto_support
from tests.support.sentinel import connector_of
from tests.support.webhook import Fault as ReceiverFault
from tests.support.webhook import Receiver

BAD = 0xBAD


class FileHarness:
    def __init__(self, tmp_path: Path) -> None:
        self._directory, self._state = tmp_path / "out", tmp_path / "state"
        self._state.mkdir()
        self._away = tmp_path / "away"

    def connector(self) -> Connector:
        factory = factories()["file"]
        settings = factory.settings(kind="file", directory=self._directory, rotate_bytes=20_000)
        return factory.build(settings, ConnectorContext("archive", str(self._state)))

    async def stored(self, tenant: str) -> list[bytes]:
        assert not list(self._directory.rglob("*.part"))
        files = sorted(self._directory.rglob("*.ndjson"))
        return [line for file in files for line in file.read_bytes().splitlines()]

    async def break_target(self) -> None:
        if self._directory.exists():
            self._directory.rename(self._away)
        self._directory.write_bytes(b"in the way")

    async def mend_target(self) -> None:
        self._directory.unlink()
        self._away.rename(self._directory)

    def refused_event(self) -> bytes:
        return make_event(BAD)[:-1] + b"\n}"


class HecHarness:
    def __init__(self, tmp_path: Path, hec: StandInHec) -> None:
        self._hec, self._token = hec, tmp_path / "token"
        self._token.write_text("t0ken")

    def connector(self) -> Connector:
        factory = factories()["splunk_hec"]
        settings = factory.settings(
            kind="splunk_hec",
            url=self._hec.url,
            token_file=Secret(path=self._token),
            index="main",
            ack_refused_head="accept",
        )
        return factory.build(settings, ConnectorContext("soc", ""))

    async def stored(self, tenant: str) -> list[bytes]:
        return [orjson.dumps(envelope["event"]) for envelope in self._hec.events]

    async def break_target(self) -> None:
        self._hec.faults.append(Fault(status=503, times=1_000_000))

    async def mend_target(self) -> None:
        self._hec.faults.clear()

    def refused_event(self) -> bytes:
        self._hec.rules.bad_ids[f"{BAD:032x}"] = 6
        return make_event(BAD)


class S3Harness:
    def __init__(self, tmp_path: Path, proxy: moto_support.Proxy, bucket: str) -> None:
        self._tmp_path, self._proxy, self._bucket = tmp_path, proxy, bucket

    def connector(self) -> Connector:
        factory = factories()["s3"]
        return factory.build(
            moto_support.make_settings(self._proxy.url, self._bucket, self._tmp_path), ConnectorContext("archive", "")
        )

    async def stored(self, tenant: str) -> list[bytes]:
        found = await moto_support.objects(self._proxy.upstream, self._bucket)
        return [line for key, lines in found.items() if key.startswith(f"{tenant}/") for line in lines]

    async def break_target(self) -> None:
        """The store does its work and the answer never comes: the worst of outages."""
        self._proxy.after = moto_support.hang_up

    async def mend_target(self) -> None:
        self._proxy.after = None

    def refused_event(self) -> bytes:
        return make_event(BAD)[:-1] + b"\n}"


class AzureBlobHarness:
    def __init__(self, tmp_path: Path, proxy: moto_support.Proxy, container: str) -> None:
        self._tmp_path, self._proxy, self._container = tmp_path, proxy, container

    def connector(self) -> Connector:
        factory = factories()["azure_blob"]
        url = f"{self._proxy.url}/{azurite_support.ACCOUNT}"
        settings = azurite_support.make_settings(url, self._container, self._tmp_path)
        return factory.build(settings, ConnectorContext("archive", ""))

    async def stored(self, tenant: str) -> list[bytes]:
        url = f"{self._proxy.upstream}/{azurite_support.ACCOUNT}"
        found = await azurite_support.blobs(url, self._container)
        return [line for name, lines in found.items() if name.startswith(f"{tenant}/") for line in lines]

    async def break_target(self) -> None:
        self._proxy.after = moto_support.hang_up

    async def mend_target(self) -> None:
        self._proxy.after = None

    def refused_event(self) -> bytes:
        return make_event(BAD)[:-1] + b"\n}"


class SentinelHarness:
    def __init__(self, logs: StandInLogs) -> None:
        self._logs = logs

    def connector(self) -> Connector:
        return connector_of(self._logs)

    async def stored(self, tenant: str) -> list[bytes]:
        """Nothing of an event is lost in its row, so the event can be made from it."""
        return [
            encode_head(row["EventId"], row["EventTimeNs"])
            + orjson.dumps({"tenant.id": row["TenantName"], "message": row["Message"]})[1:]
            for row in self._logs.rows
        ]

    async def break_target(self) -> None:
        self._logs.faults.append(LogsFault(status=503, times=1_000_000))

    async def mend_target(self) -> None:
        self._logs.faults.clear()

    def refused_event(self) -> bytes:
        self._logs.table.bad_ids.add(f"{BAD:032x}")
        return make_event(BAD)


class WebhookHarness:
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def connector(self) -> Connector:
        factory = factories()["webhook"]
        settings = factory.settings(kind="webhook", url=self._receiver.url)
        return factory.build(settings, ConnectorContext("hook", ""))

    async def stored(self, tenant: str) -> list[bytes]:
        return self._receiver.events

    async def break_target(self) -> None:
        self._receiver.faults.append(ReceiverFault(503, times=1_000_000))

    async def mend_target(self) -> None:
        self._receiver.faults.clear()

    def refused_event(self) -> bytes:
        self._receiver.bad.add(f"{BAD:032x}")
        return make_event(BAD)


@pytest.fixture(params=["file", "splunk_hec", "splunk_hec_acks", "s3", "azure_blob", "sentinel", "webhook"])
async def harness(request, tmp_path):
    if request.param == "file":
        yield FileHarness(tmp_path)
        return
    if request.param == "s3":
        url = request.getfixturevalue("moto")
        async with moto_support.Proxy(url) as proxy:
            yield S3Harness(tmp_path, proxy, await moto_support.make_bucket(url))
        return
    if request.param == "azure_blob":
        url = request.getfixturevalue("azurite")
        container = await azurite_support.make_container(url)
        async with moto_support.Proxy(url.rpartition("/")[0]) as proxy:
            yield AzureBlobHarness(tmp_path, proxy, container)
        return
    if request.param == "sentinel":
        logs = StandInLogs(keep_rows=True)
        await logs.start()
        try:
            yield SentinelHarness(logs)
        finally:
            await logs.stop()
        return
    if request.param == "webhook":
        receiver = Receiver()
        await receiver.start()
        try:
            yield WebhookHarness(receiver)
        finally:
            await receiver.stop()
        return
    use_ack = request.param == "splunk_hec_acks"
    hec = StandInHec("t0ken", indexes=["main"], keep_events=True, use_ack=use_ack)
    await hec.start()
    try:
        yield HecHarness(tmp_path, hec)
    finally:
        await hec.stop()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check, harness):
    await check(harness)
