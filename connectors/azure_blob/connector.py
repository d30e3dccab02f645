"""The connector: the writer of S3's objects over the blobs of a container. Names, metadata and what is skipped are the same."""

from __future__ import annotations

from dataclasses import replace

from connectors.azure_blob.client import AzureBlobClient
from connectors.azure_blob.settings import AzureBlobSettings
from connectors.base import Batch, ConnectorContext, DeliveryResult
from connectors.s3.client import ObjectStore
from connectors.s3.connector import S3Connector
from connectors.s3.settings import S3Settings


class AzureBlobConnector:
    """See ``connectors.base.Connector``. Delivering a batch again stores it once."""

    def __init__(
        self, settings: AzureBlobSettings, context: ConnectorContext, *, store: ObjectStore | None = None
    ) -> None:
        self._container = f"{settings.account}/{settings.container}"
        objects = S3Settings(kind="s3", bucket=settings.container, prefix=settings.prefix, schema=settings.schema)
        self._objects = S3Connector(
            objects, context, store=store or AzureBlobClient(settings, context.target, context.user_agent)
        )
        self.capabilities = self._objects.capabilities

    async def open(self) -> None:
        """Prove container, login, permissions and conditional writes, by one small blob outside of all events."""
        await self._objects.open()

    async def close(self) -> None:
        await self._objects.close()

    async def deliver(self, batch: Batch) -> DeliveryResult:
        """Store the batch. When some of its blobs could not be written, their events are to be handed in again."""
        result = await self._objects.deliver(batch)
        receipt = {"container": self._container, **{k: v for k, v in result.receipt.items() if k != "bucket"}}
        return replace(result, receipt=receipt)
