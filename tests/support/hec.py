"""A HEC connector in front of the stand-in."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

from connectors.base import ConnectorContext
from connectors.splunk_hec.client import HecClient
from connectors.splunk_hec.connector import SplunkHecConnector
from connectors.splunk_hec.settings import SplunkHecSettings
from exporter.domain.secrets import Secret
from exporter.sandbox.hec import StandInHec

TOKEN = "8a0c9a1e-token-of-the-test"


def hec_connector(directory: Path, *hecs: StandInHec | str, token: str = TOKEN, **keys) -> SplunkHecConnector:
    token_file = directory / "token"
    token_file.write_text(token)
    urls = tuple(h if isinstance(h, str) else h.url for h in hecs)
    address = {"url": urls[0]} if len(urls) == 1 else {"urls": urls}
    settings = SplunkHecSettings(
        kind="splunk_hec", token_file=Secret(path=token_file), **{"index": "main", **address, **keys}
    )
    client = HecClient(settings, "test", sleep=sleep_little, first_poll_seconds=0.01)
    return SplunkHecConnector(settings, ConnectorContext("soc", str(directory)), client)


async def sleep_little(seconds: float) -> None:
    """Seconds pass in milliseconds."""
    await asyncio.sleep(seconds / 1000)


@asynccontextmanager
async def hec_and_connector(directory: Path, *, token: str = TOKEN, settings: dict | None = None, **keys):
    hec = StandInHec(TOKEN, **{"indexes": ["main"], **keys})
    await hec.start()
    connector = hec_connector(directory, hec, token=token, **(settings or {}))
    try:
        yield hec, connector
    finally:
        await connector.close()
        await hec.stop()
