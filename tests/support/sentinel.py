"""A Sentinel connector in front of the stand-in."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager

from connectors.base import ConnectorContext
from connectors.sentinel.connector import SentinelConnector
from connectors.sentinel.settings import SentinelSettings
from connectors.tokens import Token
from exporter.domain.events import encode_head
from exporter.sandbox.logs_ingestion import AUDIENCE, DCR_ID, STREAM, StandInLogs


def settings(endpoint: str = "https://dce.example.com", **keys) -> SentinelSettings:
    return SentinelSettings(**{"kind": "sentinel", "endpoint": endpoint, "dcr_id": DCR_ID, "stream": STREAM, **keys})


def issuer(logs: StandInLogs):
    """Return a function that fetches a token of the stand-in without HTTP."""

    def fetch() -> Token:
        found = logs.entra.issue(AUDIENCE)
        return Token(found["access_token"], time.time() + found["expires_in"])

    return fetch


def connector_of(logs: StandInLogs, *, clock=None, **keys) -> SentinelConnector:
    return SentinelConnector(settings(logs.url, **keys), ConnectorContext("soc", ""), clock=clock, fetch=issuer(logs))


@asynccontextmanager
async def logs_and_connector(*, clock=None, settings: dict | None = None, **keys):
    logs = StandInLogs(**keys)
    await logs.start()
    connector = connector_of(logs, clock=clock, **(settings or {}))
    try:
        yield logs, connector
        assert not logs.failures
    finally:
        await connector.close()
        await logs.stop()


def ids(numbers) -> list[str]:
    return [f"{n:032x}" for n in numbers]


def now_event(number: int, body: bytes = b'"message":"m"') -> bytes:
    """Return an event of this moment; ``body`` holds its members."""
    return encode_head(f"{number:032x}", time.time_ns() + number) + body + b"}"
