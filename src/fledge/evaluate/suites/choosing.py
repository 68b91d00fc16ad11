"""Answers chosen by their likelihood: log π of every choice behind its question, and which choice
that makes the answer, under four rules.

What most begin with, such as examples, is computed once, and behind it what a question's choices
have in common (a network that `shares_prompts`); then padding costs attention alone. Questions of
like length go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fledge.evaluate.suites.beginnings import Row, find_beginning
from fledge.evaluate.suites.questions import ChoiceQuestion
from fledge.micro_batches import cut_in_order
from fledge.models.language.virtual_tokens import read_behind
from fledge.policy import TokenPolicy
from fledge.text.asking import encode_prompt
from fledge.text.tokenizer import Tokenizer
from fledge.trajectories import from_rows

# Tokens of a forward pass. What a question's choices share is counted each time; what all rows are
# read behind is not, and has its keys for each of them.
AT_A_TIME = 2048
KEYS = 16  # tokens whose keys and values in one layer take what a token that is read takes
CHUNK = 512  # tokens whose logits exist at a time
LIKE = 2  # tokens by which the longest of what follows may differ before the beginning counts
RULES = ("raw", "byte", "token", "pmi")


@dataclass(frozen=True)
class Chosen:
    """Of one question: the nats of each choice, log π(choice | context), and log π(choice |
    neutral); how many tokens and bytes each has.
    """

    nats: list[float]
    neutral: list[float]
    tokens: list[int]
    bytes: list[int]

    def scores(self, rule: str) -> list[float]:
        """What the answer is the largest of. raw: Σ log π; byte, token: a byte, or a token, of the
        choice (Brown et al. 2020, §2.4); pmi: log π(c | q) − log π(c) (Holtzman et al. 2021,
        eq. 3).
        """
        if rule == "raw":
            return self.nats
        if rule == "pmi":
            return [a - b for a, b in zip(self.nats, self.neutral, strict=True)]
        sizes = self.bytes if rule == "byte" else self.tokens
        return [a / max(1, n) for a, n in zip(self.nats, sizes, strict=True)]

    def answer(self, rule: str) -> int:
        """The first of the best."""
        scores = self.scores(rule)
        return scores.index(max(scores))


def encode_pair(tokenizer: Tokenizer, context: str, continuation: str, most: int) -> Row:
    """Both together, and where the continuation begins: blanks at the end of the context belong to
    it, as tokens have them. More than `most` + 1 tokens lose their first ones.
    """
    blanks = len(context) - len(context.rstrip())
    if blanks:
        context, continuation = context[:-blanks], context[-blanks:] + continuation
    whole = tokenizer.open_text(context + continuation)
    start = len(tokenizer.open_text(context)) if context else len(tokenizer.open_text(""))
    # A continuation has one token or more, and something foretells its first.
    if start >= len(whole):
        start = len(whole) - 1
    if start == 0:
        whole, start = [*tokenizer.opening, *whole], len(tokenizer.opening)
    gone = max(0, len(whole) - (most + 1))
    return Row(whole[gone:], max(1, start - gone))


def encode_turn(tokenizer: Tokenizer, context: str, continuation: str, most: int) -> Row:
    """The context as a user's turn, the continuation as the beginning of the answer."""
    before = encode_prompt(tokenizer, context.strip())
    whole = [*before, *tokenizer.encode(continuation.strip())]
    gone = max(0, len(whole) - (most + 1))
    return Row(whole[gone:], max(1, len(before) - gone))


