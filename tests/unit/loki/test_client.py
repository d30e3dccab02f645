"""The client over real sockets: transport faults, compression, credentials, TLS."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
import trustme

from exporter.domain.clock import ManualClock
from exporter.domain.secrets import Secret
from exporter.domain.windows import Window
from exporter.errors import BadAnswer, RetryLater, ShrinkPage, SplitWindow, TenantStopped
from exporter.loki.client import LokiClient
from exporter.sandbox.http import Request, Response, Server
from exporter.settings.model import BasicAuth, BearerAuth, ClientTls, LokiSettings, OAuth2ClientAuth

WINDOW = Window(1_760_000_000_000_000_000, 1_760_000_001_000_000_000)
VECTOR = orjson.dumps(
    {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "42"]}]}}
)


def page(line: str = "x", count: int = 1) -> bytes:
    values = [[str(WINDOW.start_ns + n), line, {}] for n in range(count)]
    data = {"resultType": "streams", "result": [{"stream": {"a": "1"}, "values": values}]}
    return orjson.dumps({"status": "success", "data": data | {"stats": {"ingester": {"totalLinesSent": count}}}})


@asynccontextmanager
async def serving(handler: Callable[[Request], Awaitable[Response]], tls: ssl.SSLContext | None = None):
    server = Server(handler)
    await server.start(tls=tls)
    try:
        yield server.url
    finally:
        await server.stop()


def client_of(url: str, clock: ManualClock | None = None, **settings: object) -> LokiClient:
    return LokiClient(LokiSettings(**({"url": url} | settings)), clock=clock or ManualClock(WINDOW.end_ns))


async def ask(url: str, **settings: object) -> int:
    async with client_of(url, **settings) as client:
        return (await client.query_range("acme", '{job="a"}', WINDOW, 100)).returned


def always(response: Callable[[], Response]) -> Callable[[Request], Awaitable[Response]]:
    async def handler(request: Request) -> Response:
        return response()

    return handler


async def test_gzip_of_any_size_is_inflated():
    async with serving(always(lambda: Response(body=page("a" * 1000, 3000)).gzipped())) as url:
        assert await ask(url) == 3000


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (lambda: Response(close=True), SplitWindow),
        (lambda: Response(body=page(), cut_after_bytes=20), SplitWindow),
        (lambda: Response(body=b"\x1f\x8b broken", headers={"Content-Encoding": "gzip"}), BadAnswer),
        (lambda: Response(body=page(), headers={"Content-Encoding": "br"}), BadAnswer),
        (lambda: Response(body=page("a" * 70_000, 20)), ShrinkPage),
        (lambda: Response(body=page("a" * 70_000, 20)).gzipped(), ShrinkPage),
        (lambda: Response(status=500, body=b"x" * 100_000), RetryLater),
    ],
)  # fmt: skip
async def test_what_the_wire_does_has_one_outcome(response: Callable[[], Response], error: type[Exception]):
    async with serving(always(response)) as url:
        with pytest.raises(error) as caught:
            await ask(url, page_bytes=65_536)
    assert "aaa" not in str(caught.value)


async def test_a_connection_closed_once_is_tried_again_at_once():
    answers = [Response(body=page()), Response(close=True)]
    async with serving(always(answers.pop)) as url:
        assert await ask(url) == 1


async def test_a_server_that_never_answers_means_a_smaller_window():
    async with serving(always(lambda: Response(hang=True))) as url:
        with pytest.raises(SplitWindow):
            await ask(url, request_timeout_seconds=0.1)


async def test_nobody_listening_means_later():
    async with serving(always(Response)) as url:
        pass
    with pytest.raises(RetryLater):
        await ask(url)


async def test_the_question_is_explicit_and_long_ones_go_as_a_form():
    seen: list[Request] = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        return Response(body=VECTOR if request.path.endswith("/query") else page())

    async with serving(handler) as url, client_of(url) as client:
        await client.query_range("acme", '{job="a"}', WINDOW, 7)
        await client.query_range("acme", '{job="' + "a" * 5000 + '"}', WINDOW, 7)
        assert await client.count("acme", '{job="a"}', WINDOW) == 42
    short, long, count = seen
    assert (short.method, long.method) == ("GET", "POST")
    assert short.first("start") == str(WINDOW.start_ns)
    assert (short.first("limit"), short.first("direction")) == ("7", "forward")
    assert short.headers["x-scope-orgid"] == "acme"
    assert short.headers["x-loki-response-encoding-flags"] == "categorize-labels"
    assert short.headers["cache-control"] == "no-cache"
    assert "gzip" in short.headers["accept-encoding"]
    assert count.first("time") == str(WINDOW.end_ns - 1)
    assert "[1000ms]" in (count.first("query") or "")


async def test_limits_that_are_not_published_are_lokis_defaults():
    async with serving(always(lambda: Response(status=404))) as url, client_of(url) as client:
        assert (await client.limits("acme")).max_entries == 5000
        assert await client.has_data("acme", '{job="a"}', WINDOW) is None


# --- credentials ------------------------------------------------------------------------------------------------------


async def test_basic_and_bearer_follow_their_files(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("first\n")
    seen: list[str] = []

    async def handler(request: Request) -> Response:
        seen.append(request.headers.get("authorization", ""))
        return Response(body=page())

    place = Secret(path=secret)
    async with serving(handler) as url:
        async with client_of(url, auth=BearerAuth(type="bearer", token_file=place)) as client:
            await client.query_range("acme", '{job="a"}', WINDOW, 7)
            secret.write_text("second, longer")
            await client.query_range("acme", '{job="a"}', WINDOW, 7)
        await ask(url, auth=BasicAuth(type="basic", username="u", password_file=place))
        secret.unlink()
        with pytest.raises(TenantStopped) as caught:
            await ask(url, auth=BasicAuth(type="basic", username="u", password_file=place))
    assert seen[:2] == ["Bearer first", "Bearer second, longer"]
    assert base64.b64decode(seen[2].split()[1]) == b"u:second, longer"
    assert "second" not in str(caught.value)


async def test_oauth2_tokens_are_kept_refreshed_early_and_after_a_401(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("s3")
    tokens, used, revoked = [], [], set()

    async def handler(request: Request) -> Response:
        if request.path == "/token":
            assert b"client_credentials" in request.body
            assert b"s3" in request.body
            tokens.append(f"t{len(tokens)}")
            return Response(body=orjson.dumps({"access_token": tokens[-1], "expires_in": 300}))
        token = request.headers["authorization"].removeprefix("Bearer ")
        used.append(token)
        return Response(status=401) if token in revoked else Response(body=page())

    clock = ManualClock(WINDOW.end_ns)
    async with serving(handler) as url:
        auth = OAuth2ClientAuth(
            type="oauth2", token_url=url + "/token", client_id="c", client_secret_file=Secret(path=secret)
        )
        async with client_of(url, clock, auth=auth) as client:
            for _ in range(2):
                await client.query_range("acme", '{job="a"}', WINDOW, 7)
            clock.advance(241)
            await client.query_range("acme", '{job="a"}', WINDOW, 7)
            revoked.add("t1")
            await client.query_range("acme", '{job="a"}', WINDOW, 7)
            revoked.add("t2")
            revoked.add("t3")
            with pytest.raises(TenantStopped):
                await client.query_range("acme", '{job="a"}', WINDOW, 7)
    assert used == ["t0", "t0", "t1", "t1", "t2", "t2", "t3"]


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (lambda: Response(status=400, body=b'{"error":"invalid_client"}'), TenantStopped),
        (lambda: Response(status=503), RetryLater),
        (lambda: Response(body=b"<html>"), BadAnswer),
        (lambda: Response(body=b'{"access_token":"a\\nb"}'), BadAnswer),
    ],
)  # fmt: skip
async def test_token_endpoints_that_fail(response: Callable[[], Response], error: type[Exception], tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t")
    async with serving(always(response)) as url:
        auth = OAuth2ClientAuth(
            type="oauth2", token_url=url + "/token", client_id="c", client_secret_file=Secret(path=secret)
        )
        with pytest.raises(error) as caught:
            await ask(url, auth=auth)
    assert "s3cr3t" not in str(caught.value)


async def test_a_private_ca_and_a_client_certificate(tmp_path: Path):
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ours = ca.issue_cert("reader@example.com")
    ours.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    ours.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    ca.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    async with serving(always(lambda: Response(body=page())), server) as url:
        tls = ClientTls(ca_file=tmp_path / "ca.pem", cert_file=tmp_path / "cert.pem", key_file=tmp_path / "key.pem")
        assert await ask(url, tls=tls) == 1
        with pytest.raises(TenantStopped):
            await ask(url)
    with pytest.raises(TenantStopped):
        client_of("https://127.0.0.1:1", tls=ClientTls(ca_file=tmp_path / "missing.pem"))
