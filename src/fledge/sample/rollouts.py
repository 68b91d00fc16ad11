"""Trajectories out of the policy itself: prompts from a task, completions from the token engine, a
reward on the last token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from fledge import ranks
from fledge.engine.engine import Engine
from fledge.engine.generation import Generation
from fledge.errors import UserError
from fledge.heap import trim_heap
from fledge.policy import TokenPolicy
from fledge.sample.conversing import (
    GrowingEngine,
    answer_prompts,
    is_truncated,
    mark_own,
    read_text,
)
from fledge.sample.curriculum import Curriculum
from fledge.sample.generate import SLOTS, Answers, Completion
from fledge.sample.served import Served
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch
from fledge.tasks.conversed import count_turns
from fledge.tasks.named import Example, Task
from fledge.text.asking import encode_prompt
from fledge.text.tokenizer import Tokenizer
from fledge.trajectories import Sampled
from fledge.weigh import difference

ROUND = 64  # positions of an engine: a multiple, so that one serves many batches


class Scorer(Protocol):
    """What a batch of completions is worth; figures by name, one list per figure, `reward` among
    them.
    """

    def __call__(
        self, examples: Sequence[Example], completions: Sequence[Completion], texts: Sequence[str]
    ) -> dict[str, list[float]]: ...


@dataclass(frozen=True)
class Group:
    """The answers to one prompt, and their marks: figures by name, one number an answer."""

    example: Example
    completions: list[Completion]
    marks: dict[str, list[float]]

    @property
    def is_equal(self) -> bool:
        """Whether all answers earned the same, in the float32 that is trained on: then nothing in
        the group can be compared.
        """
        reward = torch.tensor(self.marks["reward"], dtype=torch.float32)
        return bool(difference(reward.max(), reward.min()) == 0)


class Rollouts:
    """Endless on-policy batches of prompts_per_step × samples_per_prompt rows.

    redraws: DAPO's dynamic sampling (Yu et al. 2025, eq. 11). In up to so many further rounds,
    groups that earned the same throughout give way to groups of the task's next prompts. The paper
    goes on until the batch is full; here the last round's groups stay whatever they earned, so that
    a batch has its full size also where nothing can be told apart.

    State: the number of the next prompt, the generator of the draws, and the curriculum. A row that
    ran out of room is marked `truncated`.
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
        redraws: int = 0,
        precision: Generation = "fp32",
        served: Served | None = None,
        curriculum: Curriculum | None = None,
    ) -> None:
        """redraws: rounds of dynamic sampling. precision: of generation. served: who answers, by
        default an engine in this process. curriculum: which part of the task is asked, by default
        each in turn.
        """
        self.policy, self.tokenizer, self.task = policy, tokenizer, task
        self.scorer, self.stopwatch = scorer, stopwatch
        self.prompts_per_step, self.samples_per_prompt = prompts_per_step, samples_per_prompt
        self.max_new_tokens, self.redraws = max_new_tokens, redraws
        self.generator = generator_for(seed, "samples")
        self.position = 0
        self.figures: dict[str, float] = {}
        self.precision: Generation = precision
        self.served = served
        self.curriculum = curriculum
        self._engine: Engine | None = None  # while a batch is drawn

    def __next__(self) -> Sampled:
        return join_groups(self.draw())

    def draw(self) -> list[Group]:
        """One batch as groups, by dynamic sampling where `redraws` says so; `figures` are means
        over everything that was drawn for it, what others replaced included.
        """
        batch = self.gather_groups(self.prompts_per_step)
        drawn = list(batch)
        for _ in range(self.redraws):
            equal = [place for place, group in enumerate(batch) if group.is_equal]
            if not equal:
                break
            others = self.gather_groups(len(equal))
            drawn += others
            for place, other in zip(equal, others, strict=True):
                batch[place] = other
        self.release_engine()
        self.figures = summarise_groups(drawn)
        if self.served is not None:
            self.figures |= self.served.take_figures()
        if self.redraws:
            self.figures["drawn_groups"] = float(len(drawn))
        if self.curriculum is not None:
            seen = [(group.example.task, group.marks["exact_match"]) for group in drawn]
            self.figures |= self.curriculum.learn(seen)
        return batch

    def release_engine(self) -> None:
        """Its layout of the weights and its KV cache would lie beside the activations of the step
        that follows, after which the weights are others and are laid out anew all the same.
        """
        self._engine = None

    def gather_groups(self, number: int) -> list[Group]:
        """Answers to the task's next prompts."""
        if self.curriculum is not None:
            examples = self.curriculum.draw(number)
        else:
            examples = [self.task.example(self.position + i, "train") for i in range(number)]
        self.position += number
        return self.judge(
            examples, self.answer([encode_prompt(self.tokenizer, e.prompt) for e in examples],
                                  examples)
        )  # fmt: skip

    def answer(
        self, prompts: Sequence[Sequence[int]], examples: Sequence[Example] = ()
    ) -> list[Completion]:
        """samples_per_prompt completions of each prompt, side by side; of several ranks each
        answers its share of the prompts, which has long ones and short ones. With the examples
        that the prompts ask, the task may answer in turn.
        """
        size, own = self.samples_per_prompt, ranks.deal_level([len(prompt) for prompt in prompts])
        with self.stopwatch.phase("generate"):
            said = answer_prompts(
                self.policy, self.tokenizer, prompts, self.task, examples,
                max_new_tokens=self.max_new_tokens, generator=self.generator, samples=size,
                engine=self._answers(bool(examples)), only=own,
            )  # fmt: skip
            mine = {place: said[i * size : (i + 1) * size] for i, place in enumerate(own)}
            groups = {
                place: group for share in ranks.gather(mine) for place, group in share.items()
            }
            return [completion for place in range(len(prompts)) for completion in groups[place]]

    def _answers(self, in_turns: bool) -> Callable[[Sequence[Sequence[int]]], Answers]:
        """Who answers prompts; one engine for all the turns of a round of conversations."""
        if self.served is not None:
            served = self.served
            return lambda _: served
        if in_turns and count_turns(self.task) > 1:
            slots = min(SLOTS, self.prompts_per_step * self.samples_per_prompt)
            return GrowingEngine(self.policy, slots, self.max_new_tokens, self.precision)
        return self._engine_for

    def _engine_for(self, prompts: Sequence[Sequence[int]]) -> Engine:
        """A function of these prompts and the settings alone, so that a resumed run computes with
        the same shapes.
        """
        needed = max(map(len, prompts)) + self.max_new_tokens
        positions = min(-(-needed // ROUND) * ROUND, self.policy.network.config.context)
        if self._engine is None or self._engine.positions != positions:
            self._engine = None
            trim_heap()
            slots = min(SLOTS, self.prompts_per_step * self.samples_per_prompt)
            self._engine = Engine(
                self.policy, slots=slots, positions=positions, precision=self.precision
            )
        return self._engine

    def judge(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Group]:
        """What samples_per_prompt completions to each example are worth; of several ranks each
        asks about its share.
        """
        size = self.samples_per_prompt
        pairs = [
            (example, list(completions[i * size : (i + 1) * size]))
            for i, example in enumerate(examples)
        ]
        with self.stopwatch.phase("score"):
            return ranks.collect(self._judge(ranks.deal(pairs)))

    def _judge(self, pairs: Sequence[tuple[Example, list[Completion]]]) -> list[Group]:
        if not pairs:
            return []
        each = [example for example, said in pairs for _ in said]
        completions = [completion for _, said in pairs for completion in said]
        texts = [read_text(self.tokenizer, completion) for completion in completions]
        marks, size = self.scorer(each, completions, texts), self.samples_per_prompt
        return [
            Group(
                example,
                said,
                {name: list(values[i * size : (i + 1) * size]) for name, values in marks.items()},
            )
            for i, (example, said) in enumerate(pairs)
        ]

    def state_dict(self) -> dict[str, Any]:
        state = {"position": self.position, "generator": self.generator.get_state()}
        if self.curriculum is not None:
            state["curriculum"] = self.curriculum.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]
        self.generator.set_state(state["generator"])
        if self.curriculum is not None:
            self.curriculum.load_state_dict(state["curriculum"])


def summarise_groups(groups: Sequence[Group]) -> dict[str, float]:
    """Means over all answers, and how many tokens they have."""
    marks = {
        name: [value for group in groups for value in group.marks[name]] for name in groups[0].marks
    }
    completions = [completion for group in groups for completion in group.completions]
    tokens = sum(sum(mark_own(c)) for c in completions)
    return {
        f"sampled_{name}" if name == "exact_match" else name: sum(v) / len(v)
        for name, v in marks.items()
    } | {
        "stop_rate": sum(c.stopped for c in completions) / len(completions),
        "completion_tokens": tokens / len(completions),
        "tokens": float(tokens),
    }


def join_groups(groups: Sequence[Group]) -> Sampled:
    """The rows of groups 0, 1, …, side by side."""
    completions = [completion for group in groups for completion in group.completions]
    reward = [worth for group in groups for worth in group.marks["reward"]]
    return build_trajectories(
        completions, reward, [i for i, group in enumerate(groups) for _ in group.completions]
    )


def build_trajectories(
    completions: Sequence[Completion], reward: Sequence[float], group: Sequence[int]
) -> Sampled:
    """Completions and what each is worth, as trajectories: the reward stands on the last token.
    Token ids in, token ids out. What was answered in a conversation is not chosen.

    The reward is the verdict on the whole completion, so every row ends with it: `terminated`, and
    `truncated` too where the length limit cut it, or a conversation's turns were used up. A
    critic's value after the cut would pay the row twice, and by a number that nothing ever trains.

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
        chosen[i, first : last + 1] = torch.as_tensor(mark_own(c))
        logp[i, first : last + 1] = torch.as_tensor(c.logp)
        if not torch.isfinite(torch.tensor(float(reward[i]))):
            raise UserError(
                f"the reward of completion {i} is {reward[i]}: a reward must be a finite number."
            )
        worth[i, last] = reward[i]
        terminated[i, last], truncated[i, last] = True, is_truncated(c)
    return Sampled(
        obs, obs[:, 1:], chosen, worth, terminated, truncated, logp=logp, group=torch.tensor(group)
    )
