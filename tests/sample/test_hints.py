"""Hinted answers: only where nothing was right, behind the plain prompt, with the policy's own
log-probability of that row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from fledge.algorithms.likelihood.expectation_maximisation import STAR, ExpectationMaximisation
from fledge.errors import UserError
from fledge.hub.folder import actions
from fledge.policy import TokenPolicy
from fledge.sample import conversing
from fledge.sample.generate import Completion
from fledge.sample.hints import HINT, Hints, check_hint, replace_prompt, write_hint
from fledge.sample.rollouts import Rollouts, Scorer, build_trajectories
from fledge.score.verifier import Verifier
from fledge.stopwatch import Stopwatch
from fledge.tasks.named import Example, load_task
from fledge.text.asking import encode_prompt
from fledge.text.tokenizer import train_tokenizer
from fledge.trajectories import Trajectories
from tests.subjects import learner, same_bits, transformer

BYTES = train_tokenizer("bytes", [])


def make(
    scorer: Scorer | None = None,
    hint: str = HINT,
    context: int = 96,
    task: Any = None,
    prompts: int = 4,
    samples: int = 2,
) -> Hints:
    policy = TokenPolicy(transformer(vocab_size=262, context=context), actions(BYTES))
    task = task or load_task("reverse", seed=1, shortest=2, longest=4)
    rollouts = Rollouts(
        policy, BYTES, task, scorer or Verifier(task), Stopwatch(),
        prompts_per_step=prompts, samples_per_prompt=samples, max_new_tokens=8, seed=5,
    )  # fmt: skip
    return Hints(rollouts, hint, threshold=1.0)


class Parrot:
    """An engine that repeats the answer it is told in every second sample; untold, it solves only
    the prompts that it `knows`.
    """

    def __init__(self, knows: Sequence[str] = ()) -> None:
        self.knows, self.asked = knows, []

    def __call__(
        self, policy: Any, prompts: Sequence[Sequence[int]], *, samples: int, **_: Any
    ) -> list[Completion]:
        said = []
        for prompt in prompts:
            text = BYTES.decode(list(prompt))
            self.asked.append(text)
            told = text.partition("(the answer: ")[2].partition(")")[0]
            told = told or next((word[::-1] for word in self.knows if word in text), "")
            for sample in range(samples):
                tokens = [*BYTES.encode(told if told and sample % 2 else "no"), BYTES.end]
                said.append(Completion(list(prompt), tokens, [-0.5] * len(tokens), "stop"))
        return said


def words_of(hints: Hints, number: int) -> list[Example]:
    return [hints.rollouts.task.example(i, "train") for i in range(number)]


def texts(batch: Trajectories) -> list[tuple[list[int], str]]:
    """Prompt tokens and answer of each row."""
    rows = []
    for i in range(len(batch)):
        first, last = int(batch.chosen[i].int().argmax()) + 1, int(batch.last()[i])
        rows.append(
            (batch.obs[i, :first].tolist(), BYTES.decode(batch.obs[i, first:last].tolist()))
        )
    return rows


def test_an_unsolved_prompt_is_asked_again_and_what_is_right_stands_behind_the_plain_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hints = make()
    examples = words_of(hints, 4)
    known = examples[1].answer
    assert known is not None
    parrot = Parrot(knows=[known[::-1]])
    monkeypatch.setattr(conversing, "generate", parrot)
    batch = next(hints)
    assert len(parrot.asked) == 4 + 3
    assert not any(f"(the answer: {known})" in text for text in parrot.asked)
    for i, example in enumerate(examples):
        plain = encode_prompt(BYTES, example.prompt)
        assert texts(batch)[2 * i : 2 * i + 2] == [(plain, "no"), (plain, example.answer)]
    assert batch.reward.sum(1).tolist() == [0.0, 1.0] * 4
    assert batch.group is not None
    assert batch.group.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    # of what was said without a hint
    assert hints.figures["reward"] == hints.figures["sampled_exact_match"] == 1 / 8
    assert (hints.figures["hinted_groups"], hints.figures["hinted_kept"]) == (3 / 4, 1.0)


def test_one_sample_a_prompt_is_asked_again_like_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversing, "generate", Parrot())
    hints = make(SecondTime(), prompts=3, samples=1)
    batch = next(hints)
    assert texts(batch) == [(encode_prompt(BYTES, e.prompt), "no") for e in words_of(hints, 3)]
    assert batch.reward.sum(1).tolist() == [1.0] * 3  # what was said to the hint
    assert (hints.figures["hinted_groups"], hints.figures["hinted_kept"]) == (1.0, 1.0)


def test_where_all_is_solved_nothing_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hints = make()
    parrot = Parrot(knows=[str(example.answer)[::-1] for example in words_of(hints, 4)])
    monkeypatch.setattr(conversing, "generate", parrot)
    batch = next(hints)
    assert len(parrot.asked) == 4
    assert batch.logp is not None
    assert set(batch.logp[batch.chosen].tolist()) == {-0.5}  # as the engine gave them
    assert (hints.figures["hinted_groups"], hints.figures["hinted_kept"]) == (0.0, 0.0)


def test_a_hint_that_does_not_help_leaves_the_samples_as_they_were() -> None:
    def nothing(
        examples: object, completions: object, texts: Sequence[str]
    ) -> dict[str, list[float]]:
        return {"reward": [0.0] * len(texts)}

    hints, plain = make(nothing), make(nothing)
    assert same_bits(next(hints), next(plain.rollouts))
    assert (hints.figures["hinted_groups"], hints.figures["hinted_kept"]) == (1.0, 0.0)


class SecondTime:
    """Every second call finds everything right: what is said to a hint."""

    calls = 0

    def __call__(
        self, examples: Any, completions: Any, texts: Sequence[str]
    ) -> dict[str, list[float]]:
        self.calls += 1
        return {"reward": [float(self.calls % 2 == 0)] * len(texts)}


def test_log_probabilities_are_the_policys_own_of_the_rows_as_they_stand() -> None:
    """One row at a time, without padding and mask; the engine's, behind the hint, are another
    distribution's.
    """
    hints = make(SecondTime())
    batch = next(hints)
    assert batch.logp is not None
    assert not batch.logp.requires_grad
    policy = hints.rollouts.policy
    for i in range(len(batch)):
        row = batch.obs[i : i + 1, : int(batch.last()[i]) + 1]
        with torch.no_grad():
            alone = policy.log_prob(row, row[:, 1:])[0]
        mine = batch.chosen[i, : len(alone)]
        torch.testing.assert_close(
            batch.logp[i, : len(alone)][mine], alone[mine], rtol=1e-4, atol=1e-5
        )
        assert not batch.logp[i][~batch.chosen[i]].any()
    figures = ExpectationMaximisation(policy, learner(policy), Stopwatch(), settings=STAR).update(
        batch
    )
    assert figures["drift"] < 1e-5
    assert figures["kept"] == 1.0


def test_the_engines_log_probabilities_behind_a_hint_would_be_far_off() -> None:
    """So the test above tests something."""
    hints = make()
    rollouts, examples = hints.rollouts, words_of(hints, 4)
    told = [encode_prompt(BYTES, write_hint(HINT, example)) for example in examples]
    plain = [encode_prompt(BYTES, example.prompt) for example in examples for _ in range(2)]
    said = [replace_prompt(p, c, 96) for p, c in zip(plain, rollouts.answer(told), strict=True)]
    batch = build_trajectories(said, [0.0] * 8, [i // 2 for i in range(8)])
    assert batch.logp is not None
    with torch.no_grad():
        own = rollouts.policy.log_prob(batch.obs, batch.action, batch.chosen)
    assert (own - batch.logp)[batch.chosen].abs().mean() > 0.1


def test_a_star_update_makes_the_hinted_answers_likelier_without_the_hint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hints = make()
    monkeypatch.setattr(conversing, "generate", Parrot())
    policy = hints.rollouts.policy
    batch = next(hints)
    right = batch[batch.reward.sum(1) > 0]
    assert len(right) == 4

    def likely() -> torch.Tensor:
        with torch.no_grad():
            return policy.log_prob(right.obs, right.action, right.chosen).sum(1)

    before = likely()
    ExpectationMaximisation(
        policy,
        learner(policy, rate=1e-3),
        Stopwatch(),
        settings=STAR.replace(updates_per_step=3, epochs=3),
    ).update(Trajectories.of(batch).replace(logp=None))
    assert (likely() > before).all()


def test_a_prompt_that_is_too_long_with_its_hint_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    examples = words_of(make(), 4)
    sizes = [len(encode_prompt(BYTES, write_hint(HINT, example))) for example in examples]
    parrot = Parrot()
    monkeypatch.setattr(conversing, "generate", parrot)
    hints = make(context=max(sizes))  # the longest would leave no room
    next(hints)
    assert hints.figures["hinted_groups"] == sum(size < max(sizes) for size in sizes) / 4
    assert len(parrot.asked) == 4 + sum(size < max(sizes) for size in sizes)


def test_what_does_not_fit_behind_the_plain_prompt_is_cut_and_no_answer() -> None:
    said = Completion([1, 2], [7, 8, 9], [-1.0, -2.0, -3.0], "stop")
    assert replace_prompt([1, 5, 5], said, 6) == Completion(
        [1, 5, 5], [7, 8, 9], [-1.0, -2.0, -3.0], "stop"
    )
    assert replace_prompt([1, 5, 5], said, 5) == Completion(
        [1, 5, 5], [7, 8], [-1.0, -2.0], "length"
    )


def test_a_prompt_without_an_answer_is_not_asked_again(tmp_path: Any) -> None:
    (tmp_path / "half.py").write_text(
        "def prompts():\n    return ['a'] * 3 + [{'prompt': 'b', 'answer': 'c'}]\n"
        "def score(prompt, completion):\n    return 0.0\n"
    )
    task = load_task(str(tmp_path / "half.py"))
    check_hint(HINT, task)
    hints = make(task=task)
    next(hints)
    assert hints.figures["hinted_groups"] == 1 / 4


def test_what_a_prompt_holds_is_no_template() -> None:
    assert (
        write_hint("{x} {prompt}: {answer}!", Example("{answer}", "{prompt} {", "t"))
        == "{x} {answer}: {prompt} {!"
    )


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        ("{prompt}", "has no {answer}"),
        ("{answer}", "has no {prompt}"),
        ("{Prompt} {answer}", "{prompt}"),
    ],
)
def test_a_template_without_its_parts_is_refused(hint: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_hint(hint, load_task("reverse"))


@pytest.mark.parametrize("given", [0, 2])
def test_a_sampler_with_hints_is_resumed_to_the_same_bits(given: int) -> None:
    def even(
        examples: Any, completions: Sequence[Completion], texts: Any
    ) -> dict[str, list[float]]:
        return {"reward": [float(c.tokens[0] % 4 == 0) for c in completions]}

    straight, resumed = make(even), make(even)
    for _ in range(given):
        next(straight)
    resumed.load_state_dict(straight.state_dict())
    kept = 0.0
    for _ in range(3):
        a, b = next(straight), next(resumed)
        assert same_bits(a, b)
        assert straight.figures == resumed.figures
        kept += straight.figures["hinted_kept"]
    assert kept > 0
