"""The server's side of WebSocket, as far as a stand-in needs it: text out, and the peer's pings and close (RFC 6455).

A hijacked :class:`exporter.sandbox.http.Connection` carries it. No library of the lock has a server for such a connection.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress

from exporter.sandbox.http import BadRequest, Connection, Request, Response

#: RFC 6455, 1.3.
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_FINAL, _MASKED = 0x80, 0x80
#: A control frame's payload is at most this long (RFC 6455, 5.5).
_MAX_CONTROL_BYTES = 125
#: Clients of a stand-in send control frames only; more than this is no client of ours.
_MAX_FRAME_BYTES = 65_536
INTERNAL_ERROR, PROTOCOL_ERROR = 1011, 1002


class WebSocket:
    """One upgraded connection. ``closed`` of the connection tells when the peer has gone."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = bytearray()

    async def send_text(self, text: bytes) -> None:
        """Send one message and wait while the peer is slow."""
        await self._connection.write(frame(_TEXT, text))

    async def close(self, code: int, reason: str) -> None:
        """Say good-bye; the HTTP server closes the connection when the session returns."""
        await self._connection.write(frame(_CLOSE, code.to_bytes(2) + reason.encode()[: _MAX_CONTROL_BYTES - 2]))

    async def until_closed(self) -> None:
        """Answer pings and swallow messages until the peer closes or breaks the protocol."""
        while True:
            data = await self._connection.read()
            if not data:
                return
            self._buffer += data
            try:
                while (received := self._take_frame()) is not None:
                    opcode, payload = received
                    if opcode == _PING:
                        await self._connection.write(frame(_PONG, payload))
                    elif opcode == _CLOSE:
                        await self._connection.write(frame(_CLOSE, payload))
                        return
            except ValueError as error:
                await self.close(PROTOCOL_ERROR, str(error))
                return

    def _take_frame(self) -> tuple[int, bytes] | None:
        """Take one whole frame off the buffer. Raises ValueError for what a client must not send."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        if not buffer[1] & _MASKED:
            raise ValueError("frames of a client are masked")
        length, at = buffer[1] & 0x7F, 2
        extended = {126: 2, 127: 8}.get(length, 0)
        if extended:
            if len(buffer) < at + extended:
                return None
            length, at = int.from_bytes(buffer[at : at + extended]), at + extended
        if length > _MAX_FRAME_BYTES:
            raise ValueError("frame too large")
        if len(buffer) < at + 4 + length:
            return None
        mask, body = buffer[at : at + 4], buffer[at + 4 : at + 4 + length]
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))
        opcode = buffer[0] & 0x0F
        del buffer[: at + 4 + length]
        return opcode, payload


def frame(opcode: int, payload: bytes) -> bytes:
    """Write one unfragmented frame, unmasked as servers send it."""
    length = len(payload)
    if length <= _MAX_CONTROL_BYTES:
        head = bytes([_FINAL | opcode, length])
    elif length < 1 << 16:
        head = bytes([_FINAL | opcode, 126]) + length.to_bytes(2)
    else:
        head = bytes([_FINAL | opcode, 127]) + length.to_bytes(8)
    return head + payload


def upgraded(request: Request, session: Callable[[WebSocket], Awaitable[None]]) -> Response:
    """Answer an upgrade; ``session`` then has the connection until it returns. Raises BadRequest (400) for what is none."""
    headers = request.headers
    key = headers.get("sec-websocket-key", "")
    valid = False
    with suppress(ValueError):
        valid = len(base64.b64decode(key, validate=True)) == 16
    asked = headers.get("upgrade", "").lower() == "websocket" and "upgrade" in headers.get("connection", "").lower()
    if request.method != "GET" or not asked or not valid or headers.get("sec-websocket-version") != "13":
        raise BadRequest(400, "Bad Request")

    async def run(connection: Connection) -> None:
        await session(WebSocket(connection))

    accept = base64.b64encode(hashlib.sha1((key + _MAGIC).encode(), usedforsecurity=False).digest()).decode()
    return Response(
        101, headers={"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}, upgrade=run
    )
