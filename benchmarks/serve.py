"""Serving a real model, SmolLM2-135M-Instruct, which `make real` fetches: `fledge serve` beside
llama.cpp's own server, `transformers serve`, and our engine without a server.

1, 8 and 32 streaming clients, each asking again as soon as it is answered: chats with one system
prompt and questions of 20 to 600 tokens, greedy answers of 16 to 200, each of a length set
beforehand. No question is asked of a side twice: llama.cpp keeps every prompt that it has read in
memory, and would read nothing of one that comes again. New tokens a second as the server counts
them, over the seconds from the first request to the last answer; the first token from asking to the
first text. Ours in int8 and bf16; llama.cpp (xllamacpp) on files of ours in Q8_0 and F16, as many
slots as clients; transformers in bfloat16, plain and with continuous batching, of which the better
one counts, at 1 and 8 clients. In turn, a process each; the clients share the cores with them. The
bare engine answers the same requests by the same clients in its own process, without HTTP and text.
A peer that cannot run is an aim that does not hold.
"""

from __future__ import annotations

import json
import math
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fledge.hub.folder import Loaded, load_model, save_model
from fledge.hub.gguf_model import save_gguf
from real_model import find_model
from serve_sides import (
    Child,
    SideFailed,
    start_engine,
    start_fledge,
    start_llama,
    start_transformers,
)
from side_by_side import finish, judge, options, say, table
from streaming_clients import Round, stream_all

CLIENTS = (1, 8, 32)
REQUESTS = {1: 6, 8: 3, 32: 2}  # of each client
WARM_CLIENTS = 4  # of the untimed round
PROMPTS, ANSWERS = (20, 600), (16, 200)  # tokens of a question and of its answer
POSITIONS = 1024  # of a slot
THREADS = torch.get_num_threads()
SYSTEM = (
    "You are a helpful assistant of a small library. Readers send you a piece of a text and you go "
    "on with it, in plain words and in the language of the text. Do not repeat what was said, do "
    "not praise the question, and end when there is nothing left to say."
)
PAIRS = {"ours int8": "llama.cpp Q8_0", "ours bf16": "llama.cpp F16"}
AIMS = {
    **{
        f"{clients} clients, tokens/s, {ours} / {theirs}": f"≥ {aim}"
        for clients, aim in ((1, 1.0), (8, 1.2), (32, 1.5))
        for ours, theirs in PAIRS.items()
    },
    **{
        f"{clients} clients, median first token, {ours} / {theirs}": "≤ 1"
        for clients in CLIENTS
        for ours, theirs in PAIRS.items()
    },
    **{f"{n} clients, tokens/s, ours best / transformers serve": "≥ 3" for n in CLIENTS[:2]},
    **{f"{n} clients, tokens/s, ours int8 / bare engine": "≥ 0.95" for n in CLIENTS},
    "answers dropped by ours": "≤ 0",
}
Load = list[list[dict[str, Any]]]  # the bodies of each client, in their order
Rounds = dict[str, list[Any]]  # of each side


def main() -> None:
    given = options(
        __doc__,
        clients="of 1,8,32 those that are measured; default all",
        seconds="after which no round of a side begins, for each number of clients; default none",
    )
    quick, cap = given.quick, float(given.seconds or "inf")
    loads = [int(n) for n in given.clients.split(",")] if given.clients else CLIENTS
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loaded = load_model(find_model())
        say("writing the model as the peers read it …")
        save_model(folder / "hf", loaded.network, loaded.tokenizer)
        for kind in ("Q8_0",) if quick else ("F16", "Q8_0"):
            save_gguf(folder / f"{kind}.gguf", loaded.network, loaded.tokenizer, kind)
        writer = Writer(loaded)
        del loaded
        dropped = 0
        for clients in loads[:2] if quick else loads:
            say(f"{clients} clients")
            requests = 1 if quick else REQUESTS[clients]
            loads_of_rounds = [  # the first is the warm-up's
                writer.write(clients, requests if number else 1, quick, number)
                for number in range(2 if quick else 4)
            ]
            rounds = measure(folder, clients, loads_of_rounds, quick, cap, missing)
            dropped += sum(r.dropped for side in PAIRS for r in rounds.get(side, []))
            compare(clients, rounds, ratios, figures)
        ratios["answers dropped by ours"] = dropped
    unmet = [
        {"name": name, "figure": 0.0, "aim": aim, "holds": False, "reason": why(name, missing)}
        for name, aim in AIMS.items()
        if name not in ratios
    ]
    figures["missing"] = missing
    aims = [judge(name, ratios[name], aim) for name, aim in AIMS.items() if name in ratios]
    finish(given.json, describe(figures), ratios, figures, {}, aims + unmet)


