"""The error tree, by what to do.

::

    ExporterError                 message + hint; safe to log: carries no log text and no secret
    ├── ConfigurationError        stop before start; all findings at once (exit code 2)
    ├── RetryLater                same request again after ``retry_after_seconds`` or a back-off
    │   ├── Throttled             429 and the like: also lower the concurrency
    │   ├── BusUnavailable        bus out of reach, disk full: nothing was committed
    │   └── PseudonymsUnavailable the store of pseudonyms cannot answer: the batch waits, nothing is held back or lost
    ├── SplitWindow               ask for a smaller time window
    ├── ShrinkPage                ask for fewer entries a page
    ├── TenantStopped             needs a human (credentials, tenant, disabled queries): this tenant pauses, others go on
    ├── BadAnswer                 the peer's answer breaks its protocol (cut, HTML, no statistics): retried, then TenantStopped
    ├── CommitAborted             nothing was written: rewind to the last committed checkpoint and go on
    ├── Fenced                    another worker owns the shard (or we were too slow): close, check ownership, reopen
    └── RedactionFailed           an event cannot be redacted safely: hold it back

Loki and bus faults are mapped to this tree in one place each (``exporter.loki.errors``, ``exporter.bus.kafka.faults``).
Errors of a target are in ``connectors.base``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ExporterError(Exception):
    """Base. ``hint`` says what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class Finding:
    """One configuration error: the path in the document, what is wrong, and the cure. ``line`` counts from 1 (0: not
    known); the loader fills it in.
    """

    path: str
    reason: str
    cure: str
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.path} (line {self.line})" if self.line else self.path
        return f"{place}: {self.reason}. {self.cure}"


class ConfigurationError(ExporterError):
    """The configuration cannot be used; ``findings`` holds every error, not only the first."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(f) for f in self.findings))


class RetryLater(ExporterError):
    """The same request may succeed later."""

    def __init__(self, message: str, *, hint: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class Throttled(RetryLater):
    """The peer asks for less."""


class BusUnavailable(RetryLater):
    """The bus cannot take or give records now; nothing was committed."""


class PseudonymsUnavailable(RetryLater):
    """The store of pseudonyms cannot be read or written now, or not with the present key."""


class SplitWindow(ExporterError):
    """The window is too long or too heavy for one request."""


class ShrinkPage(ExporterError):
    """The answer is too large in bytes; fewer entries a page will fit."""


class TenantStopped(ExporterError):
    """This tenant cannot go on without a human; its neighbours can."""


class BadAnswer(ExporterError):
    """A peer answered outside its protocol."""


class CommitAborted(ExporterError):
    """The transaction was rolled back."""


class Fenced(ExporterError):
    """The shard's writer was replaced."""


class RedactionFailed(ExporterError):
    """Fail closed."""
