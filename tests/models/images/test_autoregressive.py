"""Every autoregressive model is a distribution, looks at nothing that is said later, and draws what
its conditionals say.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fledge.images.pictures import PictureShape
from fledge.models.images import wavenet
from fledge.models.images.autoregressive import choose
from tests.models.images.small_pictures import KINDS, every_picture, label_of, make

BINARY = PictureShape(1, 3, 3, 2, ("a", "b"))
THREE_LEVELS = PictureShape(1, 2, 2, 3, ("a", "b"))
COLOURS = PictureShape(3, 2, 1, 2, ("a", "b"))
MANY_LEVELS = PictureShape(1, 2, 3, 17, ("a", "b"))
WIDE = PictureShape(1, 5, 7, 3, ("a", "b"))
LARGE = [name for name in KINDS if name != "picture_table"]


@pytest.mark.parametrize("shape", [BINARY, THREE_LEVELS, COLOURS], ids=["3x3", "levels", "colours"])
@pytest.mark.parametrize("name", KINDS)
def test_all_pictures_together_have_probability_one(name: str, shape: PictureShape) -> None:
    nats = make(name, shape).nats(every_picture(shape)).detach().double()
    assert float((-nats).exp().sum()) == pytest.approx(1, abs=1e-5)
    assert name == "histogram" or nats.std() > 0.05  # it is no even distribution


@pytest.mark.parametrize("shape", [WIDE, MANY_LEVELS], ids=["wide", "levels"])
@pytest.mark.parametrize("name", LARGE)
def test_no_number_changes_what_is_said_before_it(name: str, shape: PictureShape) -> None:
    model = make(name, shape)
    random = torch.Generator().manual_seed(0)
    D = model.length
    x = torch.randint(shape.levels, (1, D), generator=random).repeat(D, 1)
    label = label_of(model, 1)
    label = None if label is None else label.repeat(D)
    changed = x.clone()
    changed.fill_diagonal_(0)
    changed += torch.eye(D, dtype=torch.long) * ((x.diagonal() + 1) % shape.levels)[:, None]
    assert int((changed != x).sum()) == D
    with torch.no_grad():
        apart = model.conditionals(changed, label) - model.conditionals(x, label)
    apart = apart.abs().amax(2)  # [which was changed, at which place]
    assert float(apart.tril().max()) <= 1e-6
    matters = apart.triu(1).amax(1)[:-1] > 1e-6
    if name.startswith("made"):  # whose few hidden units do not see all
        assert float(matters.float().mean()) > 0.3
    elif name not in ("histogram", "chow_liu"):  # nothing is seen, or the parent alone
        assert bool(matters.all())


@pytest.mark.parametrize("shape", [WIDE, COLOURS, MANY_LEVELS], ids=["wide", "colours", "levels"])
@pytest.mark.parametrize("name", LARGE)
def test_what_is_kept_while_drawing_changes_nothing(name: str, shape: PictureShape) -> None:
    model = make(name, shape)
    uniform = torch.rand(5, model.length, generator=torch.Generator().manual_seed(1))
    label = label_of(model, 5)
    row = model.draw(uniform, label)
    assert torch.equal(row, model.draw_naively(uniform, label))
    assert len(row.unique()) > shape.levels / 2
    with torch.no_grad():
        wanted = model.conditionals(row, label).log_softmax(2)
        advance = model.begin(5, label)
        for t in range(model.length):
            said = advance(t, row[:, t - 1] if t else None).log_softmax(1)
            assert torch.allclose(said, wanted[:, t], atol=2e-5), t


@pytest.mark.parametrize("name", LARGE)
def test_rows_and_pictures_are_the_same(name: str) -> None:
    shape = PictureShape(3, 4, 5, 3, ("a", "b"))
    kind, settings = KINDS[name]
    model = kind(shape, {**settings, "palette": 27} if "palette" in settings else settings)
    x = torch.randint(3, (6, 3, 4, 5), generator=torch.Generator().manual_seed(0))
    row = model.to_row(x.to(torch.uint8))
    assert torch.equal(model.to_pictures(row).long(), x)
    if model.order is None:
        assert torch.equal(row.view(6, 4, 5, 3)[:, 2, 3], x[:, :, 2, 3])


def test_the_first_numbers_can_be_given() -> None:
    model = make("pixelcnn", WIDE)
    uniform = torch.rand(4, 35, generator=torch.Generator().manual_seed(2))
    drawn = model.draw(uniform)
    said = (drawn[:, :14] + 1) % 3
    kept = model.draw(uniform, None, said)
    assert torch.equal(kept[:, :14], said)
    assert torch.equal(model.draw(uniform, None, drawn[:, :14]), drawn)


def test_choose_takes_each_level_by_its_share() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log()
    uniform = torch.tensor([0.0, 0.49, 0.51, 0.74, 0.76, 1 - 2**-24])
    assert choose(logits.expand(6, -1), uniform).tolist() == [0, 0, 1, 1, 2, 2]


def test_a_layer_that_looks_ahead_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    true: Any = wavenet.shift
    monkeypatch.setattr(wavenet, "shift", lambda x, first=None: x)
    with pytest.raises(AssertionError):
        test_no_number_changes_what_is_said_before_it("wavenet", WIDE)
    monkeypatch.setattr(wavenet, "shift", true)
    test_no_number_changes_what_is_said_before_it("wavenet", WIDE)
