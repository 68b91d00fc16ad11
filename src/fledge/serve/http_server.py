"""uvicorn with connections that are bounded; a first signal lets everything finish, a second ends
it.
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

import uvicorn

from fledge.errors import UserError
from fledge.serve.patient_protocol import make_protocol
from fledge.serve.service import Options


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
