"""The stand-in is as strict, and as silent, as Azure Monitor is documented to be."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
import uuid
import zlib
from datetime import UTC, datetime

import httpx
import orjson
import pytest
from isal import igzip

from exporter.sandbox.entra import Entra
from exporter.sandbox.logs_ingestion import AUDIENCE, DCR_ID, STREAM, Fault, StandInLogs

PATH = f"/dataCollectionRules/{DCR_ID}/streams/{STREAM}?api-version=2023-01-01"
NOW = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.0000001Z")


@pytest.fixture
async def logs():
    server = StandInLogs(keep_rows=True)
    await server.start()
    yield server
    await server.stop()
    assert not server.failures


async def post(logs, records, *, path=PATH, token=None, method="POST", headers=None):
    token = logs.entra.issue(AUDIENCE)["access_token"] if token is None else token
    body = records if isinstance(records, bytes) else orjson.dumps(records)
    given = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **(headers or {})}
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.request(method, logs.url + path, content=body, headers=given)


def verdict(answer):
    return answer.status_code, (answer.json()["error"]["code"] if answer.content else "")


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([{"EventId": "a", "TimeGenerated": NOW}], (204, "")),
        ([], (204, "")),
        ({"EventId": "a"}, (204, "")),
        ([1], (400, "InvalidPayload")),
        (b"[{", (400, "InvalidPayload")),
        (b"", (400, "InvalidPayload")),
    ],
)
async def test_bodies(logs, records, expected):
    assert verdict(await post(logs, records)) == expected
    assert len(logs.rows) == (1 if isinstance(records, list) and records and expected[0] == 204 else 0)
    assert logs.table.silent.bodies_lost == isinstance(records, dict)


@pytest.mark.parametrize(
    ("path", "method", "expected"),
    [
        (PATH.partition("?")[0], "POST", (400, "MissingApiVersionParameter")),
        (PATH.replace("2023-01-01", "2016-04-01"), "POST", (400, "UnsupportedApiVersion")),
        (PATH.replace("dcr-0", "dcr-9"), "POST", (404, "NotFound")),
        (PATH.replace(STREAM, "Custom-Nobody"), "POST", (400, "InvalidStream")),
        ("/elsewhere", "POST", (404, "ResourceNotFound")),
        (PATH, "GET", (405, "MethodNotAllowed")),
    ],
)
async def test_places(logs, path, method, expected):
    assert verdict(await post(logs, [], path=path, method=method)) == expected


async def test_tokens():
    now = [time.time()]
    logs = StandInLogs(entra=Entra(now=lambda: now[0]), now=lambda: now[0], role_after_seconds=60)
    await logs.start()
    token = logs.entra.issue(AUDIENCE)["access_token"]
    other = logs.entra.issue("https://management.azure.com")["access_token"]
    assert verdict(await post(logs, [], token="nobody")) == (401, "InvalidToken")
    assert verdict(await post(logs, [], token=other)) == (401, "InvalidToken")
    assert verdict(await post(logs, [], token=token)) == (403, "OperationFailed")
    now[0] += 61
    assert verdict(await post(logs, [], token=token)) == (204, "")
    now[0] += 3600
    assert verdict(await post(logs, [], token=token)) == (401, "InvalidToken")
    await logs.stop()


async def test_sizes_and_codings(logs):
    logs.max_plain_bytes = 3_000_000
    large = [{"Message": "x" * 1_048_576}]
    packed = igzip.compress(orjson.dumps(large))
    bomb = igzip.compress(b" " * 3_000_001)
    gzip = {"Content-Encoding": "gzip"}
    assert verdict(await post(logs, large)) == (413, "ContentLengthLimitExceeded")
    assert verdict(await post(logs, packed, headers=gzip)) == (204, "")
    assert verdict(await post(logs, bomb, headers=gzip)) == (413, "PayloadSizeLimitExceeded")
    assert verdict(await post(logs, packed[:-9], headers=gzip)) == (400, "InvalidPayload")
    assert verdict(await post(logs, b"no gzip", headers=gzip)) == (400, "InvalidPayload")
    deflated = zlib.compress(b"[]")
    assert verdict(await post(logs, deflated, headers={"Content-Encoding": "deflate"})) == (
        415,
        "UnsupportedContentEncoding",
    )
    assert verdict(await post(logs, [], headers={"Content-Type": "text/plain"})) == (415, "UnsupportedContentType")


async def test_silent_changes(logs):
    record = {
        "EventId": "a", "TimeGenerated": "2020-01-01T00:00:00Z", "Nobody": 1, "HttpStatus": "200", "LateArrival": 1,
        "Message": "ä" * 40_000, "EventTime": "2025-11-24T16:00:00.123456789Z", "Labels": {"a": "x" * 70_000}, "Kind": None,
    }  # fmt: skip
    assert (await post(logs, [record])).status_code == 204
    silent = logs.table.silent
    assert (silent.columns_dropped, silent.cells_nulled, silent.fields_cut, silent.restamped) == (1, 3, 2, 1)
    assert silent.dropped_names == {"Nobody"}
    (row,) = logs.rows
    assert len(row["Message"].encode()) == 65_536
    assert row["HttpStatus"] is row["LateArrival"] is row["EventTime"] is None
    assert row["TimeGenerated"] > "2026"


async def test_quotas(logs):
    logs.quota.requests_a_minute = 1
    one = [{"EventId": "a", "TimeGenerated": NOW}]
    answers = [await post(logs, one) for _ in range(4)]
    throttled = [a for a in answers if a.status_code == 429]  # a new minute may begin meanwhile
    assert len(throttled) >= 2
    assert 1 <= int(throttled[0].headers["retry-after"]) <= 61
    logs.quota.requests_a_minute, logs.quota.bytes_a_minute = 1000, 10
    assert (await post(logs, one)).status_code == 429


async def test_faults_and_request_ids(logs):
    one = [{"EventId": "a", "TimeGenerated": NOW}]
    logs.faults += [
        Fault(status=503, retry_after="3", skip=1),
        Fault(store=True, cut=True),
        Fault(status=502, html=True),
    ]
    request_id = str(uuid.uuid4())
    assert (await post(logs, one, headers={"x-ms-client-request-id": request_id})).status_code == 204
    busy = await post(logs, one)
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "3")
    with pytest.raises(httpx.RemoteProtocolError):
        await post(logs, one, headers={"x-ms-client-request-id": "no guid"})
    assert "html" in (await post(logs, one)).headers["content-type"]
    assert len(logs.rows) == 2
    assert logs.stored_by == {request_id: 1}


async def test_the_fast_mode_checks_framing(logs):
    logs.fast = True
    assert (await post(logs, [{"TimeGenerated": NOW}, {"TimeGenerated": NOW}])).status_code == 204
    assert verdict(await post(logs, [{"EventId": "a"}])) == (400, "InvalidPayload")
    assert logs.stats.accepted == 2


def test_as_a_process(tmp_path):
    (tmp_path / "secret").write_text("s3cret")
    command = [
        sys.executable, "-m", "exporter.sandbox.logs_ingestion", "--directory", str(tmp_path), "--client-secret-file",
        str(tmp_path / "secret"), "--store", str(tmp_path / "rows"), "--role-after-seconds", "0",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            entra = Entra()
            form = {
                "grant_type": "client_credentials", "client_id": entra.client_id, "client_secret": "s3cret",
                "scope": f"{AUDIENCE}/.default",
            }  # fmt: skip
            with httpx.Client(verify=ssl.create_default_context(cafile=tmp_path / "ca.pem"), trust_env=False) as client:
                token = client.post(f"{url}/{entra.tenant_id}/oauth2/v2.0/token", data=form).json()["access_token"]
                client.post(f"{url}/sandbox/faults", json=[{"status": 429, "retry_after": "2"}])
                headers = {"Authorization": f"Bearer {token}"}
                answers = [
                    client.post(url + PATH, json=[{"EventId": "a", "TimeGenerated": NOW}], headers=headers)
                    for _ in range(2)
                ]
                assert [a.status_code for a in answers] == [429, 204]
                stats = client.get(f"{url}/sandbox/stats").json()
                assert client.get(f"{url}/sandbox/ids").json() == ["a"]
                assert client.post(f"{url}/sandbox/faults/clear").json() == {"waiting": 0}
                assert client.get(f"{url}/sandbox/nothing").status_code == 404
            assert (stats["accepted"], stats["distinct"], stats["tokens"]) == (1, 1, 1)
            assert orjson.loads((tmp_path / "rows").read_bytes())["EventId"] == "a"
        finally:
            process.terminate()
            process.wait(10)
