"""uvicorn, with what it leaves open: clients that send their headers slowly or without end are
answered and let go, as are those that take nothing of their answer; and a first signal lets
everything finish, a second ends it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from fledge.errors import UserError
from fledge.serve.api_errors import ApiError
from fledge.serve.guard import HEADERS
from fledge.serve.service import Options

LINGER_S = 2.0  # a refused client may still be sending, and would hear nothing of a closed socket


def make_protocol(options: Options) -> type[H11Protocol]:
    """The class of connections with the bounds of these options."""

    class PatientProtocol(H11Protocol):
        """One connection, patient up to a point."""

        _timer: asyncio.TimerHandle | None = None
        _unread = 0  # bytes since the last whole request
        _refused = False
        _taking: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._timer = self.loop.call_later(options.slow_s, self._give_up)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            self._stop_watching()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch(before=None)

        def resume_writing(self) -> None:
            self._stop_watching()
            super().resume_writing()

        def _watch(self, before: int | None) -> None:
            """Whether the client has taken anything since: one that does not would hold its
            answer in memory, and the server's orderly end, for as long as it likes.
            """
            left = self.transport.get_write_buffer_size()
            if before is not None and left >= before:
                self.transport.abort()
                return
            self._taking = self.loop.call_later(options.slow_s, self._watch, left)

        def _stop_watching(self) -> None:
            if self._taking is not None:
                self._taking.cancel()
                self._taking = None

        def data_received(self, data: bytes) -> None:
            if self._refused:
                return
            self._unread += len(data)
            super().data_received(data)
            if self._refused:
                return
            if self.conn.their_state is h11.IDLE:
                if self._timer is None:
                    self._timer = self.loop.call_later(options.slow_s, self._give_up)
            else:
                self._unread = 0
                self._stop_timer()

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _give_up(self) -> None:
            self._timer = None
            if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
                return
            if not self._unread:  # opened and not used, as browsers do
                self.transport.close()
                return
            self._refuse(408, f"the headers had not come within {options.slow_s:g} s.")

        def send_400_response(self, msg: str) -> None:
            if self._unread >= options.header_bytes:
                message = f"the headers are longer than {options.header_bytes:,} bytes: send less."
                self._refuse(431, message)
            else:
                self._refuse(400, "this is no HTTP request.")

        def _refuse(self, status: int, message: str) -> None:
            """Answer, and close when the client has heard it."""
            self._refused = True
            self._stop_timer()
            body = ApiError(status, message).to_json()
            headers = [
                *HEADERS,
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            reason = STATUS_PHRASES[status]
            event = h11.Response(status_code=status, headers=headers, reason=reason)
            for piece in (event, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(piece))
            self.transport.write_eof()
            self.loop.call_later(LINGER_S, self.transport.close)

    return PatientProtocol


class HttpServer(uvicorn.Server):
    """listening: called when clients can come. stopping: called at the first signal."""

    def __init__(
        self,
        config: uvicorn.Config,
        listening: Callable[[], None],
        stopping: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self.listening, self.stopping = listening, stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's raises the signal again when all is over: that would call an orderly end a
        failure.
        """
        if threading.current_thread() is not threading.main_thread():  # Python hears none there
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
            return
        self.should_exit = True
        self.stopping()


def is_news(record: logging.LogRecord) -> bool:
    """Not that a second signal has cut what streamed: whoever sent it knows."""
    kind = None if record.exc_info is None else record.exc_info[0]
    return kind is not asyncio.CancelledError and "CancelledError" not in record.getMessage()


def open_socket(host: str, port: int) -> socket.socket:
    """Bound and not listening yet. Raises UserError for an address that cannot be had."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
    except OSError as error:
        raise UserError(
            f"host={host} port={port} cannot be had ({error.strerror or error}): another program "
            "may hold it; give another port, or port=0 for a free one."
        ) from None
    return opened


def run_app(
    app: Any,
    options: Options,
    opened: socket.socket,
    *,
    listening: Callable[[], None],
    stopping: Callable[[], None],
) -> bool:
    """Until a signal comes. Whether all that streamed was finished."""
    config = uvicorn.Config(
        app,
        http=make_protocol(options),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody's word for who asks
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=options.header_bytes,
    )
    log = logging.getLogger("uvicorn.error")
    log.setLevel(logging.ERROR)
    log.addFilter(is_news)
    server = HttpServer(config, listening, stopping)
    server.run(sockets=[opened])
    return not server.force_exit
