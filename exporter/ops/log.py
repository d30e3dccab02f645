"""Structured logs without payload.

One line per event, JSON on standard error (console style on a terminal). A log pipeline must never log what it carries, and
exception texts of libraries may quote their input (``int('…')``, a missing dictionary key). So exceptions are logged by
type and place; the text is shown only for our own errors, whose contract is to carry no payload
(``exporter.errors``, ``connectors.base``).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, MutableMapping
from types import TracebackType
from typing import Any

import orjson
import structlog

from exporter.domain.secrets import SecretError
from exporter.errors import ExporterError

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

#: Exception types whose text is safe; connectors add theirs through :func:`trust_error_text`.
_safe_types: list[type[BaseException]] = [ExporterError, SecretError]


def trust_error_text(kind: type[BaseException]) -> None:
    """Declare that messages of this exception type never hold payload or secrets."""
    if kind not in _safe_types:
        _safe_types.append(kind)


def describe(error: BaseException) -> dict[str, str]:
    """Return what may be logged about an exception: its type, its place in the code, its text only if it is safe."""
    fields = {"error": type(error).__name__}
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        last = frames[-1]
        fields["at"] = f"{os.path.basename(last.filename)}:{last.lineno}"  # noqa: PTH119
    if isinstance(error, tuple(_safe_types)):
        fields["message"] = str(error)
    elif isinstance(error, OSError) and error.strerror:
        fields["message"] = error.strerror
    return fields


def _replace_exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        for key, value in describe(error).items():
            event.setdefault(key, value)
    return event


def configure(level: str = "info", style: str = "auto") -> None:
    """Set up structlog once per process. ``style``: json | console | auto (console on a terminal)."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _replace_exception,
    ]
    factory: Callable[..., Any]
    if console:
        processors.append(structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback))
        factory = structlog.PrintLoggerFactory(sys.stderr)
    else:
        processors.append(structlog.processors.JSONRenderer(serializer=orjson.dumps))
        factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s", stream=sys.stderr)
    logging.raiseExceptions = False
    sys.excepthook = _log_unhandled
    threading.excepthook = lambda args: _log_unhandled(args.exc_type, args.exc_value, args.exc_traceback)


def _log_unhandled(kind: type[BaseException], error: BaseException | None, _trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    fields = describe(error) if error is not None else {"error": kind.__name__}
    structlog.get_logger().error("process_crashed", **fields)


def log_loop_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Route errors of forgotten tasks through :func:`describe` instead of asyncio's default, which prints their text."""

    def handler(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        fields = describe(error) if isinstance(error, BaseException) else {}
        structlog.get_logger().error("task_failed", **fields)

    loop.set_exception_handler(handler)


class RateLimited:
    """Lets one message per key through every ``seconds`` and counts what it held back (``suppressed``)."""

    def __init__(self, seconds: float = 10.0) -> None:
        self._seconds = seconds
        self._last: dict[str, tuple[float, int]] = {}

    def ready(self, key: str) -> int | None:
        """Return the number of messages suppressed since the last one, or None when this one is to be suppressed."""
        now = time.monotonic()
        last, suppressed = self._last.get(key, (-1e9, 0))
        if now - last < self._seconds:
            self._last[key] = (last, suppressed + 1)
            return None
        self._last[key] = (now, 0)
        return suppressed
