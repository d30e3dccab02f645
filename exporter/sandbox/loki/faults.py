"""Scripted misbehaviour: what the next requests of a kind meet.

A fault is data, so that a test can script it in process and another process can send it as JSON to ``/sandbox/faults``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from exporter.sandbox.http import Request, Response
from exporter.sandbox.loki.engine import Effects

Kind = Literal["any", "push", "query_range", "query", "tail", "series", "labels", "stats", "limits", "ready"]
#: Texts of real answers, for faults that name only a status (reference: the table of errors of a reader's view of Loki).
_TEXTS = {
    400: "parse error at line 1, col 1: syntax error",
    401: "no org id",
    413: "rpc error: code = Code(413) desc = response larger than the max message size (104857601 vs 104857600)",
    429: "too many outstanding requests",
    500: "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5242880 vs. 4194304)",
    502: "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>",
    503: "empty ring",
    504: "request timed out, decrease the duration of the request or add more label matchers (prefer exact match over "
    "regex match) to reduce the amount of data processed",
}


@dataclass(slots=True)
class Fault:
    """What one or more requests meet instead of, or on top of, the true answer.

    Instead: ``status`` (with ``body`` or Loki's usual text for it), ``close``, ``hang``. On top: ``cut_after_bytes``,
    ``delay_seconds``, ``lost_ingesters`` (their messages vanish from a log answer, 200 all the same), ``lost_chunks``
    (entries missing from one answer), ``warning``, ``without_stats``, ``body`` with status 200 (a proxy's page).
    ``after``: so many requests of the kind pass unharmed first. ``times``: how many are hit, -1 for all.
    """

    kind: Kind = "any"
    times: int = 1
    after: int = 0
    tenant: str = ""
    status: int = 0
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"
    retry_after: str = ""
    close: bool = False
    hang: bool = False
    cut_after_bytes: int | None = None
    delay_seconds: float = 0.0
    lost_ingesters: tuple[int, ...] = ()
    lost_chunks: int = 0
    warning: str = ""
    without_stats: bool = False

    @property
    def effects(self) -> Effects:
        """What the engine has to leave out."""
        return Effects(frozenset(self.lost_ingesters), self.lost_chunks)

    def replaces_answer(self) -> bool:
        """Tell whether the request is not evaluated at all."""
        return bool(self.status or self.close or self.hang or self.body)

    def answer(self) -> Response:
        """Return the answer that stands in for the true one."""
        status = self.status or 200
        headers = {"Content-Type": self.content_type}
        if self.retry_after:
            headers["Retry-After"] = self.retry_after
        text = self.body or _TEXTS.get(status, "")
        return Response(
            status, text.encode() + b"\n", headers, self.delay_seconds, self.close, self.hang, self.cut_after_bytes
        )

    def spoil(self, response: Response) -> Response:
        """Apply what goes wrong with a true answer on its way."""
        response.delay_seconds += self.delay_seconds
        if self.cut_after_bytes is not None:
            response.cut_after_bytes = self.cut_after_bytes
        return response


@dataclass(slots=True)
class Faults:
    """The script of one stand-in. ``requests`` counts what came in, by kind, for assertions."""

    _script: list[tuple[Fault, Callable[[Request], bool] | None]] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)

    def add(self, fault: Fault, when: Callable[[Request], bool] | None = None) -> Fault:
        """Script a fault. ``when`` narrows it to requests that it holds for. Earlier ones are used up first."""
        self._script.append((fault, when))
        return fault

    def next(self, kind: Kind, times: int = 1, **what: Any) -> Fault:
        """Short form of :meth:`add`: ``faults.next("query_range", 2, status=429)``."""
        return self.add(Fault(kind, times, **what))

    def clear(self) -> None:
        """End all misbehaviour."""
        self._script.clear()

    def take(self, kind: Kind, tenant: str, request: Request) -> Fault | None:
        """Return the fault for this request, and count it; called by the stand-in."""
        self.requests[kind] += 1
        for entry in self._script:
            fault, when = entry
            if fault.kind not in {"any", kind} or fault.tenant not in {"", tenant} or (when and not when(request)):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            if fault.times > 0:
                fault.times -= 1
                if fault.times == 0:
                    self._script.remove(entry)
            return fault
        return None


def fault_from(document: dict[str, Any]) -> Fault:
    """Build a fault from JSON. Raises ValueError naming the key that is wrong."""
    known = {f.name for f in fields(Fault)}
    for key in document:
        if key not in known:
            raise ValueError(f"unknown key {key!r} in a fault; known: {', '.join(sorted(known))}")
    if document.get("kind", "any") not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}")
    values = {**document, "lost_ingesters": tuple(document.get("lost_ingesters", ()))}
    return Fault(**values)