class Writer:
    """Questions out of a text of this repository, each from another place of it."""

    def __init__(self, loaded: Loaded) -> None:
        text = (Path(__file__).resolve().parents[1] / "README.md").read_text()
        self.tokenizer = loaded.tokenizer
        self.tokens = loaded.tokenizer.encode(text)

    def write(self, clients: int, requests: int, quick: bool, number: int) -> Load:
        """number: of the round."""
        random = np.random.default_rng([clients, number])
        longest = [size // 5 if quick else size for size in (PROMPTS[1], ANSWERS[1])]
        return [
            [
                self._write_body(
                    random, draw(random, PROMPTS[0], longest[0]), draw(random, 16, longest[1])
                )
                for _ in range(requests)
            ]
            for _ in range(clients)
        ]

    def _write_body(self, random: np.random.Generator, size: int, new: int) -> dict[str, Any]:
        first = int(random.integers(len(self.tokens) - size))
        question = self.tokenizer.decode(self.tokens[first : first + size])
        return {
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": question},
            ],
            "max_tokens": new,
            "temperature": 0.0,
            "ignore_eos": True,  # llama.cpp's and vLLM's word
            "stream": True,
            "stream_options": {"include_usage": True},
        }


def draw(random: np.random.Generator, least: int, most: int) -> int:
    """Log-uniform: short ones are more frequent, as people have it."""
    return round(math.exp(random.uniform(math.log(least), math.log(most))))


def measure(
    folder: Path,
    clients: int,
    loads: Sequence[Load],
    quick: bool,
    cap_s: float,
    missing: dict[str, str],
) -> Rounds:
    """Every side once untimed, then all in turn, each round with a load of its own."""
    rounds: Rounds = {}
    began = time.monotonic()
    with start_sides(folder, clients, quick, missing) as sides:
        for number, load in enumerate(loads):
            for name, side in sides.items():
                slow = name.startswith("transformers")
                if (slow and number > 1) or name in missing:
                    continue
                late = time.monotonic() - began > cap_s
                if late and (slow or number > 1):  # our side and llama.cpp are measured once
                    continue
                say(f"{name}, {f'round {number}' if number else 'warm-up'}")
                given = load if number else load[: 1 if slow else WARM_CLIENTS]
                if slow:
                    given = [[reword(body) for body in bodies] for bodies in given]
                done = ask_side(side, given)
                if isinstance(done, Round) and done.dropped and not name.startswith("ours"):
                    missing[name] = next(one.error or "" for one in done.heard if one.error)
                    rounds.pop(name, None)
                elif number:
                    rounds.setdefault(name, []).append(done)
    return rounds


def reword(body: dict[str, Any]) -> dict[str, Any]:
    """The same in the words of `transformers serve`, which refuses others, and tells the usage
    unasked.
    """
    shared = {name: body[name] for name in ("messages", "max_tokens", "temperature", "stream")}
    endless = {"eos_token_id": -1, "pad_token_id": 0, "min_new_tokens": body["max_tokens"]}
    return shared | {"generation_config": json.dumps(endless)}


def ask_side(side: str | Child, load: Load) -> Any:
    """A Round of a server at this address, or {"tokens", "seconds"} of the bare engine."""
    if isinstance(side, str):
        return stream_all(side, load)
    return side.ask(json.dumps(load))


