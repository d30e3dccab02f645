"""The connector on a real block blob service (Azurite): exactly once, logins, every refusal, what is sent for policies."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from aiohttp import web
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from connectors.azure_blob.client import AzureBlobClient
from connectors.azure_blob.connector import AzureBlobConnector
from connectors.base import (
    BatchTooLarge,
    ConnectorContext,
    TargetMisconfigured,
    TargetThrottled,
    TargetUnauthorized,
    TargetUnavailable,
)
from connectors.testing import deliver_fully, make_batch
from connectors.tokens import Token
from exporter.domain.secrets import Secret
from exporter.sandbox.certificates import self_signed
from tests.support import azurite as support
from tests.support.events import events
from tests.support.moto import Proxy, hang_up


@pytest.fixture
async def container(azurite):
    return await support.make_container(azurite)


def connector_of(url, container, directory, **keys):
    settings = support.make_settings(url, container, directory, **keys)
    return AzureBlobConnector(settings, ConnectorContext("archive", ""))


async def test_a_batch_is_one_blob_named_by_lane_and_offset(azurite, container, tmp_path):
    connector = connector_of(azurite, container, tmp_path, access_tier="Cool")
    await connector.open()
    result = await connector.deliver(make_batch(events(200), tenant="acme corp", partition=3, start=17))
    await connector.close()
    found = await support.blobs(azurite, container)
    assert list(found) == ["acme%20corp/dt=2025-11-24/hour=16/acme%20corp-3-00000000000000000017.ndjson.gz"]
    assert list(found.values()) == [events(200)]
    (written,) = result.receipt["objects"]
    assert result.receipt["container"] == f"{support.ACCOUNT}/{container}"
    async with support.admin(azurite, container) as admin:
        stream = await admin.get_blob_client(written["key"]).download_blob()
        body = await stream.readall()
        tier = (await admin.get_blob_client(written["key"]).get_blob_properties()).blob_tier
    assert stream.properties.metadata["end_offset"] == "216"
    assert bytes(stream.properties.content_settings.content_md5) == hashlib.md5(body, usedforsecurity=False).digest()
    assert written["sha256"] == base64.b64encode(hashlib.sha256(body).digest()).decode()
    assert tier == "Cool"


async def test_batches_cut_otherwise_after_a_crash_are_stored_once(azurite, container, tmp_path):
    values = events(90)
    first = connector_of(azurite, container, tmp_path)
    await first.open()
    await first.deliver(make_batch(values[:40]))
    await first.deliver(make_batch(values[40:70], start=40))
    await first.close()
    second = connector_of(azurite, container, tmp_path)
    await second.open()
    for start, end in ((0, 25), (25, 60), (60, 90)):
        result = await second.deliver(make_batch(values[start:end], start=start))
        assert not result.retry
    await second.close()
    found = await support.blobs(azurite, container)
    assert [line for lines in found.values() for line in lines] == values


async def test_two_writers_of_one_lane(azurite, container, tmp_path):
    values = events(60)
    writers = [connector_of(azurite, container, tmp_path) for _ in range(2)]
    for writer in writers:
        await writer.open()

    async def run(writer, step):
        for start in range(0, 60, step):
            await deliver_fully(writer, make_batch(values[start : start + step], start=start))

    await asyncio.gather(run(writers[0], 10), run(writers[1], 15))
    for writer in writers:
        await writer.close()
    lines = [line for found in (await support.blobs(azurite, container)).values() for line in found]
    assert sorted(lines) == sorted(values)


async def test_a_write_whose_answer_is_lost_is_found_again(azurite, container, tmp_path):
    base, _, account = azurite.rpartition("/")
    async with Proxy(base) as proxy:
        connector = connector_of(f"{proxy.url}/{account}", container, tmp_path)
        await connector.open()
        proxy.after = hang_up
        with pytest.raises(TargetUnavailable):
            await connector.deliver(make_batch(events(30)))
        proxy.after = None
        result = await connector.deliver(make_batch(events(30)))
        assert (result.retry, result.possible_duplicates) == ((), 0)
        await connector.close()
    lines = [line for found in (await support.blobs(azurite, container)).values() for line in found]
    assert lines == events(30)


async def test_a_byte_that_flips_on_the_way_is_refused(azurite, container, tmp_path):
    base, _, account = azurite.rpartition("/")
    flips = []

    async def flip(request, body):
        if request.method != "PUT" or flips:
            return None
        flips.append(1)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in {"host", "content-length"}}
        broken = body[:-9] + bytes([body[-9] ^ 1]) + body[-8:]
        async with proxy._session.put(base + request.raw_path, headers=headers, data=broken) as reply:
            return web.Response(status=reply.status, body=await reply.read(), headers={"x-ms-error-code": reply.headers.get("x-ms-error-code", "")})  # fmt: skip

    async with Proxy(base) as proxy:
        connector = connector_of(f"{proxy.url}/{account}", container, tmp_path)
        await connector.open()
        proxy.fault = flip
        with pytest.raises((TargetUnavailable, TargetMisconfigured)):
            await connector.deliver(make_batch(events(30)))
        await connector.deliver(make_batch(events(30)))
        await connector.close()
    assert [line for found in (await support.blobs(azurite, container)).values() for line in found] == events(30)


async def test_what_is_sent_for_policies(azurite, container, tmp_path):
    """Azurite knows no immutability; the headers are Azure's (Put Blob, x-ms-immutability-policy-…)."""
    base, _, account = azurite.rpartition("/")
    keys = {
        "immutability": {"mode": "locked", "retain_days": 30, "legal_hold": True},
        "tags": {"class": "security"},
        "encryption_scope": "siem-scope",
    }

    async def take(request, body):
        if request.method != "PUT":
            return None
        seen.append({k.lower(): v for k, v in request.headers.items()})
        return web.Response(status=201, headers={"ETag": '"0x1"', "x-ms-request-id": "r", "Last-Modified": "Mon, 24 Nov 2025 10:00:00 GMT"})  # fmt: skip

    seen = []
    async with Proxy(base) as proxy:
        proxy.fault = take
        client = AzureBlobClient(
            support.make_settings(f"{proxy.url}/{account}", container, tmp_path, **keys), "archive", "test"
        )
        with pytest.raises(TargetUnavailable, match="not there"):
            await client.open()
        await client.close()
    head = seen[0]
    until = datetime.strptime(head["x-ms-immutability-policy-until-date"], "%a, %d %b %Y %H:%M:%S GMT").replace(
        tzinfo=UTC
    )
    assert abs(until - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=5)
    assert (head["x-ms-immutability-policy-mode"].lower(), head["x-ms-legal-hold"].lower()) == ("locked", "true")
    assert (head["if-none-match"], head["x-ms-tags"]) == ("*", "class=security")
    assert head["x-ms-encryption-scope"] == "siem-scope"
    assert head["content-md5"]
    assert head["x-ms-blob-type"] == "BlockBlob"


