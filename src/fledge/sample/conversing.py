"""Conversations of a policy with tasks that answer: turn by turn, all of them side by side, each in
the end one completion.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch

from fledge.engine.engine import Engine
from fledge.engine.generation import Generation
from fledge.engine.request import Completion, Ended
from fledge.heap import trim_heap
from fledge.policy import TokenPolicy
from fledge.sample.generate import SLOTS, Answers, generate
from fledge.tasks.conversed import Conversed, Unanswered, count_turns, in_one_line, join_turns
from fledge.tasks.examples import Verdict
from fledge.tasks.named import Example, Task
from fledge.text.asking import encode_prompt, encode_reply
from fledge.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Spoken(Completion):
    """A conversation behind its first prompt. `tokens` and `logp` run through all of it; `own` says
    which of them the policy said, and what was answered it never did. `said`: its turns.

    It stopped where the task said that it is over, or where it was `out_of_turns`: then it is
    judged by how far it came, and its row is truncated. It was cut where a turn was, or where the
    context had no room for another. `failed`: the verdict where a user's task failed to answer.
    """

    own: list[bool] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    out_of_turns: bool = False
    failed: Verdict | None = None


def find_failed(completion: Completion) -> Verdict | None:
    """The verdict on a conversation that its task failed to go on with."""
    return completion.failed if isinstance(completion, Spoken) else None


def mark_own(completion: Completion) -> list[bool]:
    """Which of its tokens the policy chose: all, but for what was answered in a conversation."""
    return completion.own if isinstance(completion, Spoken) else [True] * len(completion.tokens)


def is_truncated(completion: Completion) -> bool:
    """Whether time or length ran out, or its task failed, before it had ended."""
    out = isinstance(completion, Spoken) and completion.out_of_turns
    return out or find_failed(completion) is not None or not completion.stopped


def read_text(tokenizer: Tokenizer, completion: Completion) -> str:
    """What a judge reads of it."""
    if isinstance(completion, Spoken):
        return join_turns(completion.said)
    return tokenizer.decode(completion.tokens)


def answer_task(
    policy: TokenPolicy,
    tokenizer: Tokenizer,
    task: Task,
    examples: Sequence[Example],
    *,
    max_new_tokens: int,
    generator: torch.Generator | None = None,
    samples: int = 1,
) -> list[Completion]:
    """`answer_prompts` to the examples' own prompts."""
    prompts = [encode_prompt(tokenizer, example.prompt) for example in examples]
    return answer_prompts(
        policy, tokenizer, prompts, task, examples, max_new_tokens=max_new_tokens,
        generator=generator, samples=samples,
    )  # fmt: skip


def answer_prompts(
    policy: TokenPolicy,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    task: Task,
    examples: Sequence[Example],
    *,
    max_new_tokens: int,
    generator: torch.Generator | None = None,
    samples: int = 1,
    engine: Callable[[Sequence[Sequence[int]]], Answers] | None = None,
    only: Collection[int] | None = None,
) -> list[Completion]:
    """`samples` completions of each prompt, side by side, as `generate` makes them; conversations
    where the task answers and the examples are given. max_new_tokens: of a turn. engine: of such
    prompts, whoever answers them; by default an engine in this process.
    """
    if not examples or not isinstance(task, Conversed) or count_turns(task) == 1:
        return generate(
            policy, prompts, max_new_tokens=max_new_tokens, stop=tokenizer.ends,
            generator=generator, samples=samples, only=only,
            engine=None if engine is None else engine(prompts),
        )  # fmt: skip
    wanted = range(len(prompts)) if only is None else sorted(only)
    rows = {
        number * samples + i: Talk(list(prompts[number]))
        for number in wanted
        for i in range(samples)
    }
    # Drawn before anything is said, so that every rank takes as many whatever its rows come to.
    seeds = torch.randint(2**62, (task.turns,), generator=generator).tolist()
    talking, context = set(rows), policy.network.config.context
    engine = engine or GrowingEngine(policy, min(SLOTS, len(rows)), max_new_tokens)
    for seed in seeds:
        if not talking:
            break
        asked = {row: rows[row].prompt + rows[row].tokens for row in sorted(talking)}
        waiting = [asked.get(row, [0]) for row in range(len(prompts) * samples)]
        said = generate(
            policy, waiting, max_new_tokens=max_new_tokens, stop=tokenizer.ends,
            generator=torch.Generator().manual_seed(seed), engine=engine(list(asked.values())),
            only=list(asked),
        )  # fmt: skip
        for row, turn in zip(asked, said, strict=True):
            talk, example = rows[row], examples[row // samples]
            text, turns = tokenizer.decode(turn.tokens), count_turns(task, example)
            # Of a mixture a part may ask for a single text, of which no line break is lost.
            talk.add_turn(turn, text if turns == 1 else in_one_line(text))
            reply = talk.hear(task, example) if turn.stopped else None
            talk.out_of_turns = reply is not None and len(talk.said) == turns
            if turn.stopped and (reply is None or talk.out_of_turns):
                talk.ended = "stop"
            if (
                reply is None
                or talk.out_of_turns
                or not talk.add_reply(encode_reply(tokenizer, reply), context)
            ):
                talking.discard(row)
    return [talk.finish() for talk in rows.values()]


class GrowingEngine:
    """An engine for prompts that grow turn by turn. It is laid out anew, with room for twice as
    much, where they have outgrown it, and keeps what it has read of every row for the next turn.
    """

    def __init__(
        self, policy: TokenPolicy, rows: int, max_new_tokens: int, precision: Generation = "fp32"
    ) -> None:
        """rows: side by side. max_new_tokens: of a turn."""
        self.policy, self.rows, self.room = policy, rows, max_new_tokens
        self.precision: Generation = precision
        self._engine: Engine | None = None

    def __call__(self, prompts: Sequence[Sequence[int]]) -> Engine:
        needed, context = max(map(len, prompts)) + self.room, self.policy.network.config.context
        if self._engine is None or self._engine.positions < min(needed, context):
            self._engine = None
            trim_heap()
            self._engine = Engine(
                self.policy, slots=self.rows, positions=min(2 * needed, context),
                precision=self.precision, prefix_cache_rows=self.rows,
            )  # fmt: skip
        return self._engine


@dataclass
class Talk:
    """A conversation that goes on."""

    prompt: list[int]
    tokens: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    own: list[bool] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    ended: Ended = "length"
    out_of_turns: bool = False
    failed: Verdict | None = None
    version: int = 0

    def add_turn(self, turn: Completion, text: str) -> None:
        self.tokens += turn.tokens
        self.logp += turn.logp
        self.own += [True] * len(turn.tokens)
        self.said.append(text)
        self.version = turn.version

    def hear(self, task: Conversed, example: Example) -> str | None:
        """What is answered to the last turn; nothing where the task fails on it."""
        try:
            return task.reply(example, self.said)
        except Unanswered as failure:
            self.failed = failure.verdict
            return None

    def add_reply(self, reply: Sequence[int], context: int) -> bool:
        """Whether there was room for it and for one token more."""
        if len(self.prompt) + len(self.tokens) + len(reply) >= context:
            return False
        self.tokens += reply
        self.logp += [0.0] * len(reply)
        self.own += [False] * len(reply)
        return True

    def finish(self) -> Spoken:
        return Spoken(
            self.prompt, self.tokens, self.logp, self.ended, version=self.version, own=self.own,
            said=self.said, out_of_turns=self.out_of_turns, failed=self.failed,
        )  # fmt: skip
