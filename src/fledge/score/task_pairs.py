"""Pairs of a model's own answers to a task's prompts: the best and the worst by its judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fledge.errors import UserError
from fledge.policy import TokenPolicy
from fledge.sample.conversing import answer_task, mark_own, read_text
from fledge.sample.generate import Completion
from fledge.score.verifier import Verifier
from fledge.seeds import generator_for
from fledge.splits import HeldOut
from fledge.tasks.named import Example, Task, draw_questions
from fledge.text.packed import Pair, TokenRow
from fledge.text.tokenizer import Tokenizer

AT_A_TIME = 256  # prompts the model answers
ROUNDS = 8  # in which a held-out prompt is asked until its answers differ in score
FEWEST = 0.01  # of the prompts must make a pair, or the model is not ready to be compared


@dataclass(frozen=True)
class PairMaker:
    """Prompts whose answers all score alike make no pair. asked, base: how a mistake names the task
    and the model.
    """

    policy: TokenPolicy
    tokenizer: Tokenizer
    task: Task
    samples_per_prompt: int
    max_new_tokens: int
    seed: int
    asked: str
    base: str

    def make_training_pairs(self, number: int) -> list[Pair]:
        """Exactly `number`. Raises UserError if the answers hardly ever differ in score."""
        generator = generator_for(self.seed, "samples", "train")
        pairs: list[Pair] = []
        tried = 0
        while len(pairs) < number:
            examples = [self.task.example(tried + i, "train") for i in range(AT_A_TIME)]
            pairs += [pair for pair in self.ask(examples, generator) if pair is not None]
            tried += AT_A_TIME
            if tried >= 20 * AT_A_TIME and len(pairs) < FEWEST * tried:
                raise UserError(
                    f"only {len(pairs)} of {tried} prompts of {self.asked} got answers of "
                    f"different score from {self.base}: tune it on the task first."
                )
        return pairs[:number]

    def make_held_out_pairs(self, part: HeldOut, number: int) -> list[Pair]:
        """One pair a prompt at most, so that pairs are as different as prompts are."""
        generator = generator_for(self.seed, "samples", part)
        pairs: list[Pair] = []
        waiting = draw_questions(self.task, part, number)
        for _ in range(ROUNDS):
            made = [
                pair
                for a in range(0, len(waiting), AT_A_TIME)
                for pair in self.ask(waiting[a : a + AT_A_TIME], generator)
            ]
            pairs += [pair for pair in made if pair is not None]
            waiting = [example for example, pair in zip(waiting, made, strict=True) if pair is None]
        return pairs

    def ask(self, examples: Sequence[Example], generator: torch.Generator) -> list[Pair | None]:
        """The best and the worst of samples_per_prompt answers to each; None where all score
        alike.
        """
        number = self.samples_per_prompt
        completions = answer_task(
            self.policy, self.tokenizer, self.task, examples, generator=generator,
            max_new_tokens=self.max_new_tokens, samples=number,
        )  # fmt: skip
        texts = [read_text(self.tokenizer, completion) for completion in completions]
        asked = [example for example in examples for _ in range(number)]
        score = Verifier(self.task)(asked, completions, texts)["reward"]
        pairs: list[Pair | None] = []
        for a in range(0, len(score), number):
            order = sorted(range(a, a + number), key=score.__getitem__)
            best, worst = order[-1], order[0]
            differ = score[best] > score[worst]
            pairs.append(
                (make_row(completions[best]), make_row(completions[worst])) if differ else None
            )
        return pairs


def make_row(completion: Completion) -> TokenRow:
    ids = completion.prompt + completion.tokens
    return ids, [False] * len(completion.prompt) + mark_own(completion)
