"""A strict stand-in for Splunk's HTTP Event Collector, as probed on Splunk 10.4 by third parties.

It keeps to what others forgive: it answers 200 to an unknown key and silently drops the rest, skips an object without
event when it has fields, counts code 7 from one and all other codes from zero, keeps the events before a refused one, and
answers 413, 415 in HTML. With ``use_ack`` it acknowledges by channels (:mod:`exporter.sandbox.hec_acks`); its raw endpoint
takes a line for an event. Faults are scripted through :class:`Fault` or, over HTTP, ``POST /sandbox/faults``.

As a process: ``python -m exporter.sandbox.hec --port N --token-file F [--store FILE]``; counts under ``/sandbox/stats``.
``--fast`` checks only the framing of our own envelopes (one object a line), so that it costs less than what it measures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import orjson
from isal import isal_zlib

from exporter.domain.events import HEAD_ID
from exporter.sandbox.hec_acks import GUID, Acks
from exporter.sandbox.hec_rules import METADATA, TEXT, Refused, Rules, as_envelopes, id_of, objects
from exporter.sandbox.http import Request, Response, Server
from exporter.sandbox.scripted import Faults, ScriptedFault, Store, json_answer, serve_until_signalled

_EVENT_PATHS = frozenset(
    {"/services/collector", "/services/collector/event", "/services/collector/1.0", "/services/collector/event/1.0"}
)
_RAW_PATHS = frozenset({"/services/collector/raw", "/services/collector/raw/1.0"})
_ACK_PATHS = frozenset({"/services/collector/ack", "/services/collector/ack/1.0"})
_HEALTH_PATHS = frozenset({"/services/collector/health", "/services/collector/health/1.0"})
_HTML = b"<!doctype html><html><head><title>%d %b</title></head><body><h1>%b</h1></body></html>"


@dataclass(slots=True, kw_only=True)
class Fault(ScriptedFault):
    """``code``: this HEC code; with ``event`` the events before that zero-based number are stored first (the number in the
    answer is one higher for code 7). ``status``: this HTTP status with an HTML body. ``on``: what it happens to; a poll for
    acknowledgements that goes wrong with ``store`` has told them all the same.
    """

    code: int | None = None
    event: int | None = None
    status: int | None = None
    on: Literal["events", "ack"] = "events"


@dataclass(slots=True)
class Stats:
    requests: int = 0
    probes: int = 0
    polls: int = 0
    accepted: int = 0
    accepted_bytes: int = 0
    wire_bytes: int = 0
    answers: dict[str, int] = field(default_factory=dict)


class StandInHec:
    """The server. ``accepted`` lists the ids of stored events in order of storing, ``events`` their envelopes if kept."""

    def __init__(
        self,
        token: str = "",
        *,
        indexes: Iterable[str] | None = None,
        use_ack: bool = False,
        max_content_length: int = 1_000_000,
        fast: bool = False,
        keep_events: bool = False,
        keep_ids: bool = True,
        store: Path | None = None,
    ) -> None:
        self.token, self.use_ack, self.max_content_length, self.fast = token, use_ack, max_content_length, fast
        self.rules = Rules(None if indexes is None else frozenset(indexes))
        self.disabled_tokens: set[str] = set()
        self.stats = Stats()
        self.accepted: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.faults: Faults[Fault] = Faults()
        self.ack_faults: Faults[Fault] = Faults()
        self.acks = Acks()
        #: Cookie of each answer, as a balancer sets it.
        self.cookie = ""
        #: Code of the health address.
        self.health = 17
        #: Added to the number of the refused event in answers; None leaves it out. Real servers and proxies do both.
        self.number_offset: int | None = 0
        self._keep_events, self._keep_ids = keep_events, keep_ids
        self._store = Store(store)
        self._server = Server(self._handle, max_body_bytes=1_000_000_000)

    @property
    def url(self) -> str:
        return self._server.url

    async def start(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        await self._server.start(port=port, tls=tls)

    async def stop(self) -> None:
        await self._server.stop()
        self._store.close()

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def _handle(self, request: Request) -> Response:
        if request.path.startswith("/sandbox/"):
            return self._control(request)
        if request.path in _HEALTH_PATHS:  # ignores the token, as the real one does
            return (
                self._answer(self.health)
                if request.method == "GET"
                else _json(405, 404, "The requested URL was not found.")
            )
        if request.method == "OPTIONS":
            return Response(200)
        if request.path not in _EVENT_PATHS | _RAW_PATHS | _ACK_PATHS:
            return _json(404, 404, "The requested URL was not found on this server.")
        if request.method != "POST":
            return _json(405, 404, "The requested URL was not found on this server.")
        answer = self._poll(request) if request.path in _ACK_PATHS else self._events(request)
        if self.cookie:
            answer.headers["Set-Cookie"] = f"{self.cookie}; Path=/; HttpOnly"
        return answer

    def _events(self, request: Request) -> Response:
        self.stats.requests += 1
        self.stats.wire_bytes += len(request.body)
        raw = request.path in _RAW_PATHS
        code = self._refuse_token(request) or self._refuse_channel(request, needed=self.use_ack or raw)
        if not code and self.use_ack and request.body and self.acks.code(_channel_of(request)) == 27:
            code = 27
        if code:
            return self._answer(code)
        try:
            body = _plain(request)
        except _Coding as error:
            return self._html(error.status)
        if len(body) > self.max_content_length:
            return self._html(413)
        if not body.strip():
            self.stats.probes += 1
            return self._answer(5)
        if raw:
            body = as_envelopes(body, {name: values[0] for name, values in request.query.items() if name in METADATA})
        fault = self.faults.next()
        before = len(self.accepted)
        answer = self._go_wrong(fault, body) if fault is not None else self._store_all(body)
        if self.use_ack and answer.status == 200 and not (answer.close or answer.hang):
            return self._promise(answer, _channel_of(request), before)
        return answer

    def _promise(self, answer: Response, channel: str, before: int) -> Response:
        """Give the request its id in the channel, unless the channel is full."""
        if not answer.headers.get("Content-Type", "").startswith("application/json"):
            return answer
        found = orjson.loads(answer.body)
        if found["code"] not in {0, 24, 25}:
            return answer
        if (near := self.acks.code(channel)) and found["code"] == 0:
            found = orjson.loads(self._answer(near).body)
        found["ackId"] = self.acks.promise(channel, len(self.accepted) - before)
        answer.body = orjson.dumps(found)
        return answer

    def _poll(self, request: Request) -> Response:
        self.stats.polls += 1
        code = self._refuse_token(request)
        if not code and not self.use_ack:
            code = 14
        code = code or self._refuse_channel(request, needed=True)
        if code:
            return self._answer(code)
        fault = self.ack_faults.next()
        answer = None if fault is not None and not fault.store else self.acks.answer(_channel_of(request), request.body)
        if fault is None:
            return self._answer(6) if answer is None else json_answer({"acks": answer})
        if (wrong := fault.unanswered()) is not None:
            return wrong
        if fault.code is None:
            return self._html(fault.status or 500, fault.retry_after)
        return self._answer(fault.code, None, fault.retry_after)

    def restart(self, *, lose: bool = False) -> list[str]:
        """Forget all acknowledgements, as an indexer does that is started again. ``lose``: with them the events that were
        not acknowledged yet, whose ids are returned.
        """
        count = self.acks.restart()
        lost = self.accepted[len(self.accepted) - count :] if lose and count else []
        if lost:
            del self.accepted[-count:]
            if self._keep_events:
                del self.events[-count:]
        return lost

    def _refuse_token(self, request: Request) -> int:
        if "token" in request.query:
            return 16
        given = request.headers.get("authorization")
        if not given:
            return 2
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "splunk":
            return 3
        if token in self.disabled_tokens:
            return 1
        if token != self.token:
            return 4
        return 0

    @staticmethod
    def _refuse_channel(request: Request, *, needed: bool) -> int:
        channel = _channel_of(request)
        if not channel:
            return 10 if needed else 0
        return 0 if GUID.fullmatch(channel) else 11

    def _answer(self, code: int, number: int | None = None, retry_after: str | None = None) -> Response:
        status, text = TEXT[code]
        self.stats.answers[str(code)] = self.stats.answers.get(str(code), 0) + 1
        response = _json(status, code, text, number)
        if retry_after is not None:
            response.headers["Retry-After"] = retry_after
        return response

    def _html(self, status: int, retry_after: str | None = None) -> Response:
        self.stats.answers[f"http_{status}"] = self.stats.answers.get(f"http_{status}", 0) + 1
        headers = {"Content-Type": "text/html; charset=UTF-8"}
        if retry_after is not None:
            headers["Retry-After"] = retry_after
        return Response(status, _HTML % (status, b"Error", b"Error"), headers)

    # --- faults -------------------------------------------------------------------------------------------------------

    def _go_wrong(self, fault: Fault, body: bytes) -> Response:
        if fault.code is not None and fault.event is not None:
            return self._stop_at(fault.code, fault.event, fault.retry_after, body)
        if fault.slow_seconds or fault.code in {24, 25}:
            return self._take_slowly(fault, body)
        if fault.store:
            self._store_all(body)
        if (answer := fault.unanswered()) is not None:
            return answer
        if fault.status is not None:
            return self._html(fault.status, fault.retry_after)
        return self._answer(fault.code if fault.code is not None else 8, None, fault.retry_after)

    def _take_slowly(self, fault: Fault, body: bytes) -> Response:
        """Store, and answer late or near capacity; a bad event is refused all the same."""
        answer = self._store_all(body)
        if answer.status == 200 and fault.code is not None:
            answer = self._answer(fault.code)
        answer.delay_seconds = fault.slow_seconds
        return answer

    def _stop_at(self, code: int, event: int, retry_after: str | None, body: bytes) -> Response:
        """Store the events before this one, then answer with the code and its number; a bad one among them comes first."""
        head = self._store_all(body, event)
        return head if head.status != 200 else self._answer(code, event + (code == 7), retry_after)

    # --- events -------------------------------------------------------------------------------------------------------

    def _store_all(self, body: bytes, most: int | None = None) -> Response:
        """Take the events of a body, or the first ``most``, up to the first bad one; return the answer."""
        if self.fast:
            return self._store_fast(body)
        good: list[Any] = []
        try:
            stopped = self.rules.examine(islice(objects(body), most), good)
        except Refused as refused:
            self._keep(good)
            shift = self.number_offset
            number = None if shift is None else refused.number + (refused.code == 7) + shift
            return self._answer(refused.code, number)
        self._keep(good)
        return self._answer(5 if stopped and not good else 0)

    def _keep(self, envelopes: Sequence[dict[str, Any]]) -> None:
        lines = [orjson.dumps(value) for value in envelopes]
        self.stats.accepted += len(lines)
        self.stats.accepted_bytes += sum(map(len, lines))
        if self._keep_ids:
            self.accepted.extend(id_of(value.get("event")) for value in envelopes)
        if self._keep_events:
            self.events.extend(envelopes)
        self._store.write(b"".join([line + b"\n" for line in lines]))

    def _store_fast(self, body: bytes) -> Response:
        """Count envelopes by their framing; enough for our own encoder, whose output the strict mode tests."""
        count = body.count(b'"event":' + HEAD_ID)
        if not count or body.count(b"\n") != count or not (body.startswith(b'{"time":') and body.endswith(b"}}\n")):
            return self._answer(6, 0)
        self.stats.accepted += count
        self.stats.accepted_bytes += len(body)
        self._store.write(body)
        return self._answer(0)

    # --- control ------------------------------------------------------------------------------------------------------

    def _further_counts(self) -> dict[str, int]:
        ids, rules = self.accepted, self.rules
        return {"ids": len(ids), "distinct": len(set(ids)), "skipped": rules.skipped, "dropped": rules.dropped}

    def _sort_faults(self) -> None:
        """Put faults of polls, which came over HTTP, where polls look for them."""
        self.ack_faults.extend(fault for fault in self.faults if fault.on == "ack")
        kept = [fault for fault in self.faults if fault.on == "events"]
        self.faults.clear()
        self.faults.extend(kept)

    def _control(self, request: Request) -> Response:
        if (answer := self.faults.control(request, Fault)) is not None:
            self._sort_faults()
            return answer
        what = request.path.removeprefix("/sandbox/")
        if what == "stats":
            return json_answer(asdict(self.stats) | self._further_counts())
        if what == "ids":
            return json_answer(self.accepted)
        return Response(404)


def _channel_of(request: Request) -> str:
    return request.headers.get("x-splunk-request-channel") or request.first("channel") or ""


class _Coding(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _plain(request: Request) -> bytes:
    """Return the body without its gzip coding, through isal because the stand-in must be cheap. Raises _Coding."""
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding in {"", "identity"}:
        return request.body
    if coding != "gzip":
        raise _Coding(415)
    try:
        return isal_zlib.decompress(request.body, wbits=31)
    except isal_zlib.error:  # type: ignore[misc]  # an exception, whatever its stub says
        raise _Coding(400) from None


def _json(status: int, code: int, text: str, number: int | None = None) -> Response:
    body: dict[str, Any] = {"text": text, "code": code}
    if number is not None:
        body["invalid-event-number"] = number
    return Response(status, orjson.dumps(body), {"Content-Type": "application/json; charset=UTF-8"})


async def _serve(arguments: argparse.Namespace) -> None:
    hec = StandInHec(
        arguments.token_file.read_text("utf-8").strip(),
        indexes=arguments.index or None,
        max_content_length=arguments.max_content_length,
        fast=arguments.fast,
        keep_ids=not arguments.fast,
        use_ack=arguments.ack,
        store=arguments.store,
    )
    await hec.start(arguments.port)
    await serve_until_signalled(hec)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m exporter.sandbox.hec", description="Strict stand-in for Splunk HEC."
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one, printed at start")
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--store", type=Path, help="append accepted envelopes to this file")
    parser.add_argument("--index", action="append", help="allowed index (repeatable); default: all")
    parser.add_argument("--max-content-length", type=int, default=1_000_000)
    parser.add_argument("--ack", action="store_true", help="the token has indexer acknowledgement (useACK)")
    parser.add_argument("--fast", action="store_true", help="check framing only; keeps no ids")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
