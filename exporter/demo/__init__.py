"""``loki-siem demo``: the whole way on one machine, with a picture while it runs and a proof at the end.

``stack`` starts the stand-ins and the real service as processes, ``probe`` measures latency with canary lines, ``screen`` draws,
``proof`` counts and searches for leaks.
"""

from __future__ import annotations

from exporter.demo.run import run_demo

__all__ = ["run_demo"]
