"""Trajectories out of the policy itself: prompts from a task, completions from the token engine, a reward on the last token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from fledge.errors import UserError
from fledge.policy import TokenPolicy
from fledge.sample.generate import Completion, generate
from fledge.stopwatch import Stopwatch
from fledge.text.chat import render
from fledge.text.tokenizer import Tokenizer
from fledge.trajectories import Trajectories
from fledge.worlds.tasks import Example, Task


class Scorer(Protocol):
    """What a batch of completions is worth; figures by name, one list per figure, `reward` among them."""

    def __call__(
        self, examples: Sequence[Example], completions: Sequence[Completion], texts: Sequence[str]
    ) -> dict[str, list[float]]: ...


def prompt_tokens(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The prompt as a user's turn, waiting for the assistant."""
    return render(tokenizer, [{"role": "user", "content": prompt}], reply=True)[0]


class Rollouts:
    """Endless on-policy batches of prompts_per_step × samples_per_prompt rows.

    State: the number of the next prompt, and the generator of the draws. A row that ran out of room is marked `truncated`.
    """

    def __init__(
        self,
        policy: TokenPolicy,
        tokenizer: Tokenizer,
        task: Task,
        scorer: Scorer,
        stopwatch: Stopwatch,
        *,
        prompts_per_step: int,
        samples_per_prompt: int,
        max_new_tokens: int,
        seed: int,
    ) -> None:
        self.policy, self.tokenizer, self.task, self.scorer, self.stopwatch = policy, tokenizer, task, scorer, stopwatch
        self.prompts_per_step, self.samples_per_prompt = prompts_per_step, samples_per_prompt
        self.max_new_tokens = max_new_tokens
        self.generator = torch.Generator().manual_seed(seed)
        self.position = 0
        self.figures: dict[str, float] = {}

    def __next__(self) -> Trajectories:
        examples = [self.task.example(self.position + i, "train") for i in range(self.prompts_per_step)]
        self.position += self.prompts_per_step
        with self.stopwatch.phase("generate"):
            completions = generate(
                self.policy,
                [prompt_tokens(self.tokenizer, example.prompt) for example in examples],
                max_new_tokens=self.max_new_tokens,
                stop=self.tokenizer.end,
                generator=self.generator,
                samples=self.samples_per_prompt,
            )
        with self.stopwatch.phase("score"):
            each = [example for example in examples for _ in range(self.samples_per_prompt)]
            texts = [self.tokenizer.decode(completion.tokens) for completion in completions]
            marks = self.scorer(each, completions, texts)
        self.figures = {
            f"sampled_{name}" if name == "exact_match" else name: sum(v) / len(v) for name, v in marks.items()
        }
        self.figures["stop_rate"] = sum(c.stopped for c in completions) / len(completions)
        self.figures["completion_tokens"] = sum(len(c.tokens) for c in completions) / len(completions)
        self.figures["tokens"] = float(sum(len(c.tokens) for c in completions))
        group = [i for i in range(len(examples)) for _ in range(self.samples_per_prompt)]
        return rollout_rows(completions, marks["reward"], group)

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]
        self.generator.set_state(state["generator"])


def rollout_rows(completions: Sequence[Completion], reward: Sequence[float], group: Sequence[int]) -> Trajectories:
    """Completions and what each is worth, as trajectories: the reward stands on the last token. Token ids in, token ids out.

    The reward is the verdict on the whole completion, so every row ends with it: `terminated`, and `truncated` too where the length
    limit cut it. A critic's value after the cut would pay the row twice, and by a number that nothing ever trains.

    Raises UserError for a reward that is not finite.
    """
    rows = [c.prompt + c.tokens for c in completions]
    longest = max(len(row) for row in rows)
    shape = (len(rows), longest - 1)
    obs = torch.zeros(len(rows), longest, dtype=torch.long)
    chosen, terminated, truncated = (torch.zeros(shape, dtype=torch.bool) for _ in range(3))
    logp, worth = torch.zeros(shape), torch.zeros(shape)
    for i, c in enumerate(completions):
        first, last = len(c.prompt) - 1, len(rows[i]) - 2  # steps: action t is token t + 1
        obs[i, : len(rows[i])] = torch.as_tensor(rows[i])
        chosen[i, first : last + 1] = True
        logp[i, first : last + 1] = torch.as_tensor(c.logp)
        if not torch.isfinite(torch.tensor(float(reward[i]))):
            raise UserError(f"the reward of completion {i} is {reward[i]}: a reward must be a finite number.")
        worth[i, last] = reward[i]
        terminated[i, last], truncated[i, last] = True, not c.stopped
    return Trajectories(obs, obs[:, 1:], chosen, worth, terminated, truncated, logp=logp, group=torch.tensor(group))
