"""``/sandbox/…``: scripting a stand-in that runs as a process of its own, and asking it what it accepted.

Served only when the stand-in was started with ``control=True``; the command line binds it to loopback.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import orjson

from exporter.domain.ids import fingerprint
from exporter.sandbox.http import BadRequest, Request, Response
from exporter.sandbox.loki.faults import fault_from

if TYPE_CHECKING:
    from exporter.sandbox.loki.standin import StandInLoki


class Control:
    """The routes: ``truth``, ``faults``, ``limits``, ``requests``, ``flush``, ``cut-blocks``, ``lose-chunks``."""

    def __init__(self, loki: StandInLoki) -> None:
        self._loki = loki

    def handle(self, request: Request) -> Response:
        """Answer one request; JSON both ways. Raises BadRequest."""
        action = request.path.removeprefix("/sandbox/")
        if request.method == "GET":
            return self._shown(action, request)
        done: Any = {}
        if action == "faults" and request.method == "DELETE":
            self._loki.faults.clear()
        elif action == "faults":
            self._script(request)
        elif action == "limits":
            self._set_limits(request)
        elif action == "flush":
            self._loki.flush()
        elif action == "cut-blocks":
            self._loki.cut_blocks()
        elif action == "lose-chunks":
            done = {"lost": self._loki.lose_chunks(request.first("tenant") or "")}
        else:
            return _json({"error": "unknown action"}, 404)
        return _json(done)

    def _shown(self, action: str, request: Request) -> Response:
        if action == "requests":
            return _json(dict(self._loki.faults.requests))
        if action == "tenants":
            return _json({name: len(tenant.truth) for name, tenant in self._loki.tenants.items() if tenant.truth})
        if action == "truth":
            return self._truth(request)
        return _json({"error": "unknown action"}, 404)

    def _truth(self, request: Request) -> Response:
        """Count, fingerprint and, with ``ids=1``, every event id in order of acceptance; no line leaves. ``key``: the
        exporter's identity key in hex.
        """
        tenant = request.first("tenant") or ""
        name = request.first("name") or tenant  # the exporter's name of the tenant, when it differs
        try:
            key = bytes.fromhex(request.first("key") or "")
        except ValueError:
            raise BadRequest(400, "key is not hex") from None
        ids = self._loki.truth(tenant).event_ids(name, key)
        shown: dict[str, Any] = {"count": len(ids), "fingerprint": f"{fingerprint(ids):032x}"}
        if request.first("ids") == "1":
            shown["ids"] = [event_id.hex() for event_id in ids]
        return _json(shown)

    def _script(self, request: Request) -> None:
        document = _document(request)
        try:
            faults = [fault_from(item) for item in (document if isinstance(document, list) else [document])]
        except (ValueError, TypeError) as error:
            raise BadRequest(400, str(error)) from None
        for fault in faults:
            self._loki.faults.add(fault)

    def _set_limits(self, request: Request) -> None:
        document = _document(request)
        known = {f.name for f in fields(self._loki.limits)}
        if not isinstance(document, dict) or not document.keys() <= known:
            raise BadRequest(400, f"limits are an object with keys of {', '.join(sorted(known))}")
        for name, value in document.items():
            setattr(self._loki.limits, name, value)


def _document(request: Request) -> Any:
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise BadRequest(400, "the body is not JSON") from None


def _json(document: Any, status: int = 200) -> Response:
    return Response(status, orjson.dumps(document), {"Content-Type": "application/json"})
