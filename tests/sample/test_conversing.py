"""Conversations as completions: every token where it belongs, none of the task's own ever chosen,
and the expected gradient that of the expected reward.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from fledge.algorithms.likelihood.expectation_maximisation import STAR, ExpectationMaximisation
from fledge.engine.request import Completion
from fledge.hub.folder import actions
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from fledge.sample import conversing
from fledge.sample.conversing import Spoken, answer_task, mark_own, read_text
from fledge.sample.rollouts import Rollouts, build_trajectories, join_groups, summarise_groups
from fledge.score.verifier import Verifier
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch
from fledge.tasks.answered import render_example
from fledge.tasks.conversed import Conversed
from fledge.tasks.examples import Example, Verdict
from fledge.tasks.named import load_task
from fledge.text.asking import encode_prompt, encode_reply
from fledge.text.tokenizer import train_tokenizer
from tests.subjects import learner, transformer

BYTES = train_tokenizer("bytes", [])


def make_policy(context: int = 640) -> TokenPolicy:
    return TokenPolicy(transformer(vocab_size=262, context=context), actions(BYTES))


class Reader:
    """Says, turn by turn, what the examples' answers say."""

    def __init__(self, answers: Sequence[str]) -> None:
        self.turns = [answer.split("\n") for answer in answers]
        self.said = [0] * len(answers)

    def __call__(
        self, policy: Any, prompts: Sequence[Sequence[int]], *, only: Sequence[int], **_: Any
    ) -> list[Completion]:
        given = []
        for row in only:
            tokens = [*BYTES.encode(self.turns[row][self.said[row]]), BYTES.end]
            self.said[row] += 1
            given.append(Completion(list(prompts[row]), tokens, [-0.5] * len(tokens), "stop"))
        return given


@pytest.mark.parametrize("name", ["household:2", "shell:4", "shop:3", "household:1,reverse"])
def test_a_conversation_is_token_by_token_its_rendering_in_one_piece(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = load_task(name)
    examples = [task.example(i, "train") for i in range(6)]
    answers = [str(example.answer) for example in examples]
    monkeypatch.setattr(conversing, "generate", Reader(answers))
    policy = make_policy(context=4096)
    said = answer_task(policy, BYTES, task, examples, max_new_tokens=40)
    for example, one in zip(examples, said, strict=True):
        ids, own = render_example(BYTES, example, task)
        last = max(i for i, mine in enumerate(own) if mine) + 1
        assert one.prompt + one.tokens == ids[:last]
        assert [False] * len(one.prompt) + mark_own(one) == own[:last]
        assert [p for p, mine in zip(one.logp, mark_own(one), strict=True) if not mine] == [
            0.0
        ] * mark_own(one).count(False)
        assert one.stopped
        assert read_text(BYTES, one) == example.answer
    marks = Verifier(task)(examples, said, [read_text(BYTES, one) for one in said])
    assert marks["exact_match"] == [1.0] * 6


def test_a_turn_that_is_cut_ends_the_conversation_and_so_does_a_full_context() -> None:
    task = load_task("household:1")
    assert isinstance(task, Conversed)
    examples = [task.example(i, "train") for i in range(4)]
    policy = make_policy()
    cut = answer_task(
        policy, BYTES, task, examples, max_new_tokens=1, generator=generator_for(0, "samples")
    )
    for one in cut:
        assert isinstance(one, Spoken)
        assert one.stopped == (one.tokens[-1] in BYTES.ends and len(one.said) == task.turns)
        assert one.out_of_turns == one.stopped
        if not one.stopped:
            assert one.own[-1]
    longest = max(len(encode_prompt(BYTES, e.prompt)) for e in examples)
    small = make_policy(context=longest + 20)
    full = answer_task(
        small, BYTES, task, examples, max_new_tokens=16, generator=generator_for(1, "samples")
    )
    for one in full:
        assert len(one.prompt) + len(one.tokens) <= longest + 20
        assert mark_own(one)[-1]


class Echo:
    """Two turns of one letter: the first is answered by itself doubled, and the score is 1 for aa,
    2 for bb and −1 for ab; a pure function, so that all conversations can be listed.
    """

    name, note, holds_out, can_fail, turns = "echo", None, True, False, 2

    def example(self, index: int, split: str) -> Example:
        return Example("?", None, "echo")

    def reply(self, example: Example, said: Sequence[str]) -> str | None:
        return None if len(said) == 2 else said[0] * 2

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Verdict]:
        worth = {"a\na": 1.0, "b\nb": 2.0, "a\nb": -1.0}
        return [Verdict(worth.get(said, 0.0), False) for said in completions]

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None: ...


A, B = BYTES.encode("ab")


def list_conversations() -> list[tuple[list[int], list[int], float]]:
    """Prompt, the policy's two letters, and their reward, for each of the four conversations."""
    worth = {(A, A): 1.0, (B, B): 2.0, (A, B): -1.0, (B, A): 0.0}
    return [
        (encode_prompt(BYTES, "?"), [x, y], worth[x, y])
        for x, y in itertools.product((A, B), (A, B))
    ]


def logits_of(policy: TokenPolicy, row: torch.Tensor) -> torch.Tensor:
    """After the row's last token."""
    return policy.network(row)[0, -1] @ policy.network.unembedding.T


def allow(*tokens: int) -> torch.Tensor:
    allowed = torch.zeros(262, dtype=torch.bool)
    allowed[list(tokens)] = True
    return allowed