def arrange(rows: Sequence[Row]) -> list[int]:
    """The order in which they are computed: rows with the same beginning side by side, by what
    follows it first, which there are several of, and then by its own length; the longest first,
    which is where memory ends. Sorted by whole rows, a question's choices would be torn apart.
    """
    longest: dict[tuple[int, ...], int] = {}
    for row in rows:
        before = tuple(row.tokens[: row.start])
        longest[before] = max(longest.get(before, 0), len(row.tokens) - row.start)

    def key(i: int) -> tuple[int, int, tuple[int, ...]]:
        before = tuple(rows[i].tokens[: rows[i].start])
        return -(longest[before] // LIKE), -len(before), before

    return sorted(range(len(rows)), key=key)


@torch.no_grad()
def measure_rows(
    policy: TokenPolicy, rows: Sequence[Row], at_a_time: int = AT_A_TIME
) -> list[tuple[float, bool]]:
    """Of each row Σ log π of its tokens from `start` on, and whether each of them is the likeliest
    one where it stands.  [N] -> [N], in their order.
    """
    number, behind = find_beginning(policy, rows)
    if not number:
        return _measure(policy, rows, at_a_time)
    first = torch.tensor(rows[behind.index(True)].tokens[:number])
    with read_behind(policy.network, first.to(policy.network.unembedding.device)):
        cut = [row.cut(number) for row, own in zip(rows, behind, strict=True) if own]
        those = iter(_measure(policy, cut, at_a_time, number))
    others = [row for row, own in zip(rows, behind, strict=True) if not own]
    these = iter(_measure(policy, others, at_a_time))
    return [next(those if own else these) for own in behind]


def _measure(
    policy: TokenPolicy, rows: Sequence[Row], at_a_time: int, before: int = 0
) -> list[tuple[float, bool]]:
    """before: tokens that are read already, whose keys each row has for itself meanwhile."""
    order = arrange(rows)
    measured = [(0.0, False)] * len(rows)
    device = policy.network.unembedding.device
    counted = (max(len(rows[i].tokens), before // KEYS) for i in order)
    for part in cut_in_order(counted, at_a_time):
        here = order[part]
        chosen = [
            [False] * rows[i].start + [True] * (len(rows[i].tokens) - rows[i].start) for i in here
        ]
        batch = from_rows([rows[i].tokens for i in here], chosen).to(device)
        hidden = policy.hidden(batch.obs[:, :-1], batch.chosen)[batch.chosen]  # [N, D]
        action, said, best = batch.action[batch.chosen], [], []
        for a in range(0, len(action), CHUNK):
            logp = policy.logits(hidden[a : a + CHUNK]).float().log_softmax(-1)
            own = action[a : a + CHUNK]
            said.append(logp.gather(-1, own[:, None])[:, 0].double())
            best.append(logp.argmax(-1) == own)
        row = batch.chosen.nonzero()[:, 0]  # of each token
        sums = torch.zeros(len(here), dtype=torch.float64, device=device)
        sums.index_add_(0, row, torch.cat(said))
        missed = torch.zeros_like(sums).index_add_(0, row, (~torch.cat(best)).double())
        for i, nats, others in zip(here, sums.tolist(), missed.tolist(), strict=True):
            measured[i] = (nats, others == 0)
    return measured


def choose(
    policy: TokenPolicy,
    tokenizer: Tokenizer,
    questions: Sequence[ChoiceQuestion],
    befores: Sequence[str],
    *,
    chat: bool = False,
    pmi: bool = True,
    at_a_time: int = AT_A_TIME,
) -> list[Chosen]:
    """befores: what stands before each question, such as examples. chat: contexts as a user's turn,
    by the chat template. pmi: whether the neutral context is asked too; else its nats are 0.
    """
    most = policy.network.config.context
    encode = encode_turn if chat else encode_pair
    rows: list[Row] = []
    for question, before in zip(questions, befores, strict=True):
        pairs = zip(question.contexts, question.continuations, strict=True)
        rows += [encode(tokenizer, before + c, said, most) for c, said in pairs]
    neutral: dict[tuple[str, str], Row] = {}
    if pmi:
        for question in questions:
            for said in question.continuations:
                key = (question.neutral, said)
                neutral[key] = neutral.get(key) or encode(tokenizer, *key, most)
    measured = measure_rows(policy, [*rows, *neutral.values()], at_a_time)
    nats = [each for each, _ in measured]
    alone = dict(zip(neutral, nats[len(rows) :], strict=True))
    chosen, place = [], 0
    for question in questions:
        number = len(question.choices)
        own = slice(place, place + number)
        place += number
        chosen.append(
            Chosen(
                nats[own],
                [alone.get((question.neutral, said), 0.0) for said in question.continuations],
                [len(row.tokens) - row.start for row in rows[own]],
                [len(choice.encode()) for choice in question.choices],
            )
        )
    return chosen
