"""Masked language modelling and replaced-token detection: the losses by hand, the same however rows
are divided, and something small is learned.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from fledge.algorithms.likelihood.replaced import WEIGHT, fill_rows
from fledge.sample.masked_rows import MaskedRows
from tests.every_algorithm import ALL_ROWS, MASKED, Case
from tests.subjects import figures_close

EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}


def say(logits: list[float], token: int) -> float:
    """−log softmax(logits)[token], written out."""
    return math.log(sum(math.exp(z) for z in logits)) - logits[token]


def test_the_loss_is_the_mean_over_masked_tokens_and_the_mean_over_pairs() -> None:
    case = MASKED["masked"](ALL_ROWS, None)
    network, rows = case.algorithm.model.network, case.batch
    tokens, right, pairs = [], 0, []
    for i, size in enumerate(rows.size.tolist()):
        one = slice(i, i + 1)
        hidden = network(rows.tokens[one, :size], None, rows.types[one, :size])
        logits = network.masked_logits(hidden)[0].tolist()
        for t in rows.chosen[i].nonzero()[:, 0].tolist():
            tokens.append(say(logits[t], int(rows.target[i, t])))
            right += max(range(11), key=logits[t].__getitem__) == int(rows.target[i, t])
        if int(rows.another[i]) >= 0:
            pairs.append(say(network.next_logits(hidden)[0].tolist(), int(rows.another[i])))
    said = case.algorithm.update(rows)
    masked, following = sum(tokens) / len(tokens), sum(pairs) / len(pairs)
    assert said["masked_nats"] == pytest.approx(masked, abs=1e-10)
    assert said["next_nats"] == pytest.approx(following, abs=1e-10)
    assert said["loss"] == pytest.approx(masked + following, abs=1e-10)
    assert said["masked_accuracy"] == pytest.approx(right / len(tokens))
    assert said["tokens"] == int(rows.size.sum())


def test_what_is_replaced_is_told_apart_at_every_token() -> None:
    case = MASKED["replaced"](ALL_ROWS, None)
    model, rows = case.algorithm.model, case.batch
    filler, nats, tokens, replaced = [], 0.0, 0, 0
    for i, size in enumerate(rows.size.tolist()):
        one = slice(i, i + 1)
        hidden = model.generator(rows.tokens[one, :size], None, rows.types[one, :size])
        logits = model.generator.masked_logits(hidden)[0].tolist()
        filled = rows.target[one, :size].clone()
        for t in rows.chosen[i].nonzero()[:, 0].tolist():
            filler.append(say(logits[t], int(rows.target[i, t])))
            shares = torch.tensor(logits[t]).double().exp()
            shares[:2] = 0  # special
            summed, draw = 0.0, float(rows.draw[i, t]) * float(shares.sum())
            for token, share in enumerate(shares.tolist()):
                summed += share
                if draw < summed:
                    filled[0, t] = token
                    break
        hidden = model.network(filled, None, rows.types[one, :size])
        for z, own, true in zip(
            model.network.replaced_logits(hidden)[0].tolist(), filled[0].tolist(),
            rows.target[i, :size].tolist(), strict=True,
        ):  # fmt: skip
            p = 1 / (1 + math.exp(-z))
            nats -= math.log(p if own != true else 1 - p)
            tokens += 1
            replaced += own != true
    said = case.algorithm.update(rows)
    assert said["masked_nats"] == pytest.approx(sum(filler) / len(filler), abs=1e-10)
    assert said["replaced_nats"] == pytest.approx(nats / tokens, abs=1e-10)
    assert said["replaced_share"] == pytest.approx(replaced / tokens)
    whole = sum(filler) / len(filler) + WEIGHT * nats / tokens
    assert said["loss"] == pytest.approx(whole, abs=1e-8)


@pytest.mark.parametrize("name", MASKED)
def test_the_gradient_is_the_same_in_pieces_of_any_size(name: str) -> None:
    whole, figures = MASKED[name](ALL_ROWS, None).gradient()
    assert whole.abs().max() > 1e-3
    for rows_per_micro_batch in (4, 5, 1):
        pieces, same = MASKED[name](ALL_ROWS, rows_per_micro_batch).gradient()
        torch.testing.assert_close(pieces, whole, **EXACT)
        figures_close(same, figures, 1e-9)


@pytest.mark.parametrize("name", MASKED)
def test_padding_and_what_stands_under_a_mask_are_not_read(name: str) -> None:
    """Behind a row's end anything may stand; and of the masked tokens' truth, only the loss hears.
    Of replaced tokens it is what the generator is told, so the padding alone is spoiled.
    """
    clean, figures = MASKED[name](ALL_ROWS, None).gradient()
    case = MASKED[name](ALL_ROWS, None)
    rows: MaskedRows = case.batch
    behind = torch.arange(11) >= rows.size[:, None]
    case.batch = rows.replace(
        tokens=rows.tokens.masked_fill(behind, 1), target=rows.target.masked_fill(behind, 7),
        types=rows.types.masked_fill(behind, 1), draw=rows.draw.masked_fill(behind, math.nan),
    )  # fmt: skip
    dirty, same = case.gradient()
    torch.testing.assert_close(dirty, clean, **EXACT)
    figures_close(same, figures, 1e-9)


def test_a_token_is_filled_in_as_often_as_it_is_likely() -> None:
    """10,000 draws from three shares: 4.9 standard deviations, one failure in a million."""
    draws, shares = 10_000, torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    zeros = torch.zeros(1, draws, dtype=torch.long)
    rows = MaskedRows(
        zeros, zeros, zeros == 0, zeros, torch.tensor([draws]), torch.tensor([-1]),
        torch.rand(1, draws, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    )  # fmt: skip
    said = fill_rows(rows, shares.log().float().expand(draws, 3))
    for token, share in enumerate(shares.tolist()):
        deviation = math.sqrt(share * (1 - share) / draws)
        assert abs(float((said == token).double().mean()) - share) < 4.9 * deviation


@pytest.mark.parametrize("name", MASKED)
def test_it_learns_and_goes_on_bit_for_bit(name: str) -> None:
    def begin() -> Case:
        case = MASKED[name](ALL_ROWS, 5)
        del case.learner.optimizer.step  # the real one again
        return case

    straight, stopped = begin(), begin()
    said = [straight.algorithm.update(straight.batch) for _ in range(24)]
    for _ in range(3):
        stopped.algorithm.update(stopped.batch)
    resumed = begin()
    resumed.algorithm.load_state_dict(copy.deepcopy(stopped.algorithm.state_dict()))
    again = [resumed.algorithm.update(resumed.batch) for _ in range(21)]
    assert again == said[3:]
    figure = "masked_nats" if name == "masked" else "replaced_nats"
    assert said[-1][figure] < 0.8 * said[0][figure]
