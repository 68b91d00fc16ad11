"""Training codes and their prior: micro-batches, resuming, both parts of a run, codes in use."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fledge.algorithms.images.vq import VQ
from fledge.images.digits import load_digits
from fledge.images.pictures import Pictures, PictureSet
from fledge.learner import Learner
from fledge.sample.pictures import PictureBatches
from fledge.schedule import Schedule
from fledge.stopwatch import Stopwatch

DIGITS: PictureSet = load_digits().take(slice(0, 24))
BATCH: Pictures = DIGITS.rows


def small(**changes: Any) -> VQ.Settings:
    usual = VQ.Settings(codes=8, code_width=4, channels=8, prior_layers=1, prior_width=16)
    return usual.replace(prior_heads=2, **changes)


def make_learner(module: nn.Module, rows: int | None = None, steps: int = 8) -> Learner:
    return Learner(module, Schedule(5e-3, steps), clip=0, rows_per_micro_batch=rows)


def make(settings: VQ.Settings, rows: int | None = None, steps: int = 8) -> VQ:
    torch.manual_seed(1)
    model = VQ.build(settings, DIGITS.shape)
    learner = partial(make_learner, rows=rows, steps=steps)
    return VQ(settings, model, learner, 5, Stopwatch())


def weights_of(algorithm: VQ) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in algorithm.model.state_dict().items()}


@pytest.mark.parametrize("quantiser", ["nearest", "rounded"])
def test_the_first_steps_are_the_autoencoder_s_and_the_others_the_prior_s(quantiser: str) -> None:
    algorithm = make(small(quantiser=quantiser))
    for step in range(8):
        before = weights_of(algorithm)
        algorithm.update(BATCH)
        after = weights_of(algorithm)
        changed = {name.split(".")[0] for name in after if not after[name].equal(before[name])}
        if step < 6:
            assert {"encoder", "decoder", "to_feature"} <= changed
            assert "prior" not in changed
        else:
            assert changed == {"prior"}


@pytest.mark.parametrize("quantiser", ["nearest", "rounded"])
def test_weights_are_the_same_in_one_piece_or_in_five(quantiser: str) -> None:
    """AdamW divides by √v: of a gradient near 0 rounding decides a step's direction, so that the
    bound is one of the first step's size, 5e-3, and the mean far below it.
    """
    whole, cut = (make(small(quantiser=quantiser), rows) for rows in (None, 5))
    for _ in range(8):
        said, said_too = whole.update(BATCH), cut.update(BATCH)
        assert said["loss"] == pytest.approx(said_too["loss"], rel=1e-3)
    for a, b in zip(weights_of(whole).values(), weights_of(cut).values(), strict=True):
        assert float((a.float() - b.float()).abs().mean()) < 1e-4


@pytest.mark.parametrize("stop", [2, 6, 7])
def test_a_run_that_goes_on_from_its_state_ends_with_the_same_bits(stop: int) -> None:
    """In the first part, between the two, and in the second."""
    straight, first, second = (make(small()) for _ in range(3))
    for _ in range(8):
        straight.update(BATCH)
    for _ in range(stop):
        first.update(BATCH)
    second.load_state_dict(first.state_dict())
    for _ in range(8 - stop):
        second.update(BATCH)
    for name, x in weights_of(straight).items():
        assert torch.equal(x, weights_of(second)[name]), name


def test_a_row_of_the_prior_is_a_label_and_the_codes() -> None:
    algorithm = make(small(prior_dropout=0.0))
    rows = algorithm.write_rows(BATCH)
    assert torch.equal(rows.obs[:, 0], 8 + BATCH.label)
    assert torch.equal(rows.obs[:, 1:], algorithm.model.encode(BATCH.x))
    assert torch.equal(rows.obs[:, 1:], rows.action)
    unknown = BATCH.replace(label=torch.full_like(BATCH.label, -1))
    assert set(algorithm.write_rows(unknown).obs[:, 0].tolist()) == {8 + 10}


def test_dropped_codes_are_read_as_others_and_told_as_they_are() -> None:
    """Of 384 codes, half are drawn anew and 1 in 8 of those is the same: 168 differ, give or take
    4.4 deviations of 9.7 (by chance once in 10⁵); in the next step others.
    """
    algorithm = make(small(prior_dropout=0.5))
    rows, again = algorithm.write_rows(BATCH), algorithm.write_rows(BATCH)
    codes = algorithm.model.encode(BATCH.x)
    assert torch.equal(rows.action, codes)
    assert torch.equal(rows.obs[:, 0], 8 + BATCH.label)
    assert int((rows.obs[:, 1:] != codes).sum()) == pytest.approx(168, abs=43)
    assert torch.equal(rows.obs, again.obs)
    algorithm.prior.learner.steps += 1
    assert not torch.equal(rows.obs, algorithm.write_rows(BATCH).obs)


@pytest.mark.slow
@pytest.mark.parametrize("quantiser", ["nearest", "rounded"])
def test_codes_are_in_use_on_the_digits(quantiser: str) -> None:
    """Nine in ten of 64, after 400 steps."""
    settings = VQ.Settings(quantiser=quantiser, channels=16, autoencoder_share=0.9)
    digits = load_digits()
    algorithm = make(settings, steps=445)
    batches = PictureBatches(digits, 64, 0)
    for _ in range(400):
        algorithm.update(next(batches))
    codes = algorithm.model.encode(digits.rows.x)
    assert codes.unique().numel() >= 0.9 * 64
    assert algorithm.summarise(digits)["codes_in_use"] == codes.unique().numel() / 64


def test_it_learns_the_digits() -> None:
    """Both parts, in 60 steps each: the distortion falls by 30 nats, and then the rate by 5."""
    algorithm = make(small(codes=16, autoencoder_share=0.5), steps=120)
    batches = PictureBatches(load_digits(), 32, 0)
    said = [algorithm.update(next(batches)) for _ in range(120)]
    assert said[59]["distortion"] < said[0]["distortion"] - 30
    assert said[-1]["rate"] < said[60]["rate"] - 5


@pytest.mark.parametrize("levels", [(1, 5), (), (300, 300)])
def test_levels_that_make_no_codes_are_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="give numbers of 2 or more"):
        VQ.Settings(levels=levels)
