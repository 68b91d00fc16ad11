"""The next frame by a flow: what it is before it has learned, its loss by hand, and how a step is
cut.
"""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import pytest
import torch

from fledge.algorithms.images.next_frame import NextFrame
from fledge.algorithms.images.pretext import noise_for
from fledge.errors import UserError
from fledge.images.films import FilmSet, make_films
from fledge.images.pictures import centre
from fledge.models.images.picture_model import load_picture_model, save_picture_model
from fledge.stopwatch import Stopwatch
from tests.subjects import Gradients, learner, seeded


def films(rows: int = 6, frames: int = 5, side: int = 8, acted: bool = True) -> FilmSet:
    random = seeded(0)
    x = torch.randint(0, 256, (rows, frames, 3, side, side), generator=random).to(torch.uint8)
    action = torch.randint(0, 3, (rows, frames - 1), generator=random)
    return make_films(x, action, None, actions=("a", "b", "c") if acted else ())


def make(rows_per_micro_batch: int | None = None, **fields: Any) -> NextFrame:
    settings = NextFrame.Settings(width=8, layers=1, patch=2, **fields)
    torch.manual_seed(0)
    model = NextFrame.build_for(settings, films())
    for part in model.parameters():  # what begins as nothing would show no gradient
        torch.nn.init.normal_(part, std=0.2)
    make_learner = partial(learner, rows_per_micro_batch=rows_per_micro_batch)
    return NextFrame(settings, model, make_learner, 0, Stopwatch())


@pytest.mark.parametrize("steps", [1, 3])
def test_untrained_it_copies_the_frame_before(steps: int) -> None:
    settings = NextFrame.Settings(width=8, layers=1, patch=2, flow_steps=steps)
    model = NextFrame.build_for(settings, films())
    x = films().rows.frames[:, 0]
    assert torch.equal(model.imagine(x, torch.tensor([0, 1, 2, 0, 1, 2]), seeded(0)), x)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_flow_ends_at_what_is_foretold(steps: int) -> None:
    """Whatever the noise was: x_1 = x̂, where x̂ is the same all along."""
    model = make(flow_steps=steps).model
    x = films().rows.frames
    model.foretell = lambda noised, t, before, action: centre(x[:, 3], 256)
    assert torch.equal(model.imagine(x[:, 0], films().rows.action[:, 0], seeded(1)), x[:, 3])


def test_its_loss_is_that_of_the_formula() -> None:
    algorithm, rows = make(), films().rows
    noised = algorithm.noise(rows, noise_for(0, algorithm.learner))
    total = copied = 0.0
    with torch.no_grad():
        for b in range(len(rows)):
            before, after = (centre(each[b : b + 1], 256) for each in (noised.before, noised.after))
            at = [t for t in range(4) if torch.equal(rows.frames[b, t], noised.before[b])]
            assert len(at) == 1
            assert torch.equal(rows.frames[b, at[0] + 1], noised.after[b])
            assert noised.action[b] == rows.action[b, at[0]]
            t = float(noised.t[b])
            x = (1 - t) * noised.noise[b : b + 1] + t * after
            said = algorithm.model.foretell(
                x, noised.t[b : b + 1], before, noised.action[b : b + 1]
            )
            total += float(((said - after) ** 2).mean()) / len(rows)
            copied += float(((before - after) ** 2).mean()) / len(rows)
    figures = algorithm.update(rows)
    assert figures["loss"] == pytest.approx(total, rel=1e-5)
    assert figures["copied"] == pytest.approx(copied, rel=1e-5)


def test_gradient_is_the_same_in_one_or_three_pieces() -> None:
    taken = []
    for rows in (None, 2):
        algorithm = make(rows_per_micro_batch=rows)
        gradients = Gradients(algorithm.learner)
        algorithm.update(films().rows)
        taken.append(gradients.flat)
    assert taken[0].abs().max() > 1e-3
    torch.testing.assert_close(taken[1], taken[0], atol=1e-5, rtol=1e-4)


def test_it_goes_on_with_the_same_bits() -> None:
    rows, whole, file = films().rows, make(), io.BytesIO()
    whole.update(rows)
    torch.save(whole.state_dict(), file)
    later = [whole.update(rows) for _ in range(2)]
    file.seek(0)
    again = make()
    for part in again.model.parameters():
        torch.nn.init.constant_(part, 0.5)
    again.load_state_dict(torch.load(file))
    assert [again.update(rows) for _ in range(2)] == later


def test_what_is_done_and_what_was_before_both_count() -> None:
    model, rows = make().model, films().rows
    said = model.imagine(rows.frames[:, 0], rows.action[:, 0], seeded(0))
    other = model.imagine(rows.frames[:, 0], (rows.action[:, 0] + 1) % 3, seeded(0))
    assert (said != other).flatten(1).any(1).all()


def test_it_is_read_as_it_was_written(tmp_path) -> None:
    model, rows = make().model, films().rows
    save_picture_model(tmp_path, model)
    again: Any = load_picture_model(tmp_path)
    both = [m.roll_out(rows.frames[:, 0], rows.action, seeded(0)) for m in (again, model)]
    assert both[0].shape == (6, 4, 3, 8, 8)
    assert torch.equal(both[0], both[1])


def test_what_cannot_be_is_one_sentence() -> None:
    with pytest.raises(UserError, match="nobody acts in the films"):
        NextFrame.build_for(NextFrame.Settings(), films(acted=False))
    with pytest.raises(UserError, match="patch=3 does not divide frames of 8 × 8"):
        NextFrame.build_for(NextFrame.Settings(patch=3), films())