def test_the_expected_gradient_is_that_of_the_expected_reward_by_enumeration() -> None:
    """By hand: J = Σ p(x) p(y | x, what x was answered) R(x, y), each p out of plain logits, and
    its slope by autograd; against Σ p · R · ∇ log π of the rows as they are trained on.
    """
    policy = make_policy(context=64)
    torch.manual_seed(0)
    for p in policy.network.parameters():
        torch.nn.init.normal_(p, std=0.3)
    parameters = [p for p in policy.network.parameters() if p.requires_grad]
    expected, rows, weights = torch.zeros(()), [], []
    for prompt, (x, y), reward in list_conversations():
        reply = encode_reply(BYTES, BYTES.decode([x]) * 2)
        # one letter a turn and its end, which is the only action there: its p is 1 by this rule
        first = torch.tensor([[*prompt]])
        second = torch.tensor([[*prompt, x, BYTES.end, *reply]])
        p = [
            torch.softmax(logits_of(policy, row)[[A, B]], -1)[0 if token == A else 1]
            for row, token in ((first, x), (second, y))
        ]
        chance = p[0] * p[1]
        expected = expected + chance * reward
        weights.append(float(chance.detach()) * reward)
        tokens = [x, BYTES.end, *reply, y]
        own = [True, False, *[False] * len(reply), True]
        rows.append(Spoken(prompt, tokens, [0.0] * len(tokens), "stop", own=own))
    exact = torch.autograd.grad(expected, parameters)

    batch = build_trajectories(rows, [0.0] * 4, [0] * 4)
    assert [batch.action[i][batch.chosen[i]].tolist() for i in range(4)] == [
        [x, y] for x, y in itertools.product((A, B), (A, B))
    ]
    bound = TokenPolicy(policy.network, allow(A, B))
    logp = bound.log_prob(batch.obs, batch.action, batch.chosen)
    loss = (logp.sum(1) * torch.tensor(weights)).sum()
    for ours, theirs in zip(torch.autograd.grad(loss, parameters), exact, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_turns_that_ran_out_are_truncated_and_an_end_of_the_world_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = load_task("shop:1")
    assert isinstance(task, Conversed)
    examples = [task.example(i, "train") for i in range(2)]
    idle = "\n".join(["back"] * task.turns)
    monkeypatch.setattr(conversing, "generate", Reader([str(examples[0].answer), idle]))
    won, late = answer_task(make_policy(4096), BYTES, task, examples, max_new_tokens=40)
    marks = Verifier(task)(examples, [won, late], [read_text(BYTES, one) for one in (won, late)])
    assert marks["exact_match"] == [1.0, 0.0]
    assert isinstance(late, Spoken)
    assert late.said == ["back"] * task.turns
    assert mark_own(late)[-1]
    batch = build_trajectories([won, late], marks["reward"], [0, 1])
    assert batch.truncated.any(1).tolist() == [False, True]
    assert batch.terminated.any(1).tolist() == [True, True]  # the verdict is final


def test_no_gradient_comes_from_what_was_answered() -> None:
    """Through an algorithm's own update, in which every row is learned from: what the network says
    has a slope in as many places as tokens were said by the policy, and in no other.
    """
    network = make_policy(64).network
    policy, task = TokenPolicy(network, allow(A, B, BYTES.end)), Echo()
    policy = policy.with_rule(Decoding(temperature=9.0))
    rollouts = Rollouts(
        policy, BYTES, task, Verifier(task, cut_reward=9.0), Stopwatch(), prompts_per_step=4,
        samples_per_prompt=4, max_new_tokens=2, seed=3,
    )  # fmt: skip
    groups = rollouts.draw()
    batch = join_groups(groups)
    said = [one for group in groups for one in group.completions]
    own, answered = (sum(mark_own(one).count(mine) for one in said) for mine in (True, False))
    assert answered > 0
    assert own == summarise_groups(groups)["tokens"] == int(batch.chosen.sum())
    slopes: list[torch.Tensor] = []

    def watch(_module: Any, _given: Any, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.register_hook(slopes.append)

    network.register_forward_hook(watch)
    right = batch.replace(reward=batch.terminated.float())
    once = STAR.replace(updates_per_step=1, epochs=1)
    ExpectationMaximisation(policy, learner(policy), Stopwatch(), settings=once).update(right)
    assert sum(int(slope.any(-1).sum()) for slope in slopes) == own


def test_rows_do_not_depend_on_which_of_them_are_asked_for() -> None:
    """So several ranks say what one says: each row's draws are its own."""
    task = load_task("shop:1")
    examples = [task.example(i, "train") for i in range(4)]
    policy = make_policy(context=2048)
    prompts = [encode_prompt(BYTES, example.prompt) for example in examples]

    def say(only: list[int] | None) -> tuple[list[list[int]], torch.Tensor]:
        generator = generator_for(5, "samples")
        said = conversing.answer_prompts(
            policy.with_rule(Decoding()), BYTES, prompts, task, examples, max_new_tokens=3,
            generator=generator, samples=2, only=only,
        )  # fmt: skip
        return [one.tokens for one in said], generator.get_state()

    whole, after = say(None)
    for only in ([0, 3], [1, 2]):
        part, state = say(only)
        assert part == [whole[2 * i + k] for i in only for k in (0, 1)]
        assert torch.equal(state, after)
