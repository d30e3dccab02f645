"""The connector: what the engine calls, and what it is told about the target."""

from __future__ import annotations

from connectors.base import Batch, Capabilities, ConnectorContext, DeliveryResult
from connectors.splunk_hec.client import HecClient
from connectors.splunk_hec.delivery import MAX_BATCH_RECORDS, Delivery, Shared
from connectors.splunk_hec.encode import Envelopes
from connectors.splunk_hec.settings import SplunkHecSettings

#: Share of a request that events may fill by their own bytes; the envelopes need the rest.
EVENT_SHARE = 3 / 4
#: Requests of one batch where acknowledgement may have to be waited for: a lane waits once for all of them.
REQUESTS_PER_WAIT = 4


class SplunkHecConnector:
    """See ``connectors.base.Connector``."""

    def __init__(self, settings: SplunkHecSettings, context: ConnectorContext, client: HecClient | None = None) -> None:
        self._settings = settings
        self._client = client or HecClient(settings, context.user_agent)
        self._envelopes = Envelopes(settings)
        self._shared = Shared(settings, self._client)
        waits = settings.ack != "never"
        self.capabilities = Capabilities(
            max_batch_bytes=int(settings.max_content_length * EVENT_SHARE) * (REQUESTS_PER_WAIT if waits else 1),
            max_batch_records=MAX_BATCH_RECORDS,
            # A delivery that waits for its acknowledgement costs the target nothing.
            max_in_flight=(32 if waits else 8) * len(settings.endpoints),
        )

    async def open(self) -> None:
        """Prove address and token at every endpoint, writing nothing."""
        await self._client.open()

    async def close(self) -> None:
        await self._client.close()

    async def deliver(self, batch: Batch) -> DeliveryResult:
        """Store the batch, or its head; see the contract."""
        groups, rejected = self._envelopes.encode(batch.tenant, batch.records)
        lane = (batch.tenant, batch.partition)
        delivery = Delivery(self._shared, lane, [record.offset for record in batch.records], rejected)
        return await delivery.run(groups)
