"""Our engine along the text that llama.cpp says, and how far the two are apart where they part."""

from __future__ import annotations

from collections.abc import Sequence

from fledge.engine.engine import Engine
from fledge.engine.request import Request
from fledge.hub.folder import Loaded
from fledge.log_prob import Decoding
from tests.real.llama_server import LlamaServer

GREEDY_PROMPTS = (
    "The capital of France is",
    "Once upon a time",
    "def add(a, b):",
    "Water boils at",
    "My favourite book is",
    "In 1969, the first man",
    "Photosynthesis is the process by which",
    "1, 2, 3, 4,",
    "Dear Sir or Madam,",
    "The three primary colours are",
    "To bake a loaf of bread, first",
    "import numpy as np\n\nx = np.",
)


def follow(
    model: Loaded, server: LlamaServer, new: int, *, nats: float,
    prompts: Sequence[str | list[int]] = GREEDY_PROMPTS, first: Sequence[int] = (),
) -> tuple[int, int]:  # fmt: skip
    """(tokens compared, near ties) of greedy completions of `new` tokens.

    Where the two part, llama.cpp's token must be within `nats` of our best one: else an
    AssertionError. From there on we follow its text. prompts: texts, or their tokens. first: what a
    model expects before any text.
    """
    engine = Engine(model.policy(), slots=len(prompts), positions=64)
    encode = model.tokenizer.encode
    begun = [[*first, *(encode(one) if isinstance(one, str) else one)] for one in prompts]
    theirs = [server.go_on(prompt, new) for prompt in begun]
    at, ties = [0] * len(prompts), 0
    while live := [i for i, place in enumerate(at) if place < len(theirs[i])]:
        said = engine.run(
            Request(
                begun[i] + theirs[i][: at[i]], len(theirs[i]) - at[i], rule=Decoding(0.0),
                alternatives=20, stop=model.tokenizer.ends,
            )
            for i in live
        )  # fmt: skip
        for i, ours in zip(live, said, strict=True):
            same = count_same(ours.tokens, theirs[i][at[i] :])
            at[i] += same
            if at[i] < len(theirs[i]):
                likely = dict(ours.alternatives[same])
                short = max(likely.values()) - likely.get(theirs[i][at[i]], float("-inf"))
                assert short < nats, (prompts[i], model.tokenizer.decode(theirs[i]), at[i], short)
                ties += 1
                at[i] += 1
    return sum(map(len, theirs)), ties


def count_same(one: Sequence[int], other: Sequence[int]) -> int:
    """How long the two begin alike."""
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    return same
