"""STaR's rationalisation: prompts that no sample solved are asked again with the answer as a hint
(Zelikman et al. 2022, §3.2).

What is right then is learnt as if the hint had not been there: in the rows the plain prompt stands
before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.micro_batches import READ, MicroBatches
from fledge.sample.generate import Completion
from fledge.sample.rollouts import Group, Rollouts, join_groups
from fledge.tasks.named import Example, Task
from fledge.text.asking import encode_prompt
from fledge.trajectories import Sampled

HINT = "{prompt} (the answer: {answer})"
LOOKED_AT = 64  # examples that are searched for an answer before a run begins


class Hints:
    """Rationalisation: batches of Rollouts in which right hinted answers have taken the place of
    wrong ones, in groups without a success.

    A success is a reward of `threshold` or more. The figures of Rollouts stay those of what was
    sampled without a hint; hinted_groups is the share of groups that were asked again, hinted_kept
    the share of those where a hinted answer was right. What the algorithm says of its batch (kl,
    entropy, kept, log_success …) is over all its rows, the hinted ones among them.

    A prompt without an answer, or too long with its hint, is not asked again. State: that of the
    Rollouts.
    """

    def __init__(self, rollouts: Rollouts, hint: str, threshold: float) -> None:
        self.rollouts, self.hint, self.threshold = rollouts, hint, threshold
        self.context = rollouts.policy.network.config.context
        self.figures: dict[str, float] = {}

    def __next__(self) -> Sampled:
        groups = self.rollouts.draw()
        hinted = {
            i: tokens
            for i, group in enumerate(groups)
            if (tokens := self.make_hinted_prompt(group)) is not None
        }
        swapped = [[False] * len(group.completions) for group in groups]
        solved = 0
        if hinted:
            plain = [groups[i].completions[0].prompt for i in hinted for _ in groups[i].completions]
            said = self.rollouts.answer(list(hinted.values()))
            self.rollouts.release_engine()
            said = [
                replace_prompt(prompt, c, self.context)
                for prompt, c in zip(plain, said, strict=True)
            ]
            again = self.rollouts.judge([groups[i].example for i in hinted], said)
            for i, other in zip(hinted, again, strict=True):
                swapped[i] = [reward >= self.threshold for reward in other.marks["reward"]]
                groups[i] = mix(groups[i], other, swapped[i])
                solved += any(swapped[i])
        self.figures = self.rollouts.figures | {
            "hinted_groups": len(hinted) / len(groups),
            "hinted_kept": solved / max(1, len(hinted)),
        }
        return self.use_own_logp(
            join_groups(groups), torch.tensor([mark for marks in swapped for mark in marks])
        )

    def make_hinted_prompt(self, group: Group) -> list[int] | None:
        """What to ask again, where an answer is known, none was right and there is room."""
        if group.example.answer is None or max(group.marks["reward"]) >= self.threshold:
            return None
        tokens = encode_prompt(self.rollouts.tokenizer, write_hint(self.hint, group.example))
        return tokens if len(tokens) < self.context else None

    @torch.no_grad()
    def use_own_logp(self, batch: Sampled, rows: Tensor) -> Sampled:
        """The batch with the policy's log π(y|x) of some rows [B], in place of that of the question
        they were sampled for.
        """
        policy, logp, place = self.rollouts.policy, batch.logp.clone(), rows.nonzero().squeeze(1)

        def score(part: Sampled) -> list[Tensor]:
            part = part.to(policy.network.unembedding.device)
            return [policy.log_prob(part.obs, part.action, part.chosen)]

        with self.rollouts.stopwatch.phase("score"):
            if len(place):
                [own] = MicroBatches(tokens=READ).map(score, batch[place])
                logp[place] = own.to(logp)
        return batch.replace(logp=logp)

    def state_dict(self) -> dict[str, Any]:
        return self.rollouts.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rollouts.load_state_dict(state)


def write_hint(hint: str, example: Example) -> str:
    """The template with prompt and answer in it; all else, other braces too, stays as it is."""
    told = {"{prompt}": example.prompt, "{answer}": example.answer or ""}
    return re.sub(r"\{prompt\}|\{answer\}", lambda match: told[match[0]], hint)


def replace_prompt(prompt: list[int], said: Completion, context: int) -> Completion:
    """The completion behind another prompt. What does not fit the context is cut, and an answer
    that was cut never stopped.
    """
    room = context - len(prompt)
    fits = len(said.tokens) <= room
    return Completion(
        prompt, said.tokens[:room], said.logp[:room], "stop" if said.stopped and fits else "length"
    )


def mix(group: Group, other: Group, take: Sequence[bool]) -> Group:
    """The answers of one group, and in the places that are marked those of the other to the same
    prompt.
    """
    completions = [
        b if t else a for a, b, t in zip(group.completions, other.completions, take, strict=True)
    ]
    marks = {
        name: [b if t else a for a, b, t in zip(values, other.marks[name], take, strict=True)]
        for name, values in group.marks.items()
    }
    return replace(group, completions=completions, marks=marks)


def check_hint(hint: str, task: Task) -> None:
    """Raises UserError for a template without {prompt} or {answer}, and for a task that knows no
    answers.
    """
    for part in ("{prompt}", "{answer}"):
        if part not in hint:
            raise UserError(
                f"hint={hint!r} has no {part}: a hint holds {{prompt}} and {{answer}}, such as "
                f"{HINT!r}."
            )
    if all(task.example(i, "train").answer is None for i in range(LOOKED_AT)):
        raise UserError(
            f"a hint tells the answer, and the examples of {task.name} have none: give each prompt "
            "its `answer`, or use algorithm=rest_em."
        )
