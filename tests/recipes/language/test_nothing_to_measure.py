"""A mean over nothing is no number: figures are left out or refused, where a 0 would be a perfect
score.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fledge.algorithms.parts.action_table import ActionTable, Writing
from fledge.errors import UserError
from fledge.evaluate.distance import measure_kl
from fledge.evaluate.likelihood import measure_conversation_loss, measure_held_out_loss
from fledge.evaluate.preferences import measure_scale
from fledge.text.documents import Document
from fledge.text.shard_writer import write_shards
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import train_tokenizer
from fledge.trajectories import from_rows
from fledge.worlds.world import Choices
from tests.subjects import policy_of, transformer

ROWS = [([2, 3, 4], [False, False, False]), ([5, 6], [False, False])]


def test_a_loss_over_no_token_is_refused() -> None:
    policy = policy_of(transformer())
    with pytest.raises(UserError, match="none of the 2 held-out rows"):
        measure_conversation_loss(policy, ROWS)
    batch = from_rows([ids for ids, _ in ROWS], [own for _, own in ROWS])
    with pytest.raises(UserError, match="nothing to compare"):
        measure_kl(policy, policy, [batch])


def test_a_table_that_was_taught_nothing_has_no_error() -> None:
    table = ActionTable(Choices((3,)), Choices((2,)))
    writing = Writing(table)
    assert "error" not in writing.figures()
    writing.teach(0, 0, 1.5)
    assert writing.figures()["error"] == 1.5


@pytest.mark.parametrize("score", [0.0, 0.3, -1e5, 1e-9])
def test_a_reward_model_that_says_one_thing_has_no_scale_and_one_that_says_two_has_one(
    score: float,
) -> None:
    assert measure_scale(torch.full((64,), score))["std"] == 1.0
    two = score + torch.tensor([-1.0, 1.0]) * max(1e-7, 1e-3 * abs(score))
    assert measure_scale(two)["std"] == pytest.approx(
        2**0.5 * max(1e-7, 1e-3 * abs(score)), rel=0.01
    )


def test_a_few_windows_speak_for_the_whole_text(tmp_path: Path) -> None:
    """Half of the text is a's, half b's, and the loss over 8 windows is the mean of both: of 0.5
    within the windows at borders.
    """
    tokenizer = train_tokenizer("bytes", [])

    def loss(text: str, rows: int) -> float:
        folder = tmp_path / f"{len(text)}{text[0]}{text[-1]}"
        write_shards(folder, [("validation", Document(text, "one"))], tokenizer)
        return measure_held_out_loss(
            policy, TokenStream(folder, "validation"), tokenizer, 16, rows
        )[0]

    policy = policy_of(transformer(vocab_size=tokenizer.vocab_size, context=16))
    alone = [loss(letter * 1601, 8) for letter in "ab"]
    assert abs(alone[0] - alone[1]) > 0.1
    assert loss("a" * 800 + "b" * 801, 8) == pytest.approx(
        sum(alone) / 2, abs=abs(alone[0] - alone[1]) / 16
    )
    assert loss("a" * 800 + "b" * 801, 1000) == pytest.approx(
        sum(alone) / 2, abs=abs(alone[0] - alone[1]) / 16
    )
