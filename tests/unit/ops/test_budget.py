from __future__ import annotations

import asyncio

import pytest

from exporter.ops.budget import ByteBudget


async def test_waiters_are_served_in_order_and_never_beyond_the_limit() -> None:
    budget = ByteBudget(100)
    await budget.acquire(60)
    order: list[str] = []

    async def take(name: str, size: int) -> None:
        await budget.acquire(size)
        order.append(name)

    large, small = asyncio.create_task(take("large", 80)), asyncio.create_task(take("small", 10))
    await asyncio.sleep(0)
    assert order == []  # small would fit, but it must not starve the one before it
    budget.release(60)
    await asyncio.gather(large, small)
    assert order == ["large", "small"]
    assert budget.used_bytes == 90


async def test_an_item_beyond_the_limit_passes_alone() -> None:
    budget = ByteBudget(100)
    await asyncio.wait_for(budget.acquire(1000), 1)
    waiting = asyncio.create_task(budget.acquire(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    budget.release(1000)
    await waiting


async def test_a_cancelled_waiter_holds_nothing() -> None:
    budget = ByteBudget(10)
    await budget.acquire(10)
    waiting = asyncio.create_task(budget.acquire(5))
    await asyncio.sleep(0)
    budget.release(10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budget.used_bytes == 0
