"""The worker waits with a batch while pseudonyms cannot be had."""

from __future__ import annotations

from prometheus_client import REGISTRY

from exporter.domain.clock import ManualClock
from exporter.processing import processed
from exporter.pseudonyms.sqlite import SqliteSaltStore
from tests.support.pipelines import NOW_NS, TENANT, batch_of, events_of, pipeline_of, stream_of
from tests.support.pseudonyms import Unsteady, policy_pipeline


def waiting() -> float | None:
    return REGISTRY.get_sample_value("loki_siem_pseudonyms_unavailable", {"tenant": TENANT})


async def test_a_batch_waits_for_the_store_and_then_goes_on_whole():
    store, clock = Unsteady(SqliteSaltStore(None), away=5), ManualClock(NOW_NS)
    pipeline = policy_pipeline({"actions": {"email": "pseudonym"}}, store)
    out = await processed(pipeline, batch_of(stream_of(["a@b.example", "two"])), clock)
    assert len(events_of(out)) == 2
    assert out.held_ids == []
    assert clock.now_ns() > NOW_NS + 10**9
    assert waiting() == 0


async def test_a_policy_without_pseudonyms_never_leaves_the_loop():
    pipeline = pipeline_of()
    assert not pipeline.blocks
    assert len(events_of(await processed(pipeline, batch_of(stream_of(["x"])), ManualClock(NOW_NS)))) == 1
