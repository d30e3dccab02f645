"""Processing a batch for the worker, with patience where a policy depends on a store."""

from __future__ import annotations

import asyncio
import random

import structlog

from exporter.domain.clock import Clock
from exporter.domain.entries import EntryBatch
from exporter.domain.events import EncodedBatch
from exporter.errors import PseudonymsUnavailable
from exporter.ops import metrics
from exporter.ops.log import RateLimited, describe
from exporter.pipeline import Pipeline

log = structlog.get_logger()

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 10.0


async def processed(pipeline: Pipeline, batch: EntryBatch, clock: Clock) -> EncodedBatch:
    """Process a batch. While the store of pseudonyms is away, wait with it: nothing is held back or skipped, and Loki keeps
    what comes after.
    """
    if not pipeline.blocks:
        return pipeline.process(batch)
    waiting, limit, delay = metrics.PSEUDONYMS_UNAVAILABLE.labels(pipeline.tenant), RateLimited(), FIRST_DELAY_SECONDS
    while True:
        try:
            encoded = await asyncio.to_thread(pipeline.process, batch)
        except PseudonymsUnavailable as error:
            waiting.set(1)
            if (suppressed := limit.ready("pseudonyms")) is not None:
                log.warning("pseudonyms_unavailable", tenant=pipeline.tenant, suppressed=suppressed, **describe(error))
            await clock.sleep(random.uniform(0.5, 1.0) * delay)  # noqa: S311
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)
        else:
            waiting.set(0)
            return encoded
