"""Loki → bus: reads Grafana Loki completely, redacts every entry and publishes it exactly once."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]
