"""Rows that begin alike are measured behind what they begin with, read once, as each is alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fledge.evaluate.suites.beginnings import Row, find_beginning
from fledge.evaluate.suites.choosing import measure_rows
from fledge.models.language.transformer import Transformer
from fledge.models.language.transformer_config import TransformerConfig
from fledge.policy import TokenPolicy

EXAMPLES = 40  # tokens before every question
SIZES = [(6, 3), (6, 1), (6, 4), (3, 2), (3, 2), (9, 5)]  # of a question, and of an answer
NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "learned positions": {"learned_positions": True, "norm": "layer"},
    "a window": {"window": 16},
    "windows in turn": {"windows": (16, 0)},
    "scaled embedding": {"embedding_scale": 4.0, "qk_norm": True},
    "wide": {"width": 512},  # which reads a question's answers together
}


def make_policy(border: int | None = None, **fields: Any) -> TokenPolicy:
    sizes: dict[str, Any] = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "mlp_width": 48}
    config = TransformerConfig(vocab_size=50, context=64, **sizes | fields)
    network = Transformer(config, border, torch.Generator().manual_seed(3))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)  # far from uniform
    return TokenPolicy(network.eval().double())


def make_rows(border: bool = False) -> list[Row]:
    draw = torch.Generator().manual_seed(5)

    def some(number: int) -> list[int]:
        return torch.randint(2, 50, (number,), generator=draw).tolist()

    examples = some(EXAMPLES)
    if border:
        examples[20] = 1
    questions: dict[int, list[int]] = {}
    rows = []
    for size, own in SIZES:
        question = questions.setdefault(size, some(size))
        rows.append(Row([*examples, *question, *some(own)], EXAMPLES + size))
    other = some(12)
    return [*rows[:3], Row([*other, *some(2)], 12), *rows[3:]]  # one that begins otherwise


@torch.no_grad()
def measure_alone(policy: TokenPolicy, row: Row) -> float:
    tokens = torch.tensor([row.tokens])
    logp = policy.logits(policy.hidden(tokens[:, :-1])[0]).log_softmax(-1)
    return sum(float(logp[i - 1, row.tokens[i]]) for i in range(row.start, len(row.tokens)))


def count_read(policy: TokenPolicy, rows: list[Row]) -> tuple[list[float], int]:
    read: list[int] = []
    hook = policy.network.blocks[-1].attention.qkv.register_forward_pre_hook(
        lambda _, given: read.append(given[0].shape[0] * given[0].shape[1])
    )
    nats = [each for each, _ in measure_rows(policy, rows)]
    hook.remove()
    return nats, sum(read)


@pytest.mark.parametrize("which", NETWORKS)
def test_rows_behind_one_beginning_have_the_nats_of_each_alone(which: str) -> None:
    policy, rows = make_policy(**NETWORKS[which]), make_rows()
    number, behind = find_beginning(policy, rows)
    assert (number, behind) == (EXAMPLES, [True] * 3 + [False] + [True] * 3)
    nats, read = count_read(policy, rows)
    assert nats == pytest.approx([measure_alone(policy, row) for row in rows], abs=1e-5)
    # The beginning once, and one row that has another, of 13. The others with their padding, 6 of
    # up to 13; or the questions of 6, 3 and 9, and of each answer all but its last token.
    asked = sum({size for size, _ in SIZES}) + sum(own - 1 for _, own in SIZES)
    assert read == EXAMPLES + 13 + (asked if policy.shares_prompts else 6 * 13)
    assert policy.network.virtual is None
    assert count_read(policy, rows)[0] == nats  # nothing stays behind


def test_where_it_cannot_be_or_does_not_pay_rows_are_read_as_they_are() -> None:
    rows = make_rows(border=True)
    policy = make_policy(border=1)  # attention ends at it: the examples are two documents
    nats, read = count_read(policy, rows)
    assert nats == pytest.approx([measure_alone(policy, row) for row in rows], abs=1e-5)
    assert read >= sum(len(row.tokens) - 1 for row in rows)
    plain = make_policy()
    short = [Row(row.tokens[20:], row.start - 20) for i, row in enumerate(make_rows()) if i != 3]
    assert find_beginning(plain, short)[0] == 0
    assert find_beginning(plain, make_rows()[:1])[0] == 0
    assert find_beginning(plain, [])[0] == 0

    class Derived(Transformer):
        pass

    plain.network.__class__ = Derived
    assert find_beginning(plain, make_rows())[0] == 0
