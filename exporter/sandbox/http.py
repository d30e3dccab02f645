"""A small HTTP/1.1 server for the stand-ins: fast enough not to be the bottleneck, and able to misbehave on request.

It speaks keep-alive, ``Content-Length`` and chunked request bodies, ``Expect: 100-continue`` and TLS, one request at a
time on each connection (RFC 9112). A handler returns a :class:`Response`, which can also order the faults that real
servers and proxies produce: a delay, no answer at all, a closed connection, a body cut short of its declared length.
It binds to loopback unless told otherwise and is meant for tests and the demo, never for the open network.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, unquote

from isal import igzip

_LOG = logging.getLogger(__name__)

#: A request head larger than this is refused, as most servers do (nginx: 4 x 8 KiB).
_MAX_HEAD_BYTES = 65_536
#: Bytes read ahead on a connection whose request is still being answered before reading pauses.
_MAX_READ_AHEAD_BYTES = 1_048_576
#: Level 1 of isal: the ratio of zlib's level 1 at three times its speed.
_GZIP_LEVEL = 1


class BadRequest(ValueError):
    """The request breaks HTTP or its content coding; ``status`` is what to answer. Carries no request content."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(slots=True, repr=False)
class Request:
    """One request. ``headers`` have lower-case names; ``body`` is as it came, see :meth:`decoded_body`."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""

    def decoded_body(self, max_bytes: int = 256 * 1_048_576) -> bytes:
        """Return the body without its gzip or deflate coding. Raises BadRequest (400, 413 or 415)."""
        coding = self.headers.get("content-encoding", "").strip().lower()
        if coding in {"", "identity"}:
            return self.body
        if coding not in {"gzip", "deflate"}:
            raise BadRequest(415, "unsupported content coding")
        return _inflate(self.body, max_bytes)

    def accepts_gzip(self) -> bool:
        """Tell whether the answer may be gzipped."""
        codings = self.headers.get("accept-encoding", "").lower().split(",")
        return any(
            c.partition(";")[0].strip() == "gzip" and "q=0" not in c.replace(" ", "").split(";") for c in codings
        )

    def first(self, name: str) -> str | None:
        """Return the first value of a query parameter, or None."""
        values = self.query.get(name)
        return values[0] if values else None


@dataclass(slots=True, repr=False)
class Response:
    """One answer, and how it goes wrong.

    ``delay_seconds`` waits before the first byte. ``close``: the connection is closed without an answer. ``hang``: no
    answer ever; the connection stays open until the peer leaves. ``cut_after_bytes``: the declared length is that of
    ``body``, but the connection is closed after this many bytes of it. ``upgrade``: after the head, the connection
    belongs to this coroutine (used for WebSocket).
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    close: bool = False
    hang: bool = False
    cut_after_bytes: int | None = None
    upgrade: Callable[[Connection], Awaitable[None]] | None = None

    def gzipped(self) -> Response:
        """Compress the body and say so in the headers; returns itself."""
        self.body = igzip.compress(self.body, compresslevel=_GZIP_LEVEL)
        self.headers["Content-Encoding"] = "gzip"
        return self


Handler = Callable[[Request], Awaitable[Response]]


def _inflate(body: bytes, max_bytes: int) -> bytes:
    # 47 = 32 + 15: zlib finds out by itself whether it is gzip or zlib.
    inflater = zlib.decompressobj(wbits=47)
    try:
        plain = inflater.decompress(body, max_bytes + 1)
    except zlib.error:
        raise BadRequest(400, "broken content coding") from None
    if len(plain) > max_bytes:
        raise BadRequest(413, "body too large")
    if not inflater.eof:
        raise BadRequest(400, "content coding ends early")
    return plain


def _parse_head(head: bytes) -> Request:
    """Read request line and headers. Raises BadRequest."""
    first, *lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, version = first.split(" ")
    except ValueError:
        raise BadRequest(400, "bad request line") from None
    if not version.startswith("HTTP/1."):
        raise BadRequest(505, "only HTTP/1.1 is spoken here")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400, "bad header line")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if version == "HTTP/1.0":
        headers.setdefault("connection", "close")
    path, _, query = target.partition("?")
    return Request(method, unquote(path), parse_qs(query, keep_blank_values=True) if query else {}, headers)


class _Body:
    """Collects a request body from the bytes that arrive. ``done`` once it is whole."""

    __slots__ = ("_chunk_left", "_chunked", "_in_trailer", "_left", "_max_bytes", "data", "done")

    def __init__(self, headers: dict[str, str], max_bytes: int) -> None:
        self.data = bytearray()
        self._max_bytes = max_bytes
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self._chunk_left = -1  # -1: a chunk's size line comes next
        self._in_trailer = False
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise BadRequest(400, "bad content length")
        self._left = 0 if self._chunked else int(length)
        if self._left > max_bytes:
            raise BadRequest(413, "body too large")
        self.done = not self._chunked and self._left == 0

    def take(self, buffer: bytearray) -> None:
        """Move what belongs to the body out of ``buffer``."""
        if self._chunked:
            while not self.done and self._take_chunk_part(buffer):
                pass
            return
        part = buffer[: self._left]
        del buffer[: self._left]
        self.data += part
        self._left -= len(part)
        self.done = self._left == 0

    def _take_chunk_part(self, buffer: bytearray) -> bool:
        if self._chunk_left < 0:
            return self._take_size_line(buffer)
        # The data of a chunk is followed by CRLF, which is counted in.
        if len(buffer) < self._chunk_left + 2:
            return False
        self.data += buffer[: self._chunk_left]
        del buffer[: self._chunk_left + 2]
        self._chunk_left = -1
        return True

    def _take_size_line(self, buffer: bytearray) -> bool:
        end = buffer.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        if self._in_trailer:
            self.done = not line
            return True
        try:
            size = int(line.partition(b";")[0].strip(), 16)
        except ValueError:
            raise BadRequest(400, "bad chunk size") from None
        if size < 0 or len(self.data) + size > self._max_bytes:
            raise BadRequest(413, "body too large")
        if size:
            self._chunk_left = size
        else:
            self._in_trailer = True
        return True