@contextmanager
def start_sides(
    folder: Path, clients: int, quick: bool, missing: dict[str, str]
) -> Iterator[dict[str, str | Child]]:
    """The address of each server, or the child that is the bare engine."""
    children: list[Child] = []
    sides: dict[str, str | Child] = {}

    def note(name: str, start: Callable[[], tuple[Child, str]]) -> None:
        try:
            child, address = start()
        except SideFailed as error:
            if name.startswith("ours"):
                raise
            missing[name] = str(error)
            return
        children.append(child)
        sides[name] = address

    hf = folder / "hf"
    try:
        for precision in ("int8",) if quick else ("int8", "bf16"):
            note(f"ours {precision}", partial(start_fledge, hf, precision, clients, POSITIONS))
        for kind in ("Q8_0",) if quick else ("Q8_0", "F16"):
            file = folder / f"{kind}.gguf"
            note(f"llama.cpp {kind}", partial(start_llama, file, clients, POSITIONS, THREADS))
        engine = start_engine(hf, "int8", clients, POSITIONS)
        children.append(engine)
        sides["bare engine"] = engine
        if not quick and clients <= CLIENTS[1]:
            for continuous in (False, True):
                name = f"transformers {'continuous' if continuous else 'plain'}"
                if name not in missing:
                    note(
                        name, lambda c=continuous: start_transformers(hf, find_port(), continuous=c)
                    )
        yield sides
    finally:
        for child in children:
            child.end()


def find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def compare(
    clients: int, rounds: Rounds, ratios: dict[str, float], figures: dict[str, Any]
) -> None:
    """Medians of each side, and of the ratio within a round."""
    served = {name: several for name, several in rounds.items() if name != "bare engine"}
    speeds = {name: [one.tokens_per_s for one in several] for name, several in served.items()}
    firsts = {
        name: [statistics.median(heard.first_s for heard in one.heard) for one in several]
        for name, several in served.items()
    }
    bare = [one["tokens"] / one["seconds"] for one in rounds["bare engine"]]
    figures[f"{clients} clients"] = {
        name: {
            "tokens_per_s": statistics.median(speeds[name]),
            "first_token_s": statistics.median(firsts[name]),
            "tokens": sum(heard.tokens for heard in several[0].heard),
            "prompt_tokens": sum(heard.prompt_tokens for heard in several[0].heard),
            "dropped": sum(one.dropped for one in several),
        }
        for name, several in served.items()
    } | {"bare engine": {"tokens_per_s": statistics.median(bare)}}
    for ours, theirs in PAIRS.items():
        if theirs in served:
            label = f"{ours} / {theirs}"
            speed = median_ratio(speeds[ours], speeds[theirs])
            ratios[f"{clients} clients, tokens/s, {label}"] = speed
            first = median_ratio(firsts[ours], firsts[theirs])
            ratios[f"{clients} clients, median first token, {label}"] = first
    peers = [max(speeds[name]) for name in speeds if name.startswith("transformers")]
    if peers:
        best = max(speeds[name][0] for name in speeds if name.startswith("ours"))  # one round each
        ratios[f"{clients} clients, tokens/s, ours best / transformers serve"] = best / max(peers)
    ratios[f"{clients} clients, tokens/s, ours int8 / bare engine"] = median_ratio(
        speeds["ours int8"], bare
    )


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """Of the rounds that both sides have come to."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=False))


def why(name: str, missing: Mapping[str, str]) -> str:
    """Of an aim without a figure."""
    peers = [peer for peer in missing if peer in name or peer.split()[0] in name]
    return (
        f"{peers[0]}: {missing[peers[0]]}"
        if peers
        else "not measured: --quick, --clients or --seconds"
    )


def describe(figures: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{load}, {side}", f"{one['tokens_per_s']:,.1f}",
            f"{one['first_token_s']:.3f}" if "first_token_s" in one else "",
            str(one.get("dropped", "")),
        )
        for load, sides in figures.items()
        if load != "missing"
        for side, one in sides.items()
    ]  # fmt: skip
    missing = [f"not here: {name}: {reason}" for name, reason in figures["missing"].items()]
    head = ("clients, side", "tokens/s", "first token, s", "dropped")
    return "\n".join([table(head, rows), *missing])


if __name__ == "__main__":
    main()
