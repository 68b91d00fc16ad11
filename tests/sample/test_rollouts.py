"""Completions as trajectories: the policy's own tokens are chosen, the reward stands on the last,
and how each ended is kept.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence

import pytest
import torch

from fledge.engine.generation import GenerationTransformer
from fledge.engine.kv_cache import KVCache
from fledge.errors import UserError
from fledge.hub.folder import actions
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from fledge.sample.generate import Completion, generate
from fledge.sample.rollouts import (
    Group,
    Rollouts,
    Scorer,
    build_trajectories,
    summarise_groups,
)
from fledge.score.verifier import Verifier
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch
from fledge.tasks.named import Example, load_task
from fledge.text.asking import encode_prompt
from fledge.text.tokenizer import train_tokenizer
from tests.subjects import same_bits, transformer

BYTES = train_tokenizer("bytes", [])


def test_every_mark_stands_where_it_belongs() -> None:
    stopped = Completion([1, 4, 8, 5], [70, 71, 2], [-0.1, -0.2, -0.3], "stop")
    cut = Completion([1, 5], [72, 73, 74, 75], [-1.0, -2.0, -3.0, -4.0], "length")
    batch = build_trajectories([stopped, cut], [0.5, -2.0], [3, 4])
    assert batch.obs.tolist() == [[1, 4, 8, 5, 70, 71, 2], [1, 5, 72, 73, 74, 75, 0]]
    assert torch.equal(batch.action, batch.obs[:, 1:])
    assert [batch.action[i][batch.chosen[i]].tolist() for i in range(2)] == [
        stopped.tokens,
        cut.tokens,
    ]
    assert batch.reward.tolist() == [[0, 0, 0, 0, 0, 0.5], [0, 0, 0, 0, -2.0, 0]]
    # the verdict is final, also on one that was cut
    assert batch.terminated.nonzero().tolist() == [
        [0, 5],
        [1, 4],
    ]
    assert batch.truncated.nonzero().tolist() == [[1, 4]]
    assert batch.last().tolist() == [6, 5]
    assert batch.logp is not None
    for i, completion in enumerate((stopped, cut)):
        torch.testing.assert_close(batch.logp[i][batch.chosen[i]], torch.tensor(completion.logp))
        assert not batch.logp[i][~batch.chosen[i]].any()
    assert batch.group is not None
    assert batch.group.tolist() == [3, 4]


@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_a_reward_that_is_no_finite_number_is_refused(reward: float) -> None:
    good = Completion([1], [2], [0.0], "stop")
    with pytest.raises(UserError, match="completion 1"):
        build_trajectories([good, good], [0.0, reward], [0, 0])


def make(scorer: Scorer | None = None, rule: Decoding | None = None, redraws: int = 0) -> Rollouts:
    policy = TokenPolicy(
        transformer(vocab_size=262, context=48), actions(BYTES), rule or Decoding()
    )
    task = load_task("reverse", seed=1, shortest=2, longest=4)
    return Rollouts(
        policy, BYTES, task, scorer or Verifier(task), Stopwatch(),
        prompts_per_step=3, samples_per_prompt=4, max_new_tokens=6, seed=5, redraws=redraws,
    )  # fmt: skip  # pyright: ignore


def test_rows_are_prompts_times_samples_side_by_side_and_score_as_sampled() -> None:
    sampler = make(rule=Decoding(temperature=0.8, top_k=50))
    batch = next(sampler)
    assert len(batch) == 12
    assert batch.group is not None
    assert batch.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    task = sampler.task
    for i in range(12):
        prompt = encode_prompt(BYTES, task.example(i // 4, "train").prompt)
        assert batch.obs[i, : len(prompt)].tolist() == prompt
        assert batch.chosen[i].nonzero()[0].item() == len(prompt) - 1
        assert (batch.terminated[i] | batch.truncated[i]).nonzero().flatten().tolist() == [
            int(batch.last()[i]) - 1
        ]
    logp = sampler.policy.log_prob(batch.obs, batch.action, batch.chosen)
    torch.testing.assert_close(logp, batch.logp, rtol=1e-4, atol=1e-5)
    assert sampler.figures["tokens"] == batch.chosen.sum()
    assert sampler.figures["completion_tokens"] == batch.chosen.sum() / 12
    assert sampler.figures["stop_rate"] == 1 - batch.truncated.any(1).float().mean()


def test_the_scorer_hears_each_example_beside_its_completion_and_its_words_are_the_reward() -> None:
    heard: list[tuple[Example, Completion, str]] = []

    def scorer(
        examples: Sequence[Example], completions: Sequence[Completion], texts: Sequence[str]
    ) -> dict[str, list[float]]:
        heard.extend(zip(examples, completions, texts, strict=True))
        return {
            "reward": [float(i) for i in range(len(texts))],
            "exact_match": [0.0, 1.0] * (len(texts) // 2),
        }

    sampler = make(scorer)
    batch = next(sampler)
    assert batch.reward.sum(1).tolist() == [float(i) for i in range(12)]
    assert sampler.figures["reward"] == 5.5
    assert sampler.figures["sampled_exact_match"] == 0.5
    for i, (example, completion, text) in enumerate(heard):
        assert example == sampler.task.example(i // 4, "train")
        assert completion.prompt == encode_prompt(BYTES, example.prompt)
        assert text == BYTES.decode(completion.tokens)


@pytest.mark.parametrize("prompts", [1, 3])
def test_figures_are_means_over_all_answers_of_one_prompt_or_of_several(prompts: int) -> None:
    """Each prompt has an answer of 2 tokens that stopped and one of 3 that did not."""
    stopped = Completion([1], [70, 2], [-0.1, -0.2], "stop")
    cut = Completion([1], [70, 71, 72], [-0.1, -0.2, -0.3], "length")
    marks = {"reward": [0.5, 0.25], "exact_match": [1.0, 0.0]}
    group = Group(Example("a", "b", "t"), [stopped, cut], marks)
    assert summarise_groups([group] * prompts) == {
        "reward": 0.375,
        "sampled_exact_match": 0.5,
        "stop_rate": 0.5,
        "completion_tokens": 2.5,
        "tokens": 5.0 * prompts,
    }


@pytest.mark.parametrize("given", [0, 1, 3])
def test_a_sampler_that_is_resumed_goes_on_as_if_it_had_never_stopped(given: int) -> None:
    straight, resumed = make(), make()
    for _ in range(given):
        next(straight)
    resumed.load_state_dict(straight.state_dict())
    for _ in range(3):
        a, b = next(straight), next(resumed)
        assert torch.equal(a.obs, b.obs)
        assert torch.equal(a.chosen, b.chosen)
        assert straight.figures == resumed.figures
    assert straight.position == resumed.position == 3 * (given + 3)


# --- dynamic sampling: groups that earned the same give way to others ---


class Grader:
    """Gives answers 0, 1, 2, 3 in the groups that `differs` says (by how many came before), else
    0.5; keeps what it heard.
    """

    def __init__(self, differs: Callable[[int], bool]) -> None:
        self.differs, self.prompts, self.completions = differs, [], []
        self.rewards: list[float] = []
        self.calls = 0

    def __call__(
        self, examples: Sequence[Example], completions: Sequence[Completion], texts: Sequence[str]
    ) -> dict[str, list[float]]:
        self.calls += 1
        rewards: list[float] = []
        for place in range(0, len(examples), 4):
            rewards += [0.0, 1.0, 2.0, 3.0] if self.differs(len(self.prompts)) else [0.5] * 4
            self.prompts.append(examples[place].prompt)
        self.completions += completions
        self.rewards += rewards
        return {"reward": rewards, "exact_match": [float(x == 3.0) for x in rewards]}


def prompts_of(sampler: Rollouts, numbers: Sequence[int]) -> list[list[int]]:
    return [encode_prompt(BYTES, sampler.task.example(i, "train").prompt) for i in numbers]


def test_groups_of_equal_reward_give_way_to_the_next_prompts_until_all_differ() -> None:
    grader = Grader(lambda group: group not in (0, 2, 3))  # 0 and 2 give way to 3 and 4, and 3 to 5
    sampler = make(grader, redraws=3)
    batch = next(sampler)
    assert batch.group is not None
    assert batch.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert batch.reward.sum(1).tolist() == [0.0, 1.0, 2.0, 3.0] * 3
    for place, prompt in enumerate(prompts_of(sampler, [5, 1, 4])):
        for row in range(4 * place, 4 * place + 4):
            assert batch.obs[row, : len(prompt)].tolist() == prompt
    assert (grader.calls, sampler.position) == (3, 6)
    assert sampler.figures["drawn_groups"] == 6
    next(sampler)  # begins after the last prompt that was drawn
    assert grader.prompts[6:] == [sampler.task.example(i, "train").prompt for i in (6, 7, 8)]


def test_figures_are_means_over_everything_that_was_drawn() -> None:
    grader = Grader(lambda group: group not in (0, 2, 3))
    sampler = make(grader, redraws=3)
    next(sampler)
    said = grader.completions
    assert len(said) == 24
    tokens = [len(c.tokens) for c in said]
    assert sampler.figures == pytest.approx({
        "reward": sum(grader.rewards) / 24,
        "sampled_exact_match": 3 / 24, "stop_rate": sum(c.stopped for c in said) / 24,
        "completion_tokens": sum(tokens) / 24, "tokens": sum(tokens), "drawn_groups": 6,
    })  # fmt: skip


@pytest.mark.parametrize("redraws", [1, 2, 3])
def test_where_nothing_differs_a_batch_is_full_after_the_stated_rounds(redraws: int) -> None:
    grader = Grader(lambda group: False)
    sampler = make(grader, redraws=redraws)
    batch = next(sampler)
    assert (len(batch), grader.calls) == (12, 1 + redraws)
    assert batch.group is not None
    assert batch.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert batch.reward.sum(1).tolist() == [0.5] * 12
    assert sampler.figures["drawn_groups"] == 3 * (1 + redraws)


def test_what_differs_at_once_is_not_drawn_again() -> None:
    grader = Grader(lambda group: True)
    sampler = make(grader, redraws=3)
    plain = make(Grader(lambda group: True))
    for _ in range(2):
        assert same_bits(next(sampler), next(plain))
    assert sampler.figures == plain.figures | {"drawn_groups": 3}


def test_without_redraws_a_batch_is_one_round_of_the_engine() -> None:
    sampler = make(Grader(lambda group: False))
    generator = generator_for(5, "samples")
    for step in range(2):
        prompts = prompts_of(sampler, range(3 * step, 3 * step + 3))
        said = generate(
            sampler.policy,
            prompts,
            max_new_tokens=6,
            stop=BYTES.end,
            generator=generator,
            samples=4,
        )
        wanted = build_trajectories(said, [0.5] * 12, [i // 4 for i in range(12)])
        assert same_bits(next(sampler), wanted)
        assert "drawn_groups" not in sampler.figures


def test_between_batches_no_engine_is_in_memory() -> None:
    """It would lie beside the step's activations, though the step changes its weights."""

    def count() -> int:
        gc.collect()
        return sum(type(thing) in (KVCache, GenerationTransformer) for thing in gc.get_objects())

    before, during = count(), list[int]()
    plain = Grader(lambda group: False)

    def watch(
        examples: Sequence[Example], completions: Sequence[Completion], texts: Sequence[str]
    ) -> dict[str, list[float]]:
        during.append(count())
        return plain(examples, completions, texts)

    sampler = make(watch, redraws=1)
    next(sampler)
    assert during == [before + 2] * 2
    assert count() == before
    next(sampler)


def uneven(
    examples: Sequence[Example], completions: Sequence[Completion], texts: Sequence[str]
) -> dict[str, list[float]]:
    """What the first token is worth, to a prompt of odd length; nothing else is worth anything."""
    return {
        "reward": [
            float(c.tokens[0]) * (len(e.prompt) % 2)
            for e, c in zip(examples, completions, strict=True)
        ]
    }


@pytest.mark.parametrize("given", [0, 1, 3])
def test_a_sampler_that_redraws_is_resumed_to_the_same_bits(given: int) -> None:
    straight, resumed = make(uneven, redraws=2), make(uneven, redraws=2)
    for _ in range(given):
        next(straight)
    resumed.load_state_dict(straight.state_dict())
    drawn = 0.0
    for _ in range(3):
        a, b = next(straight), next(resumed)
        assert same_bits(a, b)
        assert straight.figures == resumed.figures
        drawn += straight.figures["drawn_groups"]
    assert drawn > 9  # so some were replaced
