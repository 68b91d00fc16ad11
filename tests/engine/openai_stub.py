"""A server that speaks vLLM's completions protocol, answered by a small fledge engine: `python -m
tests.engine.openai_stub --port 0`.

It prints its port and ends with its standard input. `GET /told` gives what it was asked; `POST
/told` sets how it behaves.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any

import torch

from fledge.engine.engine import Engine
from fledge.engine.request import Completion, Request
from fledge.engine.stop_strings import cut
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from tests.subjects import transformer

VOCABULARY = [b"", b"", *(bytes((letter,)) for letter in b"abcdefghi")]
END = 3  # the model's own end token, which ends a row unless ignore_eos is given


def engine() -> Engine:
    """The same in the server and in the tests."""
    return Engine(TokenPolicy(transformer()), slots=8, vocabulary=VOCABULARY)


@dataclass
class Told:
    """How the server behaves, and what it was asked since it was told so."""

    models: list[str] = field(default_factory=lambda: ["tiny"])
    api_key: str | None = None
    logprobs_mode: str = "raw_logprobs"
    # one for each of the next requests, "" for none
    faults: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    live: int = 0
    most: int = 0  # requests under way at once


class Loop(threading.Thread):
    """The one thread that turns the engine; requests join while others are under way."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.new: SimpleQueue[tuple[Request, SimpleQueue[tuple[bool, Completion]]]] = SimpleQueue()

    def answer(self, request: Request) -> Iterator[tuple[bool, Completion]]:
        """What has been said so far, after each token; and whether that is all."""
        heard: SimpleQueue[tuple[bool, Completion]] = SimpleQueue()
        self.new.put((request, heard))
        over = False
        while not over:
            over, completion = heard.get()
            yield over, completion

    def run(self) -> None:
        tiny, waiting = engine(), {}
        while True:
            while not tiny.busy or not self.new.empty():
                request, heard = self.new.get()
                waiting[tiny.submit(request)] = heard
            for number, completion in tiny.advance():
                waiting.pop(number).put((True, completion))
            for row, said in zip(
                tiny.batch.live,
                tiny.batch.slots.read_said(range(len(tiny.batch.live))),
                strict=True,
            ):
                waiting[row.number].put((False, row.complete("length", *said, 0, None)))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    told, loop, lock = Told(), Loop(), threading.Lock()

    def do_GET(self) -> None:
        if self.path == "/told":
            self.reply(200, vars(Handler.told))
        elif self.path != "/v1/models":
            self.refuse(404, "Not Found")
        elif self.known():
            self.reply(200, {"object": "list", "data": [{"id": name} for name in self.told.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/told":
            Handler.told = Told(**body)
            self.reply(200, {})
        elif self.path != "/v1/completions":
            self.refuse(404, "Not Found")
        elif self.known():
            told = self.told
            with self.lock:
                told.bodies.append(body)
                told.live, told.most = told.live + 1, max(told.most, told.live + 1)
                fault = told.faults.pop(0) if told.faults else ""
            try:
                self.complete(body, fault)
            finally:
                with self.lock:
                    told.live -= 1

    def known(self) -> bool:
        known = (
            self.told.api_key is None
            or self.headers["Authorization"] == f"Bearer {self.told.api_key}"
        )
        if not known:
            self.reply(401, {"error": "Unauthorized"})
        return known

    def complete(self, body: dict[str, Any], fault: str) -> None:
        if fault == "slow":
            time.sleep(1)
        if fault.isdigit():
            self.refuse(int(fault), "as the test told it to")
        elif fault == "html":
            self.reply(200, b"<html>Welcome</html>")
        elif fault == "hang":
            self.rfile.read(1)  # until the other side hangs up
        elif fault == "break":
            self.close_connection = True
        elif why := refusal(body, self.told.models):
            self.refuse(404 if "exist" in why else 400, why)
        elif body["stream"]:
            self.stream(body, fault)
        else:
            *_, (_, completion) = self.loop.answer(request(body))
            self.reply(200, self.piece(body, completion, 0, True, fault))

    def stream(self, body: dict[str, Any], fault: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        for over, completion in self.loop.answer(request(body)):
            if len(completion.tokens) > sent:
                self.event(json.dumps(self.piece(body, completion, sent, over, fault)))
                sent = len(completion.tokens)
            if fault == "break after 3" and sent >= 3:
                self.close_connection = True
                return
            if fault == "error after 3" and sent >= 3:
                self.event(json.dumps({"error": {"message": "out of memory", "code": 500}}))
                break
        self.event(json.dumps({"choices": [], "usage": {"completion_tokens": sent}}))
        self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, text: str) -> None:
        data = f"data: {text}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def piece(
        self, body: dict[str, Any], completion: Completion, start: int, over: bool, fault: str
    ) -> dict[str, Any]:
        """The reply, with the tokens from `start` on."""
        names = (
            (lambda token: VOCABULARY[token].decode())
            if fault == "spelled out"
            else (lambda token: f"token_id:{token}")
        )
        tokens, text = completion.tokens, b"".join(VOCABULARY[token] for token in completion.tokens)
        processed = self.told.logprobs_mode == "processed_logprobs"
        chance = completion.logp if processed else completion.raw_logp
        top: list[dict[str, float]] = []
        for i in range(start, len(tokens)):
            best = completion.alternatives[i] if completion.alternatives else []
            top.append(
                {names(tokens[i]): chance[i]}
                | {names(token): max(value, -9999.0) for token, value in best}
            )
        logprobs = {
            "tokens": [names(token) for token in tokens[start:]],
            "token_logprobs": chance[start:],
            "top_logprobs": top,
        }
        reason, cause = None, None
        if over and completion.ended == "length":
            reason = "length"
        elif over:
            reason = "stop"
            cause = tokens[-1] if completion.ended == "stop" else find_stop(text, body["stop"])
        if over and fault == "end":
            reason, cause = "stop", None
        if fault == "no logprobs":
            logprobs = None
        text = cut(text, body["stop"]).decode()
        choice = {
            "index": 0,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": reason,
            "stop_reason": cause,
        }
        return {"object": "text_completion", "model": body["model"], "choices": [choice]}

    def refuse(self, status: int, why: str) -> None:
        self.reply(
            status,
            {"error": {"message": why, "type": "BadRequestError", "param": None, "code": status}},
        )

    def reply(self, status: int, what: Any) -> None:
        data = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def refusal(body: dict[str, Any], models: list[str]) -> str | None:
    """What vLLM does not take."""
    if body["model"] not in models:
        return f"The model `{body['model']}` does not exist."
    if not -2 <= body["presence_penalty"] <= 2:
        return f"presence_penalty must be in [-2, 2], got {body['presence_penalty']}."
    if body["logprobs"] > 20:
        return (
            f"Requested sample logprobs of {body['logprobs']}, which is greater than max allowed: "
            "20"
        )
    if len(body["prompt"]) + body["max_tokens"] > 32:
        return "max_tokens is too large"
    if not -(2**63) <= body["seed"] < 2**63 or not all(
        abs(bias) <= 100 for bias in body["logit_bias"].values()
    ):
        return "seed or logit_bias is out of its range"  # vLLM cuts the second
    return None if body["return_tokens_as_token_ids"] else "the tests want ids"


def request(body: dict[str, Any]) -> Request:
    stop = set(body["stop_token_ids"]) | (set() if body["ignore_eos"] else {END})
    return Request(
        prompt=body["prompt"],
        max_new_tokens=body["max_tokens"],
        min_new_tokens=body["min_tokens"],
        rule=Decoding(body["temperature"], body["top_k"], body["top_p"], body["min_p"]),
        stop=frozenset(stop),
        stop_strings=tuple(body["stop"]),
        repetition_penalty=body["repetition_penalty"],
        presence_penalty=body["presence_penalty"],
        frequency_penalty=body["frequency_penalty"],
        logit_bias={int(token): bias for token, bias in body["logit_bias"].items()},
        alternatives=body["logprobs"],
        seed=body["seed"],
    )


def find_stop(text: bytes, strings: list[str]) -> str:
    return next(string for string in strings if string.encode() in text)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # connections that come at once


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    torch.set_num_threads(1)
    server = Server(("127.0.0.1", parser.parse_args().port), Handler)
    Handler.loop.start()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()  # until whoever started it is gone
