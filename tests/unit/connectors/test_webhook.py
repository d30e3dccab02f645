"""The webhook connector against a strict receiver: forms, logins, signatures, every class of answer."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from connectors.base import (
    TargetMisconfigured,
    TargetThrottled,
    TargetUnauthorized,
    TargetUnavailable,
)
from connectors.testing import deliver_fully, make_batch
from connectors.webhook.settings import WebhookSettings
from exporter.domain.secrets import Secret
from exporter.sandbox.http import Response
from tests.support.events import event, events
from tests.support.webhook import SECRET, Fault, receiver_and_connector, secret, verify

DOC = Path(__file__).parents[3] / "docs/targets/webhook.md"


@pytest.mark.parametrize("gzip", [True, False])
@pytest.mark.parametrize("body", ["array", "ndjson", "single"])
async def test_forms(body, gzip):
    async with receiver_and_connector(body=body, gzip=gzip, max_request_events=8) as (receiver, connector):
        await connector.open()
        result = await connector.deliver(make_batch(events(20)))
        assert receiver.events == events(20)
        assert result.receipt["requests"] == len(receiver.requests) == (20 if body == "single" else 3)
        types = {request.headers["content-type"] for request in receiver.requests}
        assert types == {"application/x-ndjson" if body == "ndjson" else "application/json"}


async def test_requests_stay_below_the_limit():
    async with receiver_and_connector(max_request_bytes=5_000, limit=5_000) as (receiver, connector):
        await connector.open()
        values = [*events(50, padding=200), event(50, padding=6_000), event(51)]
        result = await connector.deliver(make_batch(values))
        assert [r.index for r in result.rejected] == [50]
        assert receiver.events == [*values[:50], values[51]]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("bad", [{0}, {37}, {99}, {3, 4, 80}])
async def test_bad_events_are_found_by_halving(status, bad):
    async with receiver_and_connector() as (receiver, connector):
        await connector.open()
        receiver.bad, receiver.bad_status = {f"{n:032x}" for n in bad}, status
        refused, _ = await deliver_fully(connector, make_batch(events(100)))
        assert set(refused) == bad
        assert receiver.events == [event(n) for n in range(100) if n not in bad]


async def test_what_is_too_large_is_halved_and_alone_refused_with_its_size():
    async with receiver_and_connector(limit=3_000) as (receiver, connector):
        await connector.open()
        values = [*events(30, padding=100), event(30, padding=4_000)]
        refused, duplicates = await deliver_fully(connector, make_batch(values))
        assert (refused, duplicates) == ([30], 0)
        assert receiver.events == values[:30]


async def test_a_receiver_that_takes_nothing_is_wrongly_configured():
    async with receiver_and_connector() as (receiver, connector):
        await connector.open()
        receiver.bad = {f"{n:032x}" for n in range(1000)}
        result = await connector.deliver(make_batch(events(100)))
        assert len(result.rejected) == 3
        for _ in range(3):  # pauses, then lets one event go, and pauses again
            with pytest.raises(TargetMisconfigured, match="body"):
                await connector.deliver(make_batch(events(50)))
            assert len((await connector.deliver(make_batch(events(50)))).rejected) == 1
        assert not receiver.events


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(401), TargetUnauthorized),
        (Fault(403), TargetUnauthorized),
        (Fault(404), TargetMisconfigured),
        (Fault(405), TargetMisconfigured),
        (Fault(409), TargetMisconfigured),
        (Fault(415), TargetMisconfigured),
        (Fault(301), TargetMisconfigured),
        (Fault(408), TargetUnavailable),
        (Fault(429), TargetThrottled),
        (Fault(500), TargetUnavailable),
        (Fault(503), TargetThrottled),
        (Fault(504), TargetUnavailable),
        (Fault(cut=True), TargetUnavailable),
        (Fault(body="<html>please log in</html>"), TargetMisconfigured),
    ],
    ids=lambda value: getattr(value, "status", None),
)
async def test_every_failure_keeps_the_batch(fault, error):
    async with receiver_and_connector() as (receiver, connector):
        await connector.open()
        fault.times, fault.store = 1, False
        receiver.faults.append(fault)
        with pytest.raises(error) as caught:
            await connector.deliver(make_batch([event(i, text="payload-mark") for i in range(10)]))
        assert not re.search("payload-mark|s3cret-path", f"{caught.value!s}{caught.value!r}")
        result = await connector.deliver(make_batch(events(10)))
        assert (result.retry, len(receiver.events)) == ((), 10)


async def test_a_pause_that_the_receiver_asks_for():
    async with receiver_and_connector() as (receiver, connector):
        await connector.open()
        receiver.faults.append(Fault(429, retry_after="17"))
        with pytest.raises(TargetThrottled) as caught:
            await connector.deliver(make_batch(events(1)))
        assert caught.value.retry_after_seconds == 17


async def test_own_meaning_of_statuses():
    statuses = {"409": "stored", "4xx": "unavailable", "202": "stored", "500": "bad_event"}
    async with receiver_and_connector(statuses=statuses) as (receiver, connector):
        await connector.open()
        receiver.faults += [Fault(409), Fault(404), Fault(500)]
        assert not (await connector.deliver(make_batch(events(1)))).retry
        with pytest.raises(TargetUnavailable):
            await connector.deliver(make_batch(events(1)))
        assert [r.code for r in (await connector.deliver(make_batch(events(1)))).rejected] == ["http_500"]


async def test_stored_without_an_answer_is_sent_again_under_the_same_key():
    async with receiver_and_connector() as (receiver, connector):
        await connector.open()
        receiver.faults.append(Fault(cut=True, store=True))
        with pytest.raises(TargetUnavailable):
            await connector.deliver(make_batch(events(10)))
        result = await connector.deliver(make_batch(events(10)))
        assert result.possible_duplicates == 10
        first, second = (request.headers["idempotency-key"] for request in receiver.requests)
        assert first == second
        await connector.deliver(make_batch(events(10, start=1), start=1))
        assert receiver.requests[-1].headers["idempotency-key"] != first


async def test_the_signature_covers_time_and_body(tmp_path):
    signature = {"secret_file": secret(tmp_path)}
    async with receiver_and_connector(signature=signature, gzip=True) as (receiver, connector):
        await connector.open()
        await connector.deliver(make_batch(events(5)))
        (request,) = receiver.requests
        now = time.time()
        assert verify(SECRET, request.headers, request.body, now)
        assert not verify("another", request.headers, request.body, now)
        assert not verify(SECRET, request.headers, request.body + b" ", now)
        assert not verify(SECRET, request.headers, request.body, now + 3600)
        secret(tmp_path, "rotated")
        await connector.deliver(make_batch(events(5)))
        assert verify("rotated", receiver.requests[1].headers, receiver.requests[1].body, time.time())


def test_the_documented_verification_accepts_what_is_sent(tmp_path):
    """The snippet that receivers are told to copy."""
    from connectors.webhook.auth import sign  # noqa: PLC0415
    from connectors.webhook.settings import Signature  # noqa: PLC0415

    code = re.search(r"```python\n(.*?)```", DOC.read_text("utf-8"), re.DOTALL)[1]
    names: dict = {}
    exec(compile(code, "webhook.md", "exec"), names)
    body, now_ns = b'[{"event.id":"x"}]', time.time_ns()
    headers = sign(Signature(secret_file=secret(tmp_path)), body, now_ns)
    assert names["is_from_exporter"](SECRET, headers, body)
    assert not names["is_from_exporter"](SECRET, headers, body + b"x")
    assert not names["is_from_exporter"]("other", headers, body)
    old = sign(Signature(secret_file=secret(tmp_path)), body, now_ns - 10**12)
    assert not names["is_from_exporter"](SECRET, old, body)


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "basic", "username": "u", "password_file": "S"}, "authorization", "Basic dTpzZWNyZXQ="),
        ({"type": "bearer", "token_file": "S"}, "authorization", "Bearer secret"),
        ({"type": "header", "name": "X-Api-Key", "value_file": "S"}, "x-api-key", "secret"),
    ],
)
async def test_logins(tmp_path, auth, header, value):
    place = secret(tmp_path, "secret")
    auth = {key: place if text == "S" else text for key, text in auth.items()}
    async with receiver_and_connector(auth=auth, headers={"X-Source": "loki"}) as (receiver, connector):
        await connector.open()
        await connector.deliver(make_batch(events(1)))
        assert receiver.requests[0].headers[header] == value
        assert receiver.requests[0].headers["x-source"] == "loki"
        secret(tmp_path, "rotated")
        await connector.deliver(make_batch(events(1)))
        assert receiver.requests[1].headers[header] != value


async def test_a_bad_secret_is_named_and_never_shown(tmp_path):
    auth = {"type": "bearer", "token_file": secret(tmp_path, "sn\N{SNOWMAN}w")}
    async with receiver_and_connector(auth=auth) as (_, connector):
        with pytest.raises(TargetUnauthorized) as caught:
            await connector.open()
        assert "sn\N{SNOWMAN}w" not in str(caught.value)


def oauth2(receiver, tmp_path):
    keys = {"type": "oauth2", "token_url": receiver.token_url, "client_id": "c"}
    return WebhookSettings(
        kind="webhook", url=receiver.url, auth={**keys, "client_secret_file": secret(tmp_path), "scope": "write"}
    )


async def test_oauth2_tokens_are_kept_and_replaced_when_they_are_revoked(tmp_path):
    async with receiver_and_connector() as (receiver, connector):
        connector._settings = oauth2(receiver, tmp_path)
        await connector.open()
        for _ in range(3):
            await connector.deliver(make_batch(events(2)))
        assert receiver.tokens == [SECRET]
        receiver.authorization = "Bearer none"
        await connector.deliver(make_batch(events(2)))
        assert len(receiver.tokens) == 2
        assert len(receiver.events) == 8


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Response(401), TargetUnauthorized),
        (Response(400), TargetUnauthorized),
        (Response(503), TargetUnavailable),
        (Response(429), TargetThrottled),
        (Response(404), TargetMisconfigured),
        (Response(200, b"<html>"), TargetMisconfigured),
        (Response(200, b'{"access_token":""}'), TargetMisconfigured),
        (Response(200, b'{"access_token":"a\\n"}'), TargetMisconfigured),
    ],
)
async def test_token_endpoints_that_give_none(tmp_path, answer, error):
    async with receiver_and_connector() as (receiver, connector):
        connector._settings = oauth2(receiver, tmp_path)
        receiver.token_answer = answer
        with pytest.raises(error) as caught:
            await connector.open()
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "error"), [(401, TargetUnauthorized), (502, TargetUnavailable), (404, None), (405, None), (200, None)]
)
async def test_opening(head, error):
    async with receiver_and_connector() as (receiver, connector):
        receiver.head = Response(head)
        if error is None:
            await connector.open()
        else:
            with pytest.raises(error):
                await connector.open()
        assert not receiver.requests


@pytest.mark.parametrize(
    "keys",
    [
        {"url": "http://receiver.example.com/"},
        {"url": "https://user:pw@receiver.example.com/"},
        {"url": "receiver.example.com"},
        {"headers": {"Authorization": "x"}},
        {"headers": {"idempotency-key": "x"}},
        {"headers": {"X-A": "a\nb"}},
        {"headers": {"X A": "a"}},
        {"statuses": {"500": "stored"}},
        {"statuses": {"4xx": "stored"}},
        {"statuses": {"99": "stored"}},
        {"statuses": {"409": "fine"}},
        {"auth": {"type": "bearer"}},
        {"auth": {"type": "oauth2", "token_url": "http://e.com", "client_id": "c", "client_secret_file": "f"}},
        {"cert_file": Path("c")},
        {"signature": {"secret_file": "f", "header": "a b"}},
        {"body": "xml"},
    ],
)
def test_wrong_settings_are_refused(keys):
    with pytest.raises(ValueError):
        WebhookSettings(**{"kind": "webhook", "url": "https://receiver.example.com/", **keys})


def test_settings_show_no_secret():
    settings = WebhookSettings(
        kind="webhook", url="https://h/", auth={"type": "bearer", "token_file": Secret(path=Path("t"))}
    )
    assert "Secret(file t)" in repr(settings)


async def test_too_large_for_a_single_request_does_not_stop_others():
    async with receiver_and_connector(limit=200) as (receiver, connector):
        await connector.open()
        refused, _ = await deliver_fully(connector, make_batch([event(0), event(1, padding=300), event(2)]))
        assert refused == [1]
        assert len(receiver.events) == 2
