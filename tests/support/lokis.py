"""Fixtures of the contract tests on Lokis: the stand-in and, where a binary is at hand, a real one, each as a single
process and as a cell.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from exporter.sandbox.loki import LokiLimits, StandInLoki
from tests.support.loki import BLOCK_BYTES, REAL_LIMITS, SECOND, LokiUnderTest
from tests.support.loki_cell import RealLoki, loki_binary, running_loki


@pytest.fixture(scope="module")
def real_single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLoki]:
    with _real(tmp_path_factory.mktemp("loki"), 0) as loki:
        yield loki


@pytest.fixture(scope="module")
def real_cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLoki]:
    with _real(tmp_path_factory.mktemp("cell"), 3) as loki:
        yield loki


def _real(directory: Path, ingesters: int):
    return running_loki(directory, ingesters=ingesters, block_bytes=BLOCK_BYTES, overrides=REAL_LIMITS)


#: Without a binary the real ones are left out, and the report's header says so.
_REAL = [pytest.param(name, marks=pytest.mark.loki) for name in ("real_single", "real_cell")]


@pytest.fixture(params=["stand_in_single", "stand_in_cell", *(_REAL if loki_binary() else [])])
async def loki(request: pytest.FixtureRequest) -> AsyncIterator[LokiUnderTest]:
    cell = request.param.endswith("cell")
    async with httpx.AsyncClient(timeout=30) as client:
        if request.param.startswith("real"):
            real: RealLoki = request.getfixturevalue(request.param)

            async def flush_real() -> None:
                real.flush()

            yield LokiUnderTest(real.url, cell, True, flush_real, client)
            return
        stand_in = StandInLoki(mode="separate" if cell else "single", limits=LokiLimits(block_bytes=BLOCK_BYTES))
        await stand_in.start()

        async def flush() -> None:
            stand_in.flush()

        yield LokiUnderTest(stand_in.url, cell, False, flush, client)
        await stand_in.stop()
        assert stand_in.server.failures == []


@pytest.fixture
def base() -> int:
    """A whole second half a minute ago: in ingesters, and behind now."""
    return time.time_ns() // SECOND * SECOND - 30 * SECOND
