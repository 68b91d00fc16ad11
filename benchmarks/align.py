"""A step of reinforcement learning: ours (GRPO as `fledge align` runs it) against TRL's
GRPOTrainer, and how soon both have learned.

4 layers, width 128, 4 heads, bytes; 8 prompts × 8 completions of 24 tokens, one optimizer step a
batch, no KL. Both sides start from the same saved weights and have the same prompts in the same
order, reward, learning rate, AdamW, clipping and loss (GRPO's, the mean of the rows' means). No
special token is an action, the stop token neither, so that every row has 24 tokens on both sides:
by `allowed` on ours, by `suppress_tokens` on TRL's. The reward is the share of lower-case vowels
among the 24 bytes: 1% at first.

TRL runs without what would slow it: gradient checkpointing, logging, saving, a reference model; it
generates with transformers, as vLLM wants a GPU. `ours with KL` measures the distance to the base
in every step, too, as `fledge align` does.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from fledge.algorithms.policy.grpo import GRPO
from fledge.engine.generation import Generation
from fledge.hub.folder import load_model, save_model
from fledge.learner import Learner, Schedule
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.optimizers import adamw
from fledge.policy import TokenPolicy
from fledge.sample.generate import Completion
from fledge.sample.rollouts import Rollouts
from fledge.stopwatch import Stopwatch
from fledge.tasks.named import load_task
from fledge.text.asking import encode_prompt
from fledge.text.tokenizer import SPECIAL, train_tokenizer
from side_by_side import Times, alternate, finish, options, rate_table, rates, say, speed_up, table

PROMPTS, SAMPLES, NEW, LEARNING_RATE, BETAS = 8, 8, 24, 5e-5, (0.9, 0.95)
ROWS = PROMPTS * SAMPLES
LEARNED, MOST_STEPS = 0.9, 400
PRECISIONS: tuple[Generation, ...] = ("fp32", "bf16")
TASK = load_task("upper")  # only its prompts are used, such as "upper: planet"


class Reward:
    """The share of vowels of each completion; `means` keeps the mean of each batch."""

    def __init__(self) -> None:
        self.means: list[float] = []

    def __call__(self, texts: Sequence[str], completions: Sequence[Sequence[int]]) -> list[float]:
        assert all(len(tokens) == NEW for tokens in completions)
        worth = [sum(letter in "aeiou" for letter in text) / NEW for text in texts]
        self.means.append(statistics.fmean(worth))
        return worth

    @property
    def learned(self) -> bool:
        return bool(self.means) and self.means[-1] >= LEARNED


@dataclass(frozen=True)
class Ran:
    """A run of one side: the clock at its beginning and after each step, each batch's mean reward,
    seconds by phase (ours only).

    The first step, which warms up, is in the clock and not in the phases.
    """

    clock: list[float]
    rewards: list[float]
    phases: dict[str, float]

    def seconds(self) -> float:
        """Of a step: the median, without the first."""
        return statistics.median(b - a for a, b in pairwise(self.clock[1:]))


# (steps at most, seed, end when learned); always from the saved weights
Side = Callable[[int, int, bool], Ran]


def our_side(folder: Path, precision: Generation, kl: bool = False) -> Side:
    def work(steps: int, seed: int, until_learned: bool) -> Ran:
        loaded = load_model(folder)
        policy = TokenPolicy(
            loaded.network, torch.arange(loaded.tokenizer.vocab_size) >= len(SPECIAL)
        )
        reward, stopwatch = Reward(), Stopwatch()
        learner = Learner(
            policy,
            Schedule(LEARNING_RATE, steps),
            optimizer=adamw(betas=BETAS, weight_decay=0.0),
            precision=precision,
        )
        algorithm = GRPO(policy, learner, stopwatch, reference=policy.frozen_copy() if kl else None)

        def score(
            examples: Any, completions: Sequence[Completion], texts: Sequence[str]
        ) -> dict[str, list[float]]:
            return {"reward": reward(texts, [completion.tokens for completion in completions])}

        sampler = Rollouts(
            policy, loaded.tokenizer, TASK, score, stopwatch,
            prompts_per_step=PROMPTS, samples_per_prompt=SAMPLES, max_new_tokens=NEW,
            seed=seed, precision=precision,
        )  # fmt: skip
        clock = [time.perf_counter()]
        while len(clock) <= steps and not (until_learned and reward.learned):
            algorithm.update(next(sampler))
            clock.append(time.perf_counter())
            if len(clock) == 2:
                stopwatch.take()
        phases = stopwatch.take()
        return Ran(
            clock, reward.means, phases | {"other": clock[-1] - clock[1] - sum(phases.values())}
        )

    return work


def their_side(folder: Path, precision: str) -> Side:
    import transformers
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar
    from transformers import (
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        PrinterCallback,
        TrainerCallback,
    )
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)

    class Clock(TrainerCallback):
        def __init__(self, reward: Reward, until_learned: bool) -> None:
            self.ends, self.reward, self.until_learned = [], reward, until_learned

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.ends.append(time.perf_counter())

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.ends.append(time.perf_counter())
            control.should_training_stop |= self.until_learned and self.reward.learned

    def work(steps: int, seed: int, until_learned: bool) -> Ran:
        reward = Reward()
        clock = Clock(reward, until_learned)

        def vowels(
            completions: list[str], completion_ids: list[list[int]], **_: Any
        ) -> list[float | None]:
            return [*reward(completions, completion_ids)]

        config = GRPOConfig(
            output_dir=str(folder / "trl"), seed=seed, max_steps=steps,
            use_cpu=True, bf16=precision == "bf16",
            per_device_train_batch_size=ROWS, num_generations=SAMPLES,
            steps_per_generation=1, num_iterations=1, max_completion_length=NEW,
            temperature=1.0, use_vllm=False, shuffle_dataset=False,
            generation_kwargs={"suppress_tokens": list(range(len(SPECIAL)))},
            loss_type="grpo", beta=0.0,
            learning_rate=LEARNING_RATE, lr_scheduler_type="constant", warmup_steps=0,
            optim="adamw_torch_fused", adam_beta1=BETAS[0], adam_beta2=BETAS[1],
            weight_decay=0.0, max_grad_norm=1.0,
            gradient_checkpointing=False, dataloader_pin_memory=False,
            report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32),
            reward_funcs=vowels,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": their_prompts(tokenizer, steps)}),
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)  # it prints on standard output
        trainer.train()
        return Ran(clock.ends, reward.means, {})

    return work


def their_prompts(tokenizer: Any, steps: int) -> list[str]:
    """The prompts of our sampler, as text in the chat template: cheaper for TRL than
    conversations.
    """
    prompts = [TASK.example(i, "train").prompt for i in range(steps * PROMPTS)]
    texts = [f"<|begin|><|user|>{prompt}<|end|><|assistant|>" for prompt in prompts]
    assert tokenizer(texts[0])["input_ids"] == encode_prompt(
        train_tokenizer("bytes", [], None), prompts[0]
    )
    return texts


def speed(
    sides: dict[str, Side], rounds: int, steps: int
) -> tuple[Times, dict[str, dict[str, float]]]:
    """Seconds of a step in each round, by side; and seconds a step by phase, by side."""
    phases: dict[str, dict[str, float]] = {}

    def timed(name: str, side: Side) -> Callable[[], float]:
        def work() -> float:
            ran = side(steps + 1, 0, False)
            # of the last round
            phases[name] = {phase: value / steps for phase, value in ran.phases.items()}
            return ran.seconds()

        return work

    times = alternate({name: timed(name, side) for name, side in sides.items()}, rounds)
    return times, {name: values for name, values in phases.items() if values}


def learning(sides: dict[str, Side], seeds: int, most: int) -> dict[str, list[Ran]]:
    """Runs until the reward is reached, or `most` steps: one of each side, then the next seed."""
    runs: dict[str, list[Ran]] = {name: [] for name in sides}
    for seed in range(seeds):
        for name, side in sides.items():
            runs[name].append(ran := side(most, seed, True))
            say(f"{name}, seed {seed}: reward {ran.rewards[-1]:.2f} after {len(ran.rewards)} steps")
    return runs


def main() -> None:
    given = options(__doc__)
    rounds, steps, seeds, most = (1, 2, 1, 4) if given.quick else (3, 10, 1, MOST_STEPS)
    with tempfile.TemporaryDirectory() as name:
        folder, tokenizer = Path(name) / "model", train_tokenizer("bytes", [], None)
        sizes = TransformerConfig(
            vocab_size=tokenizer.vocab_size, context=64, layers=4, width=128, heads=4, kv_heads=4
        )
        save_model(
            folder, Transformer(sizes, generator=torch.Generator().manual_seed(0)), tokenizer
        )
        sides = {f"ours {p}": our_side(folder, p) for p in PRECISIONS}
        sides |= {f"TRL {p}": their_side(folder, p) for p in PRECISIONS}
        times, phases = speed(
            sides | {"ours fp32 with KL": our_side(folder, "fp32", kl=True)}, rounds, steps
        )
        runs = learning(sides, seeds, most)
    taken = {name: [ran.clock[-1] - ran.clock[0] for ran in each] for name, each in runs.items()}
    needed = {name: [len(ran.rewards) for ran in each] for name, each in runs.items()}
    reached = {name: all(ran.rewards[-1] >= LEARNED for ran in each) for name, each in runs.items()}
    ratios = {}
    for what in (*PRECISIONS, "best"):
        pair = tuple(
            min(
                (f"{who} {p}" for p in PRECISIONS if what in (p, "best")),
                key=lambda x: statistics.median(times[x]),
            )
            for who in ("ours", "TRL")
        )
        ratios[f"{what}, completions a second: {pair[0]} / {pair[1]}"] = speed_up(times, *pair)
        if reached[pair[0]] and reached[pair[1]]:
            ratios[f"{what}, seconds to reward {LEARNED}: {pair[0]} / {pair[1]}"] = 1 / speed_up(
                taken, *pair
            )
    speeds = rates(times, ROWS)
    names = list(phases["ours fp32"])
    parts = (
        rate_table(speeds, "completions/s"),
        table(
            ("ms a step", *names),
            [(k, *(f"{1000 * v[name]:.1f}" for name in names)) for k, v in phases.items()],
        ),
        table(
            (f"to reward {LEARNED}", "seconds", "steps", "reached"),
            [
                (k, f"{statistics.median(t):.1f}", statistics.median(needed[k]), reached[k])
                for k, t in taken.items()
            ],
        ),
    )
    learned = {
        name: {"seconds": taken[name], "steps": needed[name], "reached": reached[name]}
        for name in runs
    }
    figures = {"completions_per_second": speeds, "seconds_by_phase": phases, "learning": learned}
    finish(given.json, "\n\n".join(parts), ratios, figures, {})


if __name__ == "__main__":
    main()
