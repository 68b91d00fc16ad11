"""What every request passes before it is read, and every answer on its way out: the host that it
names, the page that it comes from, the key, the size and the time of its body; and headers that
keep a browser from doing more with an answer than was meant.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import sys
import traceback
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fledge.serve.api_errors import ApiError
from fledge.serve.service import Options

# Read without a key: the page itself says nothing of the models before it has one.
OPEN = ("/", "/health", "/favicon.ico")
OPEN_UNDER = "/page/"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"content-security-policy", POLICY.encode()),
]
# Read and thrown away of a body that is refused: a client that is still sending hears no answer.
DRAINED_BYTES, DRAINED_S = 64_000_000, 3.0


class Guard:
    """An ASGI layer around the whole application."""

    def __init__(self, app: ASGIApp, options: Options) -> None:
        self.app, self.options = app, options
        self.hosts = list_hosts(options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # a web socket
            return
        headers = dict(scope["headers"])
        reader = BodyReader(receive, self.options)
        began = False

        async def send_guarded(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                if message["status"] >= 400:
                    await reader.drain()
                own = {name.lower() for name, _ in message["headers"]}
                more = [pair for pair in HEADERS if pair[0] not in own]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        try:
            self.check(scope, headers)
            reader.check_length(headers)
            await self.app(scope, reader, send_guarded)
        except ApiError as error:
            if began:
                raise
            await error.to_response()(scope, reader, send_guarded)
        except Exception:
            if began:
                raise
            traceback.print_exc(file=sys.stderr)
            message = "the server failed at this request: its own output says how."
            await ApiError(500, message).to_response()(scope, reader, send_guarded)

    def check(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Raises ApiError for who may not ask."""
        host = headers.get(b"host", b"").decode("latin-1")
        if self.hosts is not None and strip_port(host) not in self.hosts:
            # A page elsewhere may have let its own name lead here (DNS rebinding).
            raise ApiError(
                403, f"this server is not called {host[:80]!r}: ask 127.0.0.1 or localhost.",
                code="wrong_host",
            )  # fmt: skip
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").partition("://")[2] != host:
            raise ApiError(
                403, "pages of other hosts may not ask this server (CORS is closed).",
                code="cross_origin",
            )  # fmt: skip
        path: str = scope["path"]
        if self.options.key is None or path in OPEN or path.startswith(OPEN_UNDER):
            return
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        right = hmac.compare_digest(given.strip(), self.options.key)
        if kind.lower() != b"bearer" or not right:
            said = "the key is wrong" if given else "no key came"
            raise ApiError(
                401, f"{said}: send the header `authorization: Bearer KEY` with this server's key.",
                code="invalid_api_key", headers={"www-authenticate": "Bearer"},
            )  # fmt: skip


class BodyReader:
    """The body as it comes, up to its bounds of size and time."""

    def __init__(self, receive: Receive, options: Options) -> None:
        self.receive, self.options = receive, options
        self.read, self.ended = 0, False
        self.until: float | None = None

    async def __call__(self) -> Message:
        """Raises ApiError for one that is too large, or too slow."""
        if self.ended:
            return await self.receive()
        loop = asyncio.get_running_loop()
        if self.until is None:
            self.until = loop.time() + self.options.slow_s
        try:
            async with asyncio.timeout_at(self.until):
                message = await self.receive()
        except TimeoutError:
            self.ended = True
            raise ApiError(
                408,
                f"the body had not come within {self.options.slow_s:g} s: send it at once.",
                headers={"connection": "close"},
            ) from None
        self.ended = message["type"] != "http.request" or not message.get("more_body", False)
        self.read += len(message.get("body", b""))
        if self.read > self.options.body_bytes:
            raise self.refuse_size(self.read)
        return message

    def check_length(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises ApiError for what says that it is too large."""
        said = headers.get(b"content-length", b"")
        if said.isdigit() and int(said[:20]) > self.options.body_bytes:
            raise self.refuse_size(int(said[:20]))

    def refuse_size(self, size: int) -> ApiError:
        return ApiError(
            413,
            f"the body has {size:,} bytes or more, and {self.options.body_bytes:,} are taken: "
            "send less.",
        )

    async def drain(self) -> None:
        try:
            async with asyncio.timeout(DRAINED_S):
                while not self.ended and self.read < DRAINED_BYTES:
                    message = await self.receive()
                    self.read += len(message.get("body", b""))
                    self.ended = not message.get("more_body", False)
        except TimeoutError:
            pass


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def list_hosts(options: Options) -> frozenset[str] | None:
    """The names that a request may call this server by; None for all of them, where others than
    this machine may ask: they have a key.
    """
    if not is_loopback(options.host):
        return None
    return frozenset({"localhost", "127.0.0.1", "[::1]", options.host.lower()})


def strip_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
