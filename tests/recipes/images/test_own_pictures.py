"""A model of pictures in a file of the user's: trained, judged, drawn from and read again; what is
wrong in it is said.
"""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fledge
from fledge.errors import UserError
from fledge.images.reading import read_pictures

MINE = """
    from dataclasses import dataclass
    import torch

    class Mine(torch.nn.Module):
        measure = "exact"

        @dataclass(frozen=True)
        class Settings:
            start: float = 0.0

        def __init__(self, settings, shape):
            super().__init__()
            size = (*shape.size, shape.levels)
            self.logits = torch.nn.Parameter(torch.full(size, settings.start))

        def loss(self, x):
            logp = self.logits.log_softmax(-1).expand(len(x), -1, -1, -1, -1)
            return -logp.gather(-1, x.long()[..., None]).flatten(1).sum(1)

        def sample(self, count):
            p = self.logits.softmax(-1).flatten(0, 2)
            drawn = torch.multinomial(p, count, replacement=True).T
            return drawn.reshape(count, *self.logits.shape[:3]).to(torch.uint8)
"""


def write(folder: Path, text: str = MINE) -> Path:
    file = folder / "mine.py"
    file.write_text(textwrap.dedent(text))
    return file


def run(folder: Path, file: Path, **fields: Any) -> fledge.TrainedRun:
    usual = {"steps": 3, "samples": 4, "precision": "fp32", "compile": "no"}
    given: dict[str, Any] = usual | fields
    return fledge.imagine(model=f"{file}:Mine", out=str(folder / "run"), **given)


def test_it_is_trained_and_read_again(tmp_path: Path) -> None:
    done = run(tmp_path, write(tmp_path), steps=30, learning_rate=0.1, start=0.5)
    assert done.summary["measure"] == "exact"
    held_out = read_pictures("digits").split()
    assert held_out is not None
    # Of logits that are all alike each of the 17 levels is as likely.
    assert done.summary["before"]["validation_nats"] == pytest.approx(64 * math.log(17), rel=1e-5)
    assert done.summary["after"]["validation_nats"] < 140
    again = done.model
    said = again.nats(held_out["test"].rows, torch.Generator()).mean()
    assert said.item() == pytest.approx(done.summary["test"]["nats"], rel=1e-5)
    drawn = again.sample(5, torch.Generator().manual_seed(0))
    assert drawn.shape == (5, 1, 8, 8)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"exact"', '"sure"', "measure is 'sure': it is one of exact, bound"),
        (".flatten(1).sum(1)", ".sum()", "pictures: give one number for each"),
        (".to(torch.uint8)", "", "sample gave torch.int64 [4, 1, 8, 8]: give a uint8 tensor"),
        ("return -logp", "return -lopg", "lopg"),
        ("(torch.nn.Module)", "", "is no torch.nn.Module"),
    ],
)
def test_what_is_wrong_in_it_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in MINE
    text = MINE.replace(old, new)
    with pytest.raises(UserError) as caught:
        run(tmp_path, write(tmp_path, text))
    assert said in str(caught.value)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    file = write(tmp_path)
    done = run(tmp_path, file)
    file.rename(tmp_path / "other.py")
    with pytest.raises(UserError, match="which is not there: put it back"):
        fledge.open_run(done.folder).model  # noqa: B018


def test_pictures_of_python_s_own_with_labels(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.random((40, 6, 6)) < 0.3
    done = fledge.imagine(
        (x, np.arange(40) % 2), model="vae", steps=2, samples=4, out=str(tmp_path / "run")
    )
    assert done.model.shape.levels == 2
    assert done.model.shape.names == ("0", "1")
    with pytest.raises(UserError, match="fewer than 20 different pictures"):
        fledge.imagine(x[:8], model="vae", steps=2, out=str(tmp_path / "few"))