def problem(status, code, **headers):
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>payload-mark</Message></Error>"
    return web.Response(
        status=status, text=text, content_type="application/xml", headers={"x-ms-error-code": code, **headers}
    )


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "AuthenticationFailed", TargetUnauthorized),
        (403, "AuthorizationFailure", TargetUnauthorized),
        (403, "AuthorizationPermissionMismatch", TargetUnauthorized),
        (403, "KeyBasedAuthenticationNotPermitted", TargetUnauthorized),
        (404, "ContainerNotFound", TargetMisconfigured),
        (400, "FeatureVersionMismatch", TargetMisconfigured),
        (409, "ImmutabilityPolicyNotSupported", TargetMisconfigured),
        (413, "RequestBodyTooLarge", BatchTooLarge),
        (503, "ServerBusy", TargetThrottled),
        (500, "OperationTimedOut", TargetUnavailable),
        (500, "InternalError", TargetUnavailable),
        (400, "Md5Mismatch", TargetUnavailable),
    ],
)
async def test_every_refusal_keeps_the_batch(azurite, container, tmp_path, status, code, error):
    base, _, account = azurite.rpartition("/")
    refuse = []

    async def fault(request, body):
        return problem(status, code, **{"Retry-After": "7"}) if refuse and request.method == "PUT" else None

    async with Proxy(base) as proxy:
        connector = connector_of(f"{proxy.url}/{account}", container, tmp_path)
        await connector.open()
        proxy.fault = fault
        refuse.append(1)
        with pytest.raises(error) as caught:
            await connector.deliver(make_batch(events(5)))
        assert code in str(caught.value)
        assert "payload-mark" not in f"{caught.value!s}{caught.value!r}"
        assert support.KEY not in str(caught.value)
        refuse.clear()
        assert not (await connector.deliver(make_batch(events(5)))).retry
        await connector.close()


