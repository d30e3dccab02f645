"""Errors as an operator reads them: message and hint on standard error, no traceback, no payload."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from exporter.cli.output import print_error, print_findings
from exporter.errors import ConfigurationError, ExporterError

FAILED = 1
REFUSED = 2


def exit_code_of(error: Exception, *, debug: bool) -> int | None:
    """Print the error and return the exit code it means; None when typer itself must handle it."""
    if type(error).__module__.partition(".")[0] in {"typer", "click"}:  # their base class moved between releases
        return None
    if isinstance(error, BrokenPipeError):
        discard_output()
        return FAILED
    if debug:
        print_error(_where(error))
    if isinstance(error, ConfigurationError):
        print_findings(error.findings)
        return REFUSED
    print_error(*_message_and_hint(error))
    return FAILED


def _message_and_hint(error: Exception) -> tuple[str, str]:
    if isinstance(error, ExporterError):
        return error.message, error.hint
    if _text_is_safe(error):
        return str(error), ""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror, ""
    # The text of a foreign exception may quote what was processed.
    return f"unexpected {type(error).__name__}", "run again with `loki-siem --debug …` and report what it shows"


def _text_is_safe(error: Exception) -> bool:
    from connectors.base import TargetError  # noqa: PLC0415 - loaded already whenever one was raised
    from exporter.domain.checkpoints import CheckpointError  # noqa: PLC0415
    from exporter.domain.secrets import SecretError  # noqa: PLC0415

    return isinstance(error, TargetError | SecretError | CheckpointError)


def _where(error: Exception) -> str:
    """Return the call stack without source lines or values."""
    frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    lines = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    return "\n".join([type(error).__name__, *lines])


def discard_output() -> None:
    """Let the interpreter's last flush go nowhere: the reader of our output is gone (``… | head``)."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
