"""What holds of every task without labels: the gradient does not depend on how a step is cut, and a
run that goes on goes on as if it had never stopped.
"""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch

from fledge.errors import UserError
from fledge.images.pictures import PictureShape
from tests.algorithms.images.pretext_subjects import EVERY, OF_FILMS, data, make
from tests.subjects import Gradients


@pytest.mark.parametrize("name", EVERY)
def test_gradient_is_the_same_in_one_or_three_pieces(name: str) -> None:
    taken, said = [], []
    for rows in (None, 3):
        algorithm = make(name, rows_per_micro_batch=rows)
        gradients = Gradients(algorithm.learner)
        said.append(algorithm.update(data(name).rows))
        taken.append(gradients.flat)
    assert taken[0].abs().max() > 1e-4
    torch.testing.assert_close(taken[1], taken[0], atol=2e-6, rtol=1e-4)
    assert said[1] == pytest.approx(said[0], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_it_goes_on_with_the_same_bits(name: str) -> None:
    rows, whole = data(name).rows, make(name)
    for _ in range(2):
        whole.update(rows)
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)  # as a checkpoint does, nothing is shared
    later = [whole.update(rows) for _ in range(2)]
    file.seek(0)
    again = make(name, seed=0)
    for part in again.learner.module.parameters():
        torch.nn.init.constant_(part, 0.5)  # nothing is there but what the state brings
    again.load_state_dict(torch.load(file))
    assert [again.update(rows) for _ in range(2)] == later
    for mine, theirs in zip(flatten(again), flatten(whole), strict=True):
        assert torch.equal(mine, theirs)


def flatten(algorithm: Any) -> list[torch.Tensor]:
    return [*algorithm.learner.module.state_dict().values(), *algorithm.model.state_dict().values()]


@pytest.mark.parametrize("name", EVERY)
def test_a_step_draws_by_its_number_and_not_by_how_often_it_was_asked(name: str) -> None:
    """Two steps on the same rows differ; the same step twice does not."""
    algorithm = make(name)
    Gradients(algorithm.learner)  # nothing moves
    algorithm.learner.optimizer.zero_grad()
    first = copy.deepcopy(algorithm).update(data(name).rows)["loss"]
    assert algorithm.update(data(name).rows)["loss"] == first
    if name != "colourisation":  # which draws nothing
        algorithm.learner.steps += 1
        assert algorithm.update(data(name).rows)["loss"] != first


@pytest.mark.parametrize("name", EVERY)
def test_its_model_tells_pictures_apart(name: str) -> None:
    x = data(name).rows
    x = x.frames[:, 0] if name in OF_FILMS else x.x
    model = make(name).model.eval()
    said = model.features(x)
    assert said.shape == (7, 16)
    assert said.std(0).min() > 0
    assert torch.equal(model.features(x[2:3]), said[2:3]) or torch.allclose(
        model.features(x[2:3]), said[2:3], atol=1e-6
    )  # of a picture alone, whatever is beside it


@pytest.mark.parametrize(
    ("name", "shape", "fields", "sentence"),
    [
        ("mae", (1, 9, 9), {}, "patch=2 does not divide pictures of 9 × 9"),
        ("mae", (1, 8, 8), {"patch": 8}, "one patch: none would be left to foretell"),
        ("mae", (1, 8, 8), {"width": 30}, "width=30 was given with heads=4"),
        ("colourisation", (1, 8, 8), {}, "these have 1 channel: give others"),
        ("colour_tracking", (1, 8, 8), {}, "such as data=film:digits"),
        ("relative_position", (1, 8, 8), {"patch": 2}, "squares of 4 pixels and a gap do not fit"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    name: str, shape: tuple[int, int, int], fields: dict[str, int], sentence: str
) -> None:
    from fledge.algorithms.registry import find_entry

    entry = find_entry("images", name)
    settings = entry.settings("images").replace(**fields)
    with pytest.raises(UserError, match=sentence):
        entry.algorithm.build(settings, PictureShape(*shape, 256))


@pytest.mark.parametrize("name", OF_FILMS)
def test_films_that_are_too_short_are_one_sentence(name: str) -> None:
    rows = data(name).rows
    short = rows.replace(
        frames=rows.frames[:, :2], action=rows.action[:, :1], label=rows.label[:, :2]
    )
    with pytest.raises(UserError, match="films have 2: give fewer, or longer films"):
        make(name).update(short)
