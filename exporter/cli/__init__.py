"""The command ``loki-siem``: one module a command group; heavy parts of the exporter are imported by the command that
needs them, so that ``--help`` and ``schema`` answer at once.

Exit codes: 0 done, 1 the work failed, 2 usage or configuration.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Entry point of ``loki-siem`` and ``python -m exporter``."""
    from exporter.cli.app import build_app  # noqa: PLC0415 - keeps `import exporter.cli` free

    build_app()()