async def test_opening_names_what_is_missing(azurite, container, tmp_path):
    with pytest.raises(TargetMisconfigured, match="create the container"):
        await connector_of(azurite, "not-there", tmp_path).open()
    wrong = tmp_path / "wrong"
    for text in ("bm8ga2V5", "no key at all"):
        wrong.write_text(text)
        login = {"auth": "shared_key", "account_key_file": Secret(path=wrong)}
        with pytest.raises(TargetUnauthorized) as caught:
            await connector_of(azurite, container, tmp_path, **login).open()
        assert text not in str(caught.value)
    with pytest.raises(TargetUnavailable):
        await connector_of("http://127.0.0.1:9/devstoreaccount1", container, tmp_path).open()
    assert await support.blobs(azurite, container) == {}


def sas_of(container, **permissions):
    return generate_container_sas(
        support.ACCOUNT,
        container,
        account_key=support.KEY,
        permission=ContainerSasPermissions(**permissions),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )


async def test_a_shared_access_signature_and_its_rotation(azurite, container, tmp_path):
    file = tmp_path / "sas"
    file.write_text("?" + sas_of(container, read=True, create=True, write=True, list=True))
    login = {"auth": "sas", "sas_file": Secret(path=file)}
    connector = connector_of(azurite, container, tmp_path, **login)
    await connector.open()
    await connector.deliver(make_batch(events(5)))
    file.write_text(sas_of(container, read=True))
    with pytest.raises(TargetUnauthorized) as caught:
        await connector.deliver(make_batch(events(5, start=5), start=5))
    assert "sig=" not in str(caught.value)
    file.write_text(sas_of(container, read=True, create=True, write=True, list=True))
    await connector.deliver(make_batch(events(5, start=5), start=5))
    await connector.close()
    assert [line for found in (await support.blobs(azurite, container)).values() for line in found] == events(10)
    for text in ("nonsense", "sv=1"):
        file.write_text(text)
        with pytest.raises(TargetUnauthorized, match="signature"):
            await connector_of(azurite, container, tmp_path, **login).open()


async def test_tokens_of_entra_over_tls(tmp_path):
    _, ca_file = self_signed(tmp_path)
    server = support.Azurite("--oauth", "basic", "--cert", str(tmp_path / "ca.pem"), "--key", str(tmp_path / "key.pem"))
    try:
        url = server.url()
        container = await support.make_container(url, connection_verify=str(ca_file))
        calls = []

        def fetch():
            calls.append(1)
            now = datetime.now(UTC)
            claims = {
                "aud": "https://storage.azure.com",
                "iss": "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
                "iat": now, "nbf": now - timedelta(minutes=1), "exp": now + timedelta(hours=1),
            }  # fmt: skip
            return Token(jwt.encode(claims, "x" * 32), (now + timedelta(hours=1)).timestamp())

        settings = support.make_settings(url, container, tmp_path, auth="managed_identity", ca_file=ca_file)
        client = AzureBlobClient(settings, "archive", "test", fetch=fetch)
        connector = AzureBlobConnector(settings, ConnectorContext("archive", ""), store=client)
        await connector.open()
        await connector.deliver(make_batch(events(5)))
        await connector.close()
        assert len(calls) == 1
        strange = support.make_settings(url, container, tmp_path, auth="managed_identity")
        with pytest.raises(TargetMisconfigured, match="ca_file"):
            await AzureBlobClient(strange, "archive", "test", fetch=fetch).open()
    finally:
        server.stop()
