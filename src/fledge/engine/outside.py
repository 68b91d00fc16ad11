"""Requests answered by another engine, over HTTP: a server that speaks vLLM's form of the OpenAI
completions protocol, or llama.cpp's.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from fledge.engine.completions_api import (
    OUTSIDE,
    Logprobs,
    Reply,
    build_body,
    parse,
    read_message,
)
from fledge.engine.llama_api import LlamaReply, build_llama_body
from fledge.engine.request import Completion, Request
from fledge.engine.row import OnToken, fail
from fledge.errors import UserError

# Before a request is sent again, after the connection broke or the server failed.
PAUSES_S = (0.25, 0.5, 1.0, 2.0)
CONNECT_S = 10.0
# for what it serves: one that accepts connections and says nothing would else be waited for like a
# long text
ANSWER_S = 10.0


@dataclass(frozen=True)
class Wire:
    """How a server is spoken to: where completions are, what is sent, and how a reply is read."""

    place: str
    build: Callable[[Request, str, int, Logprobs, bool], dict[str, Any]]
    reply: type[Reply]
    streams: bool


VLLM = Wire("/v1/completions", build_body, Reply, streams=True)
LLAMA_CPP = Wire("/completion", build_llama_body, LlamaReply, streams=False)

SentRequest = tuple[int, Request, bytes]  # place in the list, and what is sent for it


class OutsideEngine:
    """`run` as `fledge.engine.engine.Engine` has it; the model and its cache are the server's.

    url: of the server, with or without /v1. model: as the server calls it; None takes the only one
    it serves. concurrent: requests under way at once. timeout: seconds of silence after which a
    request is given up. vocab_size, context: of the server's model.
    logprobs: what the server was started to report (`--logprobs-mode`), "raw" being vLLM's default:
        log-probabilities of the model itself, "processed" those of the distribution that was
        sampled. Where the two differ (`is_unaltered`), the one that is not reported is NaN: `logp`
        of a raw server, `raw_logp` of a processed one. `logp` of a greedy rule is 0, as everywhere.

    `version` stands in every completion. The weights on the server are the user's affair: whoever
    changes them sets it. Raises UserError where no server answers, or where the model is to be the
    only one and is not.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        concurrent: int = 32,
        timeout: float = 600.0,
        vocab_size: int,
        context: int,
        api_key: str | None = None,
        logprobs: Logprobs = "raw",
    ) -> None:
        try:
            parts = urlsplit(url)
            self.host, self.port = parts.hostname or "", parts.port
        except ValueError:
            raise UserError(f"url={url!r} was given: its port is no number below 65536.") from None
        if parts.scheme not in ("http", "https") or not self.host:
            raise UserError(f"url={url!r} was given: it must look like http://localhost:8000.")
        if concurrent < 1 or not timeout > 0:
            raise UserError(
                f"concurrent={concurrent} and timeout={timeout} were given: both must be above 0."
            )
        self.url, self.root = url, parts.path.rstrip("/").removesuffix("/v1")
        self.secure = parts.scheme == "https"
        self.concurrent, self.timeout = concurrent, timeout
        self.logprobs: Logprobs = logprobs
        self.vocab_size, self.context, self.version = vocab_size, context, 0
        self.headers = {"Content-Type": "application/json"}
        if api_key is not None:
            self.headers["Authorization"] = f"Bearer {api_key}"
        self.model = model if model is not None else self._ask_model()
        self._numbers = itertools.count()

    def run(self, requests: Iterable[Request], on_token: OnToken | None = None) -> list[Completion]:
        """All of them, in their order. A request that fails ends with an error, and its neighbours
        go on.

        on_token is called in the thread of the caller, with the numbers that `Engine` would give.
        Raises UserError where no server answers at all.
        """
        requests = list(requests)
        numbers = [next(self._numbers) for _ in requests]
        completions: dict[int, Completion] = {}
        checked: list[tuple[int, Request]] = []
        waiting: deque[SentRequest] = deque()
        for place, request in enumerate(requests):
            try:
                request.check(self.vocab_size, self.context, OUTSIDE)
                checked.append((place, request))
            except UserError as error:
                completions[place] = self.fail(request, error)
        wire = choose_wire(self._reach()[1]) if checked else VLLM
        streams = on_token is not None and wire.streams
        for place, request in checked:
            try:
                sent = wire.build(request, self.model, self.context, self.logprobs, streams)
                waiting.append((place, request, json.dumps(sent).encode()))
            except UserError as error:
                completions[place] = self.fail(request, error)
        answers: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        over = threading.Event()
        number = min(self.concurrent, len(waiting))
        lines = [_Line(self, wire, waiting, answers, over, streams) for _ in range(number)]
        try:
            for line in lines:
                line.start()
            while len(completions) < len(requests):
                place, answer = answers.get()
                if isinstance(answer, Completion):
                    completions[place] = answer
                    if on_token is not None and not streams:
                        for token in answer.tokens:
                            on_token(numbers[place], token)
                elif isinstance(answer, Exception):
                    raise answer
                elif on_token is not None:
                    on_token(numbers[place], answer)
        # also after Ctrl-C: whoever still waits is woken, and the server told that nobody listens
        finally:
            over.set()
            for line in lines:
                line.hang_up()
        return [completions[place] for place in range(len(requests))]

    def is_ready(self) -> bool:
        """Whether it says what it serves: one that still loads its weights does not."""
        try:
            return self._reach()[0] == 200
        except UserError:
            return False

    def fail(self, request: Request, error: UserError) -> Completion:
        return fail(request, str(error), self.version)

    def connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
        connection = kind(self.host, self.port, timeout=CONNECT_S)
        try:
            connection.connect()
        except TimeoutError:
            raise ConnectionError(f"no connection within {CONNECT_S} s") from None
        connection.sock.settimeout(self.timeout)
        return connection

    def _reach(self) -> tuple[int, bytes]:
        """Its answer to the question for its models, whatever it is: the HTTP status, and the text.
        Raises UserError for none.
        """
        try:
            connection = self.connect()
        except OSError as error:
            raise UserError(
                f"no server answers at {self.url} ({error}): start one there, or give the URL of "
                "one."
            ) from None
        try:
            connection.sock.settimeout(min(ANSWER_S, self.timeout))
            connection.request("GET", f"{self.root}/v1/models", headers=self.headers)
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError:
            raise UserError(
                f"the server at {self.url} accepts connections and has said nothing for "
                f"{min(ANSWER_S, self.timeout):g} s: wait until it is ready, see what its log "
                "says, or give the URL of another."
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise UserError(
                f"{self.url} does not say what it serves ({error!r}): is it vLLM's URL?"
            ) from None
        finally:
            connection.close()

    def _ask_model(self) -> str:
        status, text = self._reach()
        if status != 200:
            raise UserError(
                f"{self.url} does not say what it serves (HTTP {status}): {read_message(text)}"
            )
        try:
            names = [str(model["id"]) for model in parse(text)["data"]]
        except (LookupError, TypeError) as error:
            raise UserError(
                f"{self.url} does not say what it serves ({error!r}): is it vLLM's URL?"
            ) from None
        if len(names) != 1:
            raise UserError(
                f"{self.url} serves {len(names)} models ({', '.join(names)}): name one with "
                "`model`."
            )
        return names[0]


def choose_wire(models: bytes) -> Wire:
    """By what the server says of whose its models are."""
    with contextlib.suppress(UserError, LookupError, TypeError):
        if parse(models)["data"][0]["owned_by"] == "llamacpp":
            return LLAMA_CPP
    return VLLM


class _Line(threading.Thread):
    """One connection, and the thread that waits at it: takes requests until none is left."""

    def __init__(
        self,
        engine: OutsideEngine,
        wire: Wire,
        waiting: deque[SentRequest],
        answers: SimpleQueue[tuple[int, Any]],
        over: threading.Event,
        stream: bool,
    ) -> None:
        """answers: gets (place, token) while a row streams, and (place, Completion) or (place,
        Exception) at its end.
        """
        super().__init__(daemon=True)  # a silent server must not keep the program from ending
        self.engine, self.wire, self.waiting, self.answers = engine, wire, waiting, answers
        self.over, self.stream = over, stream
        self.connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        while not self.over.is_set():
            try:
                place, request, sent = self.waiting.popleft()
            except IndexError:
                break
            try:
                answer = self._ask(place, request, sent)
            except UserError as error:
                answer = self.engine.fail(request, error)
            except Exception as error:  # goes on in the thread of the caller
                answer = error
            self.answers.put((place, answer))
        self._close()

    def hang_up(self) -> None:
        """From another thread."""
        connection = self.connection
        if connection is not None and (sock := connection.sock) is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _ask(self, place: int, request: Request, sent: bytes) -> Completion:
        """Sends it again where the server could not help it, unless tokens of it were already
        passed on.
        """
        for pause in (*PAUSES_S, None):
            reply = self.wire.reply(request, self.engine.vocab_size)
            try:
                self._attempt(place, reply, sent)
                logprobs = "processed" if self.wire is LLAMA_CPP else self.engine.logprobs
                return reply.complete(logprobs, self.engine.version)
            except TimeoutError:
                self._close()
                raise UserError(
                    f"{self.engine.url} was silent for {self.engine.timeout} s: give a longer "
                    "`timeout`, or fewer tokens or `concurrent`."
                ) from None
            except (OSError, http.client.HTTPException) as error:
                self._close()
                if pause is None or reply.tokens or self.over.wait(pause):
                    raise UserError(
                        f"{self.engine.url} did not answer to the end ({error}): see what its log "
                        "says."
                    ) from None
        raise AssertionError("the last pause is None")

    def _attempt(self, place: int, reply: Reply, sent: bytes) -> None:
        if self.connection is None or self.connection.sock is None:
            self.connection = self.engine.connect()
            if self.over.is_set():  # hang_up may have come too early to see the connection
                raise ConnectionAbortedError("the run is over")
        self.connection.request(
            "POST", f"{self.engine.root}{self.wire.place}", sent, self.engine.headers
        )
        response = self.connection.getresponse()
        if response.status != 200:
            said = f"HTTP {response.status}: {read_message(response.read())}"
            if response.status >= 500 or response.status == 429:
                raise ConnectionError(said)
            raise UserError(f"the server refused the request ({said})")
        if not self.stream:
            reply.take(parse(response.read()))
            return
        for line in response:
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                for token in reply.take(parse(line[5:])):
                    self.answers.put((place, token))
        if reply.reason is None:
            raise ConnectionError("the stream broke off")

    def _close(self) -> None:
        if self.connection is not None:
            self.connection.close()
