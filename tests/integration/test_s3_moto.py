"""The S3 target against a real server over HTTP (moto), with a proxy for what a server or a network does wrong."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl

import pytest
import trustme
from aiohttp import web

from connectors.base import (
    REDRIVE_PARTITION,
    Batch,
    ConnectorContext,
    Record,
    TargetMisconfigured,
    TargetThrottled,
    TargetUnauthorized,
    TargetUnavailable,
)
from connectors.s3.connector import S3Connector
from connectors.testing import MARK, make_batch, make_event
from exporter.bus import create_bus
from exporter.bus.base import Commit
from exporter.domain.events import EncodedBatch
from exporter.domain.secrets import Secret
from exporter.settings.model import SqliteBus
from tests.support.delivery import build_engine, deliver_all
from tests.support.events import events, number_of
from tests.support.moto import Proxy, client, error, hang_up, make_bucket, make_connector, make_settings, objects


@pytest.fixture
async def proxy(moto):
    async with Proxy(moto) as running:
        yield running


def puts(proxy):
    return [headers for method, path, headers in proxy.requests if method == "PUT" and "_loki-siem" not in path]


def numbers(found):
    return sorted(number_of(line) for lines in found.values() for line in lines)


async def test_what_an_object_is(moto, proxy, tmp_path):
    bucket = await make_bucket(moto)
    target = make_connector(proxy.url, bucket, tmp_path, prefix="siem/{tenant}/dt={date}/hour={hour}/")
    await target.open()
    result = await target.deliver(make_batch(events(5), tenant="acme", partition=2, start=7))
    await target.close()
    key = "siem/acme/dt=2025-11-24/hour=16/acme-2-00000000000000000007.ndjson.gz"
    async with client(moto) as s3:
        answer = await s3.get_object(Bucket=bucket, Key=key)
        body = await answer["Body"].read()
    assert answer["ContentType"] == "application/x-ndjson"
    assert "ContentEncoding" not in answer  # with a .gz name some readers would unpack twice
    assert {k: answer["Metadata"][k] for k in ("first-offset", "end-offset", "record-count", "partition", "tenant")} == {
        "first-offset": "7", "end-offset": "11", "record-count": "5", "partition": "2", "tenant": "acme",
    }  # fmt: skip
    (item,) = result.receipt["objects"]
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    assert (item["key"], item["sha256"], item["count"]) == (key, digest, 5)
    (headers,) = puts(proxy)
    assert headers["if-none-match"] == "*"
    assert headers["x-amz-checksum-sha256"] == digest
    assert "exporter" in headers["authorization"]


@pytest.mark.parametrize(
    ("checksum", "header"),
    [("sha256", "x-amz-checksum-sha256"), ("crc32", "x-amz-checksum-crc32"), ("md5", "content-md5")],
)
async def test_a_locked_bucket_gets_retention_checksum_and_the_rest(moto, proxy, tmp_path, checksum, header):
    bucket = await make_bucket(moto, ObjectLockEnabledForBucket=True)
    target = make_connector(
        proxy.url, bucket, tmp_path, checksum=checksum, object_lock={"mode": "COMPLIANCE", "retain_days": 30, "legal_hold": True},
        kms_key_id="arn:aws:kms:eu-central-1:111122223333:key/1", storage_class="STANDARD_IA", tags={"class": "security", "a b": "c=d"},
        expected_bucket_owner="123456789012",
    )  # fmt: skip
    await target.open()
    await target.deliver(make_batch(events(5), tenant="acme"))
    await target.close()
    (headers,) = puts(proxy)
    assert headers[header]
    assert headers["x-amz-object-lock-mode"] == "COMPLIANCE"
    assert headers["x-amz-object-lock-legal-hold"] == "ON"
    assert headers["x-amz-server-side-encryption-aws-kms-key-id"].endswith("key/1")
    assert headers["x-amz-server-side-encryption-bucket-key-enabled"].lower() == "true"
    assert headers["x-amz-storage-class"] == "STANDARD_IA"
    assert headers["x-amz-tagging"] == "class=security&a+b=c%3Dd"
    assert {h.get("x-amz-expected-bucket-owner") for _, _, h in proxy.requests} == {"123456789012"}
    async with client(moto) as s3:
        (key,) = await objects(moto, bucket)
        version = (await s3.head_object(Bucket=bucket, Key=key))["VersionId"]
        with pytest.raises(s3.exceptions.ClientError, match="AccessDenied"):
            await s3.delete_object(Bucket=bucket, Key=key, VersionId=version)


async def test_lock_on_a_bucket_without_it_is_told_at_the_start(moto, tmp_path):
    bucket = await make_bucket(moto)
    target = make_connector(moto, bucket, tmp_path, object_lock={"mode": "GOVERNANCE", "retain_days": 1})
    with pytest.raises(TargetMisconfigured, match="Object Lock"):
        await target.open()
    await target.close()


async def test_a_bucket_that_is_not_there(moto, tmp_path):
    target = make_connector(moto, "not-there", tmp_path)
    with pytest.raises(TargetMisconfigured, match="create the bucket"):
        await target.open()
    await target.close()


async def test_a_store_that_ignores_conditions_is_refused_or_degrades(moto, proxy, tmp_path):
    bucket = await make_bucket(moto)
    proxy.strip_conditions = True
    target = make_connector(proxy.url, bucket, tmp_path)
    with pytest.raises(TargetMisconfigured, match="ignores If-None-Match"):
        await target.open()
    await target.close()
    target = make_connector(proxy.url, bucket, tmp_path, conditional_writes="preferred")
    await target.open()
    assert not target.capabilities.idempotent
    await target.deliver(make_batch(events(5), tenant="acme"))
    await target.close()
    (key,) = await objects(moto, bucket)
    assert key.endswith("/acme-0-00000000000000000000-00000000000000000004.ndjson.gz")


async def test_a_store_that_knows_no_conditions(moto, proxy, tmp_path):
    async def fault(request, body):
        return error(501, "NotImplemented") if "If-None-Match" in request.headers else None

    proxy.fault = fault
    bucket = await make_bucket(moto)
    target = make_connector(proxy.url, bucket, tmp_path)
    with pytest.raises(TargetMisconfigured, match="ignores If-None-Match"):
        await target.open()
    target = make_connector(proxy.url, bucket, tmp_path, conditional_writes="preferred")
    await target.open()
    await target.close()


async def test_two_writers_of_one_lane_at_once(moto, tmp_path):
    """Each cuts otherwise; both are told that all is stored, and it is, once."""
    bucket = await make_bucket(moto)
    writers = [make_connector(moto, bucket, tmp_path) for _ in range(2)]
    await asyncio.gather(*(writer.open() for writer in writers))
    values = events(120)

    async def deliver(writer, size):
        for start in range(0, 120, size):
            result = await writer.deliver(make_batch(values[start : start + size], tenant="acme", start=start))
            assert not result.retry

    await asyncio.gather(deliver(writers[0], 7), deliver(writers[1], 11))
    await asyncio.gather(*(writer.close() for writer in writers))
    assert numbers(await objects(moto, bucket)) == list(range(120))


async def test_ten_writers_of_one_key(moto, tmp_path):
    bucket = await make_bucket(moto)
    writers = [make_connector(moto, bucket, tmp_path) for _ in range(10)]
    await asyncio.gather(*(writer.open() for writer in writers))
    results = await asyncio.gather(
        *(writer.deliver(make_batch(events(20 + n), tenant="acme")) for n, writer in enumerate(writers))
    )
    await asyncio.gather(*(writer.close() for writer in writers))
    assert not any(result.retry for result in results)
    assert numbers(await objects(moto, bucket)) == list(range(29))


async def test_redriven_letters_are_stored_once_however_they_are_picked(moto, tmp_path):
    bucket = await make_bucket(moto)
    target = make_connector(moto, bucket, tmp_path)
    await target.open()
    await target.deliver(make_batch(events(10), tenant="acme"))
    letters = {n: Record(n, b"", value) for n, value in enumerate(events(8, start=50))}
    for picked in ([2, 5], [5], [1, 2, 3, 5, 7]):
        result = await target.deliver(Batch("acme", REDRIVE_PARTITION, [letters[n] for n in picked], 1))
        assert not result.retry
    assert result.receipt["skipped"] == 2
    await target.close()
    assert numbers(await objects(moto, bucket)) == [*range(10), 51, 52, 53, 55, 57]


async def test_a_changed_or_foreign_object_needs_a_human(moto, tmp_path):
    bucket = await make_bucket(moto)
    target = make_connector(moto, bucket, tmp_path)
    await target.open()
    await target.deliver(make_batch(events(3), tenant="acme"))
    (key,) = await objects(moto, bucket)
    async with client(moto) as s3:
        await s3.put_object(Bucket=bucket, Key=key, Body=b"damaged", Metadata={"end-offset": "2"})
    with pytest.raises(TargetMisconfigured, match="damaged"):
        await target.deliver(make_batch(events(3), tenant="acme"))
    await target.close()


async def test_a_deleted_object_is_written_again(moto, tmp_path):
    bucket = await make_bucket(moto)
    target = make_connector(moto, bucket, tmp_path)
    await target.open()
    await target.deliver(make_batch(events(3), tenant="acme"))
    (key,) = await objects(moto, bucket)
    async with client(moto) as s3:
        await s3.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(TargetUnavailable, match="not there"):
        await target.deliver(make_batch(events(3), tenant="acme"))
    await target.deliver(make_batch(events(3), tenant="acme"))
    await target.close()
    assert numbers(await objects(moto, bucket)) == [0, 1, 2]


@pytest.mark.parametrize("tenant", [".", "..", "a*'()!_-.b", "a%2Fb", "ä b/c"])
async def test_strange_tenants_are_found_again(moto, tmp_path, tenant):
    bucket = await make_bucket(moto)
    for end in (20, 30):  # another process, another cut
        target = make_connector(moto, bucket, tmp_path)
        await target.open()
        await target.deliver(make_batch(events(end - 15, start=15), tenant=tenant, start=15))
        await target.deliver(make_batch(events(end), tenant=tenant))
        await target.close()
    assert numbers(await objects(moto, bucket)) == list(range(30))


async def test_a_wrong_end_offset_hides_nothing(moto, tmp_path):
    """Skipped is only what really stands there."""
    bucket = await make_bucket(moto)
    target = make_connector(moto, bucket, tmp_path)
    await target.open()
    await target.deliver(make_batch(events(3), tenant="acme"))
    (key,) = await objects(moto, bucket)
    async with client(moto) as s3:
        body = await (await s3.get_object(Bucket=bucket, Key=key))["Body"].read()
        await s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"end-offset": "9999"})
    await target.deliver(make_batch(events(6), tenant="acme"))
    await target.close()
    assert numbers(await objects(moto, bucket)) == list(range(6))


async def page(request, body):
    return web.Response(text=f"<html>{MARK}: please log in</html>", content_type="text/html", headers={"ETag": '"x"'})


async def half(request, body):
    """Promise more than comes."""
    request.transport.write(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 100\r\n\r\n<x')
    return await hang_up(request, body)


async def throttle(request, body):
    return error(503, "SlowDown", MARK, **{"Retry-After": "3"})


async def forbid(request, body):
    return error(403, "AccessDenied", "User: x is not authorized to perform: s3:PutObject on resource: y")


async def expired(request, body):
    return error(400, "ExpiredToken", MARK)


async def full(request, body):
    return error(507, "XMinioStorageFull", MARK)


async def conflict(request, body):
    return error(409, "ConditionalRequestConflict", MARK)


async def garbled(request, body):
    return web.Response(status=500, text=f"<xml {MARK}")


async def silent(request, body):
    await asyncio.sleep(30)


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (page, TargetMisconfigured, "not_s3"),
        (half, TargetUnavailable, "connection"),
        (hang_up, TargetUnavailable, "connection"),
        (silent, TargetUnavailable, "timeout"),
        (throttle, TargetThrottled, "s3_SlowDown"),
        (forbid, TargetMisconfigured, "s3_AccessDenied"),
        (expired, TargetUnauthorized, "s3_ExpiredToken"),
        (full, TargetUnavailable, "s3_full"),
        (conflict, TargetUnavailable, "s3_ConditionalRequestConflict"),
        (garbled, TargetUnavailable, "s3_500"),
    ],
)
async def test_each_fault_has_one_outcome_and_costs_nothing(moto, proxy, tmp_path, fault, kind, code):
    bucket = await make_bucket(moto)
    target = make_connector(proxy.url, bucket, tmp_path, timeout_seconds=1)
    await target.open()
    proxy.fault = fault
    batch = make_batch([make_event(n) for n in range(20)], tenant="acme")
    with pytest.raises(kind) as caught:
        await target.deliver(batch)
    assert caught.value.code == code
    assert MARK not in f"{caught.value!s}{caught.value!r}"
    proxy.fault = None
    assert not (await target.deliver(batch)).retry
    await target.close()
    assert sum(map(len, (await objects(moto, bucket)).values())) == 20


async def test_one_hour_that_fails_leaves_the_others_stored(moto, proxy, tmp_path):
    async def fault(request, body):
        return error(500, "InternalError") if "hour=17" in request.path and request.method == "PUT" else None

    bucket = await make_bucket(moto)
    target = make_connector(proxy.url, bucket, tmp_path)
    await target.open()
    values = events(6)
    for n in (1, 4):
        values[n] = values[n].replace(b'"time":1764000000', b'"time":1764003600')
    proxy.fault = fault
    result = await target.deliver(make_batch(values, tenant="acme"))
    assert result.retry == (1, 4)
    proxy.fault = None
    left = [Record(n, b"", values[n]) for n in result.retry] + [Record(6, b"", events(1, start=6)[0])]
    result = await target.deliver(Batch("acme", 0, left, 1))
    assert not result.retry
    assert not result.receipt["skipped"]
    await target.close()
    found = await objects(moto, bucket)
    assert numbers(found) == list(range(7))
    assert len(found) == 3


async def test_a_read_that_is_forbidden_names_the_permission(moto, proxy, tmp_path):
    async def fault(request, body):
        return error(403, "AccessDenied") if request.method == "GET" and "list-type" not in request.query else None

    proxy.fault = fault
    target = make_connector(proxy.url, await make_bucket(moto), tmp_path)
    with pytest.raises(TargetMisconfigured, match="allow s3:GetObject"):
        await target.open()
    await target.close()


async def test_a_rotated_secret_is_used_at_the_next_request(moto, proxy, tmp_path):
    """Without a restart and without a gap; and one that cannot be read is told with its place."""
    bucket = await make_bucket(moto)
    token = tmp_path / "token"
    token.write_text("session-1")
    target = make_connector(proxy.url, bucket, tmp_path, session_token_file=Secret(path=token))
    await target.open()
    token.write_text("session-22")
    await target.deliver(make_batch(events(2), tenant="acme"))
    assert puts(proxy)[-1]["x-amz-security-token"] == "session-22"
    token.unlink()
    with pytest.raises(TargetUnauthorized, match="cannot be read"):
        await target.deliver(make_batch(events(2, start=2), tenant="acme", start=2))
    await target.close()


async def test_the_chain_of_the_sdk_is_used_without_a_key(moto, proxy, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    target = make_connector(
        proxy.url, await make_bucket(moto), tmp_path, access_key_id=None, secret_access_key_file=None
    )
    await target.open()
    await target.close()
    assert "from-the-environment" in proxy.requests[0][2]["authorization"]


async def test_certificates(tmp_path):
    """A store whose certificate nobody vouches for is refused; with its CA it is talked to."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def answer(request):
        return error(404, "NoSuchBucket")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        for keys, words in (({}, "ca_file"), ({"ca_file": tmp_path / "ca.pem"}, "create the bucket")):
            target = S3Connector(make_settings(url, "archive", tmp_path, **keys), ConnectorContext("archive", ""))
            with pytest.raises(TargetMisconfigured, match=words):
                await target.open()
            await target.close()
    finally:
        await runner.cleanup()
    target = make_connector(url, "archive", tmp_path, ca_file=tmp_path / "gone.pem")
    with pytest.raises(TargetMisconfigured, match="ca_file"):
        await target.open()
    await target.close()


