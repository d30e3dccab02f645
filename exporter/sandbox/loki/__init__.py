"""A stand-in for Grafana Loki that misbehaves like the real one. Entry point: :class:`StandInLoki`."""

from exporter.sandbox.loki.faults import Fault, Faults
from exporter.sandbox.loki.limits import LokiLimits
from exporter.sandbox.loki.standin import StandInLoki
from exporter.sandbox.loki.storage import Truth, TruthEntry

__all__ = ["Fault", "Faults", "LokiLimits", "StandInLoki", "Truth", "TruthEntry"]
