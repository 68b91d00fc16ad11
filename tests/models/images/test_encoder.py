"""The encoder reads what it is given and nothing else."""

from __future__ import annotations

from pathlib import Path

import torch

from fledge.images.pictures import PictureShape
from fledge.models.images.encoder import (
    PictureEncoder,
    cut_patches,
    cut_windows,
    join_patches,
    to_grey,
)
from fledge.models.images.picture_model import load_picture_model, save_picture_model

SHAPE = PictureShape(3, 8, 12, 256)


def encoder(window: int = 0, grey: bool = False) -> PictureEncoder:
    torch.manual_seed(0)
    settings = {
        "patch": 2, "width": 16, "layers": 2, "heads": 2, "grey": grey, "window": window
    }  # fmt: skip
    return PictureEncoder(SHAPE, settings).eval()


def pictures(B: int = 4) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (B, *SHAPE.size), generator=random).to(torch.uint8)


def test_patches_are_squares_in_reading_order() -> None:
    x = torch.arange(2 * 3 * 8 * 12).view(2, 3, 8, 12)
    cut = cut_patches(x, 2)
    assert cut.shape == (2, 24, 12)
    assert torch.equal(cut[1, 7].view(3, 2, 2), x[1, :, 2:4, 2:4])  # 6 in the first row
    assert torch.equal(join_patches(cut, 2, (3, 8, 12)), x)


def test_what_is_not_kept_is_not_read() -> None:
    model, x = encoder(), pictures()
    kept = torch.tensor([[0, 5, 9]] * 4)
    said = model.tokens(model.prepare(x), kept)
    other = x.clone()
    other[:, :, 6:, 10:] = 255 - other[:, :, 6:, 10:]  # patch 23
    assert torch.equal(model.tokens(model.prepare(other), kept), said)
    other = x.clone()
    other[:, :, 0:2, 10:] = 255 - other[:, :, 0:2, 10:]  # patch 5
    assert not torch.equal(model.tokens(model.prepare(other), kept), said)


def test_windows_are_read_one_by_one_and_their_mean_is_the_picture() -> None:
    model, x = encoder(window=4), pictures()
    read = model.prepare(x)
    each = [
        model.tokens(read[:, :, i : i + 4, j : j + 4].contiguous()).mean(1)
        for i in range(0, 5, 2) for j in range(0, 9, 2)
    ]  # fmt: skip
    assert cut_windows(read, 4).shape[1] == len(each) == 15
    torch.testing.assert_close(model.features(x), torch.stack(each).mean(0), atol=1e-6, rtol=0)


def test_a_grey_encoder_sees_no_colour() -> None:
    model, x = encoder(grey=True), pictures()
    grey = to_grey(x.float()).round().to(torch.uint8).expand(-1, 3, -1, -1)
    torch.testing.assert_close(model.features(x), model.features(grey), atol=0.02, rtol=0)
    assert model.prepare(x).shape[1] == 1


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    model, x = encoder(), pictures()
    save_picture_model(tmp_path, model)
    again = load_picture_model(tmp_path)
    assert isinstance(again, PictureEncoder)
    assert torch.equal(again.features(x), model.features(x))
    assert not again.can_sample
