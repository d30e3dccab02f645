"""A receiver of webhooks as strict as its owner would write it, and a connector in front of it."""

from __future__ import annotations

import gzip
import hashlib
import hmac
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs

import orjson

from connectors.base import ConnectorContext
from connectors.webhook.connector import WebhookConnector
from connectors.webhook.settings import WebhookSettings
from exporter.domain.secrets import Secret
from exporter.sandbox.http import Request, Response, Server
from exporter.sandbox.scripted import Faults, ScriptedFault

SECRET = "shared-with-the-receiver"


class Fault(ScriptedFault):
    status: int = 500

    def __init__(self, status: int = 500, **keys) -> None:
        super().__init__(**keys)
        self.status = status


def verify(secret: str, headers: dict[str, str], body: bytes, now: float, tolerance_seconds: float = 300) -> bool:
    """The receiver's side as the documentation shows it."""
    timestamp, given = headers.get("x-loki-siem-timestamp", ""), headers.get("x-loki-siem-signature", "")
    if not timestamp.isdigit() or abs(now - int(timestamp)) > tolerance_seconds:
        return False
    expected = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(given, f"sha256={expected}")


class Receiver:
    """``events`` in the order of their coming; ``requests`` as they came."""

    def __init__(self, *, body: str = "array", limit: int = 10_000_000) -> None:
        self.body, self.limit = body, limit
        self.events: list[bytes] = []
        self.requests: list[Request] = []
        self.faults: Faults[Fault] = Faults()
        self.bad: set[str] = set()
        self.bad_status = 422
        self.authorization: str | None = None
        self.answer = Response(202)
        self.head = Response(405)
        self.tokens: list[str] = []
        self.token_answer = Response(200)
        self._server = Server(self._handle, max_body_bytes=100_000_000)

    @property
    def url(self) -> str:
        return self._server.url + "/hook/s3cret-path?k=v"

    @property
    def token_url(self) -> str:
        return self._server.url + "/token"

    async def start(self, **keys) -> None:
        await self._server.start(**keys)

    async def stop(self) -> None:
        await self._server.stop()

    async def _handle(self, request: Request) -> Response:
        if request.path == "/token":
            return self._token(request)
        if request.method == "HEAD":
            return self.head
        self.requests.append(request)
        return self._take(request)

    def _take(self, request: Request) -> Response:
        if self.authorization is not None and request.headers.get("authorization") != self.authorization:
            return Response(401)
        body = gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
        if len(body) > self.limit:
            return Response(413)
        events = self._split(body)
        fault = self.faults.next()
        if fault is not None:
            return self._go_wrong(fault, events)
        if self._refuses(events):
            return Response(self.bad_status)
        self.events += events
        return self.answer

    def _go_wrong(self, fault: Fault, events: list[bytes]) -> Response:
        if fault.store and not self._refuses(events):
            self.events += events
        headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
        return fault.unanswered() or Response(fault.status, headers=headers)

    def _refuses(self, events: list[bytes]) -> bool:
        return bool(self.bad) and bool(self.bad & {orjson.loads(event)["event.id"] for event in events})

    def _token(self, request: Request) -> Response:
        form = parse_qs(request.body.decode())
        self.tokens.append(form["client_secret"][0])
        if self.token_answer.status != 200 or self.token_answer.body:
            return self.token_answer
        token = f"token-{len(self.tokens)}"
        self.authorization = f"Bearer {token}"
        return Response(200, orjson.dumps({"access_token": token, "token_type": "bearer", "expires_in": 3600}))

    def _split(self, body: bytes) -> list[bytes]:
        if self.body == "array":
            return [orjson.dumps(event) for event in orjson.loads(body)]
        if self.body == "single":
            return [orjson.dumps(orjson.loads(body))]
        assert body.endswith(b"\n")
        return body.splitlines()


def secret(directory: Path, text: str = SECRET, name: str = "secret") -> Secret:
    path = directory / name
    path.write_text(text)
    return Secret(path=path)


def webhook_connector(receiver: Receiver, **keys) -> WebhookConnector:
    settings = WebhookSettings(**{"kind": "webhook", "url": receiver.url, "body": receiver.body, **keys})
    return WebhookConnector(settings, ConnectorContext("hook", ""))


@asynccontextmanager
async def receiver_and_connector(*, body: str = "array", limit: int = 10_000_000, **keys):
    receiver = Receiver(body=body, limit=limit)
    await receiver.start()
    connector = webhook_connector(receiver, **keys)
    try:
        yield receiver, connector
    finally:
        await connector.close()
        await receiver.stop()
