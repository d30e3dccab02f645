"""``python -m exporter`` is the command ``loki-siem``."""

from __future__ import annotations

from exporter.cli import main

main()
