"""What the questions of a suite take of the machine's memory, told before they are asked: whoever
answers has a model, and beside it the keys and values of what stands before every question.
"""

from __future__ import annotations

from fledge.costs.memory import NUMBER, count_passing
from fledge.evaluate.suites.answering import HELD, SLOTS
from fledge.evaluate.suites.beginnings import LEAST, can_read_behind
from fledge.evaluate.suites.choosing import AT_A_TIME, CHUNK, KEYS
from fledge.evaluate.suites.suite import Asked
from fledge.hub.folder import Loaded
from fledge.recipes.look.suite_fields import EvaluateSuiteConfig
from fledge.recipes.memory import (
    LOGIT_COPIES,
    Memory,
    Sampling,
    check_fits,
    count_memory,
    count_peak,
)
from fledge.recipes.training import LARGE, count_parameters
from fledge.runs.show import Show
from fledge.text.asking import encode_prompt

STREAMS = 6  # a token's numbers of the network's width at a time: in a norm, a product, their sum


def tell_suite_memory(config: EvaluateSuiteConfig, model: Loaded, asked: Asked, show: Show) -> None:
    """One line, of a large model; another where it may be too much. Raises UserError for what
    cannot fit.
    """
    if count_parameters(model.policy()) < LARGE:
        return
    memory = estimate_suite_memory(config, model, asked)
    whole = count_memory(model.network.unembedding.device)
    show.line(f"evaluate: {memory.describe(whole)}")
    shots = ["fewer shots"] if asked.examples else []
    remedies = shots if asked.suite.chosen else [*shots, "a smaller max_new_tokens"]
    if (doubt := check_fits(memory, whole, remedies)) is not None:
        show.line(f"evaluate: {doubt}")


def estimate_suite_memory(config: EvaluateSuiteConfig, model: Loaded, asked: Asked) -> Memory:
    """Of questions about to be asked of a model that is in memory already."""
    weights = sum(p.numel() * p.element_size() for p in model.network.parameters())
    on_cpu = model.network.unembedding.device.type == "cpu"
    program = max(0, (count_peak() if on_cpu else 0) - weights)
    engine = chosen = keys = logits = 0
    if asked.suite.chosen:
        keys = count_keys(model, asked)
        sizes = model.network.config
        chosen = count_passing(sizes, AT_A_TIME) + STREAMS * sizes.width * NUMBER * AT_A_TIME
        logits = LOGIT_COPIES * CHUNK * len(model.network.unembedding) * NUMBER
    else:
        engine = size_answers(config, model, asked).count_bytes(model.network.config)
    return Memory(
        weights=weights, learning=0, activations=chosen, logits=logits, sampling=engine,
        program=program, saving=0, tokens=AT_A_TIME, keys=keys,
    )  # fmt: skip


def size_answers(config: EvaluateSuiteConfig, model: Loaded, asked: Asked) -> Sampling:
    """The engine that answers in words: behind examples it keeps some rows that have ended."""
    context, most = model.network.config.context, config.most_new_tokens
    prompts = [
        before + question.prompt
        for before, question in zip(asked.before, asked.questions, strict=True)
    ]
    longest = max(prompts, key=len)
    tokenizer = model.tokenizer
    ids = encode_prompt(tokenizer, longest) if config.chat else tokenizer.open_text(longest)
    rows = min(SLOTS, len(prompts) * config.samples)
    return Sampling(rows, min(len(ids) + most, context), kept=HELD if any(asked.before) else 0)


def count_keys(model: Loaded, asked: Asked) -> int:
    """Bytes of the keys and values of what all questions begin with, which are kept in every layer,
    and of the copies that the rows of a pass have of one layer's.
    """
    sizes = model.network.config
    shared = asked.before[0] if len(set(asked.before)) == 1 else ""
    number = len(model.tokenizer.open_text(shared))
    if number < LEAST or not can_read_behind(model.network):
        return 0
    kept = sizes.count_cache(min(number, sizes.context))
    rows = max(1, AT_A_TIME * KEYS // number)
    return NUMBER * (kept + rows * kept // sizes.layers)
