"""G1 and G2 over weeks: any order of pushes, flushes, partial answers, cached answers, deletes and deaths ends with every accepted
line on the bus exactly once and with history sealed. Together some 10,000 steps.
"""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings

from tests.support.passes_model import TenantModel

_SETTINGS = settings(
    max_examples=8, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


class Cell(TenantModel):
    cell: ClassVar = {"mode": "separate", "ingesters": 3}


class Replicated(TenantModel):
    cell: ClassVar = {"mode": "separate", "ingesters": 3, "replication": 2}
    limits: ClassVar = {"max_entries_limit_per_query": 300}


class Single(TenantModel):
    cell: ClassVar = {"mode": "single"}


class Cached(TenantModel):
    cell: ClassVar = {"mode": "separate", "ingesters": 2}
    limits: ClassVar = {"cache_results": True, "obey_no_cache": False}


TestCell = pytest.mark.timeout(240)(Cell.TestCase)
TestReplicated = pytest.mark.timeout(240)(Replicated.TestCase)
TestSingle = pytest.mark.timeout(240)(Single.TestCase)
TestCached = pytest.mark.timeout(240)(Cached.TestCase)
for _case in (TestCell, TestReplicated, TestSingle, TestCached):
    _case.settings = _SETTINGS
