"""What a model in pre-training says of its own at an evaluation, for the run's samples: texts, or
targets of held-out inputs.
"""

from __future__ import annotations

from collections.abc import Mapping

from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from fledge.recipes.language.order_fields import reads_backward
from fledge.runs.folder import Run
from fledge.sample.generate import generate
from fledge.sample.objective_rows import PairWriter, read_held_out
from fledge.seeds import generator_for
from fledge.splits import Split
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import Tokenizer

SAMPLE_TOKENS = 120  # the most of a sample that an evaluation writes


def write_texts(policy: TokenPolicy, tokenizer: Tokenizer, seed: int, run: Run, step: int) -> None:
    """Two texts that the model writes of its own, the same draws at every evaluation."""
    for completion in generate(
        policy, [list(tokenizer.opening)], stop=tokenizer.ends, samples=2,
        max_new_tokens=min(SAMPLE_TOKENS, policy.network.config.context - 1),
        generator=generator_for(seed, "evaluation", "sample"),
    ):  # fmt: skip
        tokens = completion.tokens
        if reads_backward(policy.network):
            tokens = tokens[::-1]
        text = tokenizer.decode(tokens)
        run.samples.write({"step": step, "prompt": "", "completion": text})


def write_targets(
    policy: TokenPolicy,
    write: PairWriter,
    text: Mapping[Split, TokenStream],
    seed: int,
    run: Run,
    step: int,
) -> None:
    """What the model writes of the first held-out inputs, two at the most, greedily."""
    [rows, *_] = read_held_out(text["validation"], write, 2)
    listed = zip(rows.obs.tolist(), rows.chosen.tolist(), strict=True)
    prompts = [row[: own.index(True) + 1] for row, own in listed if any(own)]
    if not prompts:
        return
    room = policy.network.config.context - max(map(len, prompts))
    for completion in generate(
        policy.with_rule(Decoding(temperature=0)), prompts, stop=write.tokenizer.ends,
        max_new_tokens=min(SAMPLE_TOKENS, room),
        generator=generator_for(seed, "evaluation", "sample"),
    ):  # fmt: skip
        given, said = map(write.tokenizer.spell, (completion.prompt, completion.tokens))
        run.samples.write({"step": step, "prompt": given, "completion": said})
