"""Mapping and exit scan between the engine and a connector."""

from __future__ import annotations

import orjson
import pytest

from connectors.base import Batch, Capabilities, DeliveryResult, Record, Rejection, TargetSettings
from connectors.schemas import SchemaEncoder
from exporter.bus.base import BusRecord, Lane
from exporter.delivery.outgoing import OutgoingConnector
from exporter.delivery.redrive import redrive
from exporter.delivery.rejections import build_letters
from exporter.domain.events import encode_head
from exporter.pipeline import compile_pipeline
from exporter.settings.model import TenantSettings
from tests.support.delivery import LANE, build_engine, deliver_all, settings
from tests.support.memory_bus import MemoryBus

NS = 1_795_442_400_000_000_000
SCHEMAS = ("ocsf", "ecs", "cim", "asim", "message", "raw")


def event(number: int, **keys) -> bytes:
    body = orjson.dumps({"tenant.id": "acme", "kind": "log", "message": f"line {number}", **keys})
    return encode_head(f"{number:032x}", NS + number * 1_000_003) + body[1:]


class Inner:
    """Keeps what it gets; ``result`` is its answer."""

    capabilities = Capabilities(max_batch_bytes=1_000_000, max_batch_records=10_000)

    def __init__(self, result: DeliveryResult | None = None) -> None:
        self.batches: list[Batch] = []
        self.result = result or DeliveryResult()

    async def open(self): ...

    async def close(self): ...

    async def deliver(self, batch: Batch) -> DeliveryResult:
        self.batches.append(batch)
        return self.result


@pytest.fixture(scope="module")
def guard():
    return compile_pipeline("acme", TenantSettings(selector='{job="x"}')).guard()


def outgoing(inner, guard, schema="ocsf"):
    return OutgoingConnector("soc", inner, SchemaEncoder(schema), {"acme": guard})


def batch(*values: bytes) -> Batch:
    return Batch("acme", 0, [Record(i + 7, b"k", v) for i, v in enumerate(values)], sum(map(len, values)))


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_many_clean_events_pass_whatever_their_times_and_ids_look_like(guard, schema):
    values = [event(number) for number in range(1, 700)]
    inner = Inner()
    result = await outgoing(inner, guard, schema).deliver(batch(*values))
    assert result.rejected == ()
    (sent,) = inner.batches
    assert [record.canonical for record in sent.records] == values
    assert sent.size_bytes == sum(len(record.value) for record in sent.records)
    assert sent.first_offset == 7


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_a_hit_holds_its_event_and_no_other(guard, schema):
    inner = Inner()
    leak = event(2, message="contact jane.doe" + "@example.org now")
    result = await outgoing(inner, guard, schema).deliver(batch(event(1), leak, event(3)))
    (held,) = result.rejected
    assert (held.index, held.code, held.withheld) == (1, "exit_scan", True)
    assert [record.offset for record in inner.batches[0].records] == [7, 9]
    (letter,) = build_letters("soc", Lane("acme", 0), [BusRecord(7 + i, b"k", b"x", 0) for i in range(2)], [held], 1)
    assert letter.value == b""


async def test_what_cannot_be_mapped_is_rejected_and_places_stay_true(guard):
    inner = Inner(DeliveryResult(rejected=(Rejection(0, "bad", "no"),), retry=(1,)))
    result = await outgoing(inner, guard).deliver(batch(b"{}", event(1), b"nonsense", event(2)))
    assert [(r.index, r.code) for r in result.rejected] == [(0, "schema"), (1, "bad"), (2, "schema")]
    assert result.retry == (3,)


async def test_nothing_left_calls_no_connector(guard):
    inner = Inner()
    result = await outgoing(inner, guard).deliver(batch(b"{}"))
    assert not inner.batches
    assert len(result.rejected) == 1


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"schema": "ocsf", "schema_version": "9.9"}, "choose one of 1.1.0"),
        ({"schema_version": "1.5.0"}, "remove schema_version"),
        ({"schema": "leef"}, "canonical"),
    ],
)
def test_settings_say_what_to_do(keys, says):
    with pytest.raises(ValueError, match=says):
        TargetSettings(kind="x", **keys)


async def test_the_whole_way_through_the_engine(guard):
    bus, inner = MemoryBus(), Inner()
    leak = event(2, message="contact jane.doe" + "@example.org now")
    bus.append(LANE, [event(1), leak, b"{}", event(3)])
    await deliver_all(build_engine(bus, outgoing(inner, guard), target_settings=settings(max_dead_letter_ratio=1.0)))
    sent = [record.head for given in inner.batches for record in given.records]
    assert sent == [event(1), event(3)]
    assert [(x.code, x.value) for x in bus.dead_letters().list("soc")] == [("exit_scan", b""), ("schema", b"{}")]
    counts = await redrive("soc", outgoing(inner, guard), bus)
    assert (counts["redriven"], counts["refused"]) == (0, 2)