async def test_nobody_listens(tmp_path):
    target = make_connector("http://127.0.0.1:1", "archive", tmp_path)
    with pytest.raises(TargetUnavailable):
        await target.open()
    await target.close()
    with pytest.raises(TargetUnavailable, match="not open"):
        await target.deliver(make_batch(events(1), tenant="acme"))


async def test_from_the_bus_through_the_engine_and_two_restarts(moto, tmp_path):
    """The way of the service: SQLite bus, engine, target; the second process starts where the first one committed."""
    bus = create_bus(SqliteBus(path=tmp_path / "bus.db", partitions=3))
    bus.prepare(["acme"], ["soc"])
    writer = bus.open_shard(0, "test")
    writer.checkpoints()
    bucket = await make_bucket(moto)
    for start in (0, 400, 800):
        values = events(400, start=start)
        writer.commit(Commit([EncodedBatch("acme", "p", [b"s%d" % (n % 9) for n in range(400)], values)]))
        target = make_settings(moto, bucket, tmp_path, batch_linger_seconds=0, batch_max_records=50)
        engine = build_engine(bus, S3Connector(target, ConnectorContext("soc", "")), target_settings=target)
        await deliver_all(engine)
        assert engine.snapshot()["possible_duplicates"] == 0
    writer.close()
    bus.close()
    assert numbers(await objects(moto, bucket)) == list(range(1200))
