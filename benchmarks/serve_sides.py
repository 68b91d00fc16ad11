"""The servers that benchmarks/serve.py asks, each a process of its own, and the bare engine without
a server. `python serve_sides.py WORK JSON` is the child: llama.cpp prints its address; the engine
says that it is ready and answers every line of its input with a JSON object.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHAT = "/v1/chat/completions"
STARTED_S = 180.0
# Its cache by number: by default it takes a share of all the memory that the machine has.
CONTINUOUS = (
    "--continuous-batching", "--cb-block-size", "32", "--cb-num-blocks", "512",
    "--cb-max-batch-tokens", "1024",
)  # fmt: skip
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SideFailed(Exception):
    """A side that did not start, with its reason."""


class Child:
    """A process that reads our words and prints its own; what it complains about is kept."""

    def __init__(self, command: Sequence[str], **environment: str) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=os.environ | environment,
        )  # fmt: skip
        self.complaints: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.complaints.extend(self.process.stderr)

    def read(self, pattern: str) -> re.Match[str]:
        """The first line it prints in which the pattern is. Raises SideFailed at its end."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if met := re.search(pattern, line):
                return met
        self.process.wait()
        time.sleep(0.1)  # for its last words
        said = [line.strip() for line in self.complaints if line.strip()]
        raise SideFailed(said[-1] if said else f"ended with {self.process.returncode}")

    def ask(self, line: str) -> Any:
        """A line to it, and the JSON object that it answers."""
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)
        return json.loads(self.read(r"^\{.*")[0])

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def start_fledge(model: Path, precision: str, slots: int, positions: int) -> tuple[Child, str]:
    """Its process and the address for chats. Raises SideFailed."""
    child = Child(
        [
            sys.executable, "-m", "fledge", "serve", f"base={model}", f"precision={precision}",
            f"slots={slots}", f"context={positions}", "port=0",
        ]
    )  # fmt: skip
    return child, child.read(r"http://\S+?:\d+")[0] + CHAT


def start_llama(model: Path, slots: int, positions: int, threads: int) -> tuple[Child, str]:
    """Raises SideFailed."""
    given = {"model": str(model), "slots": slots, "positions": positions, "threads": threads}
    child = start_child("llama", given)
    return child, child.read(r"http://\S+")[0] + CHAT


def start_transformers(model: Path, port: int, *, continuous: bool) -> tuple[Child, str]:
    """`transformers serve` in bfloat16. Raises SideFailed."""
    command = [
        sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve",
        str(model), "--port", str(port), "--dtype", "bfloat16", "--device", "cpu",
    ]  # fmt: skip
    child = Child([*command, *(CONTINUOUS if continuous else [])])
    until = time.monotonic() + STARTED_S
    while time.monotonic() < until and child.process.poll() is None:
        try:
            _OPENER.open(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return child, f"http://127.0.0.1:{port}{CHAT}"
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    child.end()
    said = [line.strip() for line in child.complaints if line.strip()]
    raise SideFailed(said[-1] if said else "it did not start")


def start_engine(model: Path, precision: str, slots: int, positions: int) -> Child:
    """When it is ready: while it read its model it would take a core from the side that is asked
    first.
    """
    given = {"model": str(model), "precision": precision, "slots": slots, "positions": positions}
    child = start_child("engine", given)
    child.read("^ready$")
    return child


def start_child(work: str, given: dict[str, Any]) -> Child:
    return Child([sys.executable, __file__, work, json.dumps(given)])


def run_llama(given: dict[str, Any]) -> None:
    """llama.cpp's server by its own defaults: continuous batching, flash attention, weights
    repacked for the processor, prompts that begin alike read once in a slot.
    """
    xllamacpp: Any = importlib.import_module("xllamacpp")
    params: Any = xllamacpp.CommonParams()
    params.model.path = given["model"]
    params.n_parallel, params.n_ctx = given["slots"], given["slots"] * given["positions"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = given["threads"]
    params.verbosity = -1
    server: Any = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


def run_engine(given: dict[str, Any]) -> None:
    """The same requests by clients that wait for one answer before they ask again, without HTTP,
    text or a second thread. A line of input is a JSON list of clients, each a list of bodies.
    """
    from fledge.engine.engine import Engine
    from fledge.engine.request import Request
    from fledge.hub.folder import load_model
    from fledge.log_prob import Decoding
    from fledge.text.chat import render

    loaded = load_model(Path(given["model"]))
    engine = Engine(
        loaded.policy(), slots=given["slots"], positions=given["positions"],
        precision=given["precision"], prefix_cache_rows=4,
    )  # fmt: skip
    print("ready", flush=True)
    for line in sys.stdin:
        waiting = [
            [
                Request(
                    render(loaded.tokenizer, body["messages"], reply=True)[0],
                    body["max_tokens"],
                    rule=Decoding(0.0),
                )
                for body in bodies
            ]
            for bodies in json.loads(line)
        ]
        began, said = time.perf_counter(), 0
        client = {engine.submit(bodies.pop(0), _hear): bodies for bodies in waiting if bodies}
        while engine.busy:
            for number, completion in engine.advance():
                said += len(completion.tokens)
                bodies = client.pop(number)
                if bodies:
                    client[engine.submit(bodies.pop(0), _hear)] = bodies
        seconds = time.perf_counter() - began
        print(json.dumps({"tokens": said, "seconds": seconds}), flush=True)


def _hear(number: int, token: int) -> None:
    """A server hears every token."""


if __name__ == "__main__":
    {"llama": run_llama, "engine": run_engine}[sys.argv[1]](json.loads(sys.argv[2]))
