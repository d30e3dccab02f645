"""Figures of one target that outlive a restart of its run; what ``snapshot`` and the drain's totals show."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class DeliveryStats:
    """Since the process started."""

    delivered: int = 0
    delivered_bytes: int = 0
    dead_letters: int = 0
    possible_duplicates: int = 0
    last_stored_ns: int = 0
    #: The newest failure, in the connector's own words (no payload), and empty again after a success.
    last_error: str = ""