class Connection(asyncio.Protocol):
    """One client connection; also handed to an upgraded answer as its byte stream."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = bytearray()
        self._request: Request | None = None
        self._body: _Body | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._readable = asyncio.Event()
        self._paused = False
        self.closed = asyncio.Event()

    # --- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - signature of asyncio
        self._server.connections.discard(self)
        self.closed.set()
        self._writable.set()
        self._readable.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._readable.set()
        if self._task is None:
            self._advance()
        elif len(self._buffer) > _MAX_READ_AHEAD_BYTES and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    # --- requests ---------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Parse as far as the bytes reach; start the handler when a request is whole."""
        try:
            if self._request is None and not self._take_head():
                return
            assert self._request is not None
            assert self._body is not None
            if not self._body.done:
                self._body.take(self._buffer)
            if not self._body.done:
                return
        except BadRequest as error:
            self._write(Response(error.status, error.reason.encode() + b"\n"), keep_alive=False)
            return
        self._request.body = bytes(self._body.data)
        self._body = None
        self._task = asyncio.get_running_loop().create_task(self._answer(self._request))

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise BadRequest(431, "request head too large")
            return False
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        request = _parse_head(head)
        self._body = _Body(request.headers, self._server.max_body_bytes)
        self._request = request
        if not self._body.done and request.headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    async def _answer(self, request: Request) -> None:
        try:
            response = await self._server.handler(request)
        except BadRequest as error:
            response = Response(error.status, error.reason.encode() + b"\n")
        except Exception as error:  # noqa: BLE001 - a broken handler answers 500 and shows where, never what it held
            response = Response(500, b"internal error\n")
            self._server.failures.append(_place_of(error))
            _LOG.error("stand-in handler failed: %s", self._server.failures[-1])
        if response.delay_seconds:
            await asyncio.sleep(response.delay_seconds)
        if response.hang:
            await self.closed.wait()
        keep_alive = request.headers.get("connection", "").lower() != "close"
        self._write(response, keep_alive=keep_alive, head_only=request.method == "HEAD")
        await self._writable.wait()
        if response.upgrade is not None:
            await response.upgrade(self)
            self.transport.close()
        self._request = None
        self._task = None
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        if self._buffer and not self.transport.is_closing():
            self._advance()

    def _write(self, response: Response, *, keep_alive: bool, head_only: bool = False) -> None:
        if response.close:
            self.transport.abort()
            return
        body = b"" if head_only else response.body
        self.transport.write(_head_of(response, keep_alive=keep_alive))
        if response.cut_after_bytes is not None:
            self.transport.write(body[: response.cut_after_bytes])
            keep_alive = False
        elif body:
            self.transport.write(body)
        if not keep_alive:
            self.transport.close()

    # --- byte stream for an upgraded connection ---------------------------------------------------------------------

    async def read(self) -> bytes:
        """Return the bytes that arrived; empty once the peer has gone."""
        while not self._buffer and not self.closed.is_set():
            self._readable.clear()
            await self._readable.wait()
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def write(self, data: bytes) -> None:
        """Send bytes and wait while the peer is slow."""
        if not self.transport.is_closing():
            self.transport.write(data)
            await self._writable.wait()


def _head_of(response: Response, *, keep_alive: bool) -> bytes:
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {response.status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if response.upgrade is None:
        lines.append(f"Content-Length: {len(response.body)}")
        lines.append(f"Connection: {'keep-alive' if keep_alive else 'close'}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _place_of(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
    return f"{type(error).__name__} at {where}"


class Server:
    """The listening side. ``failures`` lists handler errors by type and place, so that a test can insist on none."""

    def __init__(self, handler: Handler, *, max_body_bytes: int = 256 * 1_048_576) -> None:
        self.handler = handler
        self.max_body_bytes = max_body_bytes
        self.connections: set[Connection] = set()
        self.failures: list[str] = []
        self._server: asyncio.Server | None = None
        self._scheme = "http"
        self._host = ""
        self.port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Listen; port 0 takes a free one. Raises OSError when the address is in use."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), host, port, ssl=tls, backlog=1024)
        self._scheme = "https" if tls is not None else "http"
        self._host = host
        self.port = int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Base URL without a trailing slash."""
        return f"{self._scheme}://{self._host}:{self.port}"

    async def stop(self) -> None:
        """Stop listening and drop every connection, answered or not."""
        if self._server is None:
            return
        self._server.close()
        connections = list(self.connections)
        for connection in connections:
            connection.transport.abort()
        for connection in connections:
            await connection.closed.wait()
        await self._server.wait_closed()
        self._server = None
