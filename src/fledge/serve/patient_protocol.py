"""One connection, patient up to a point where uvicorn leaves that open: answered and let go is who
sends headers slowly or without end, who takes nothing of an answer, and who comes when as many are
connected as may be.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from fledge.serve.api_errors import ApiError
from fledge.serve.guard import HEADERS
from fledge.serve.service import Options

LINGER_S = 2.0  # a refused client may still be sending, and would hear nothing of a closed socket
LINGERING = 64  # refused ones that are answered at a time; beyond them connections are closed


def make_protocol(given: Options) -> type[H11Protocol]:
    """The class of connections with the bounds of these options."""

    class BoundProtocol(PatientProtocol):
        options = given

    return BoundProtocol


class PatientProtocol(H11Protocol):
    """options: whose bounds hold; of the class that uvicorn makes connections of."""

    options: Options
    refused = False
    _timer: asyncio.TimerHandle | None = None  # until the headers have come
    _unread = 0  # bytes since the last whole request
    _watching: asyncio.TimerHandle | None = None  # what the client takes

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        lingering = sum(
            isinstance(each, PatientProtocol) and each.refused for each in self.connections
        )
        if len(self.connections) - lingering <= self.options.connections:
            self._timer = self.loop.call_later(self.options.slow_s, self._give_up)
        elif lingering < LINGERING:
            most = self.options.connections
            message = f"{most} clients are connected, and no more are taken: try again in a second."
            self._refuse(ApiError(503, message, headers={"retry-after": "1"}))
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_watching()
        super().connection_lost(exc)

    # What comes: headers within their time and size.

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        self._unread += len(data)
        super().data_received(data)
        if self.refused:
            return
        if self.conn.their_state is h11.IDLE:
            if self._timer is None:
                self._timer = self.loop.call_later(self.options.slow_s, self._give_up)
        else:
            self._unread = 0
            self._stop_timer()

    def _give_up(self) -> None:
        self._timer = None
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            return
        if not self._unread:  # opened and not used, as browsers do
            self.transport.close()
            return
        message = f"the headers had not come within {self.options.slow_s:g} s."
        self._refuse(ApiError(408, message))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def send_400_response(self, msg: str) -> None:
        most = self.options.header_bytes
        if self._unread >= most:
            message = f"the headers are longer than {most:,} bytes: send less."
            self._refuse(ApiError(431, message))
        else:
            self._refuse(ApiError(400, "this is no HTTP request."))

    def _refuse(self, error: ApiError) -> None:
        """Answer, and close when the client has heard it."""
        self.refused = True
        self._stop_timer()
        body = error.to_json()
        headers = [
            *HEADERS,
            *((name.encode(), value.encode()) for name, value in error.headers.items()),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        reason = STATUS_PHRASES[error.status]
        event = h11.Response(status_code=error.status, headers=headers, reason=reason)
        for piece in (event, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(piece))
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    # What goes: a client that takes nothing would hold its answer in memory, and the server's
    # orderly end, for as long as it likes.

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch(before=None)

    def resume_writing(self) -> None:
        self._stop_watching()
        super().resume_writing()

    def _watch(self, before: int | None) -> None:
        """before: bytes that were to be taken when it was looked at last."""
        left = self.transport.get_write_buffer_size()
        if before is not None and left >= before:
            self.transport.abort()
            return
        self._watching = self.loop.call_later(self.options.slow_s, self._watch, left)

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
