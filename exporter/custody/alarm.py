"""A break of the ledger that is found while the service starts: loud, and never in the way of the data.

The exporter goes on: who can break a chain must not be able to stop a SOC's feed with it, and Loki deletes what is not read in
time. But it does not go on silently: metric, log and ``status`` show the break, and the next record of the chain carries it.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from exporter.custody.chains import Break
from exporter.ops import metrics

log = structlog.get_logger()

HINT = "keep the bus as it is, run `loki-siem ledger verify`, and see docs/runbooks/LokiSiemLedgerBroken.md"


def report(chain: str, breaks: Sequence[Break]) -> str:
    """Raise (or end) the alarm of a chain; return what its next record is to note."""
    metrics.LEDGER_BREAKS.labels(chain).set(len(breaks))
    for found in breaks[:5]:
        log.error("ledger_broken", chain=found.chain, record=found.sequence, reason=found.reason, hint=HINT)
    return "; ".join(map(str, breaks[:5]))
