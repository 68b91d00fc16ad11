"""What a model has drawn is laid out, a row what was asked for; what is no picture is an empty
place.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from fledge.images.code_text import spell_codes
from fledge.images.pictures import PictureShape
from fledge.recipes.look import draw as room
from fledge.recipes.look.draw import DrawConfig, draw
from fledge.runs.show import Show

SHAPE = PictureShape(1, 1, 2, 2, ("0", "1"))


class Drawn:
    """Codes as pixels; the reader that rewards nothing sees the label 1 where the first pixel is
    ink, those that reward see the second.
    """

    def __init__(self, folder: Path) -> None:
        self.model = SimpleNamespace(shape=SHAPE, places=2)

    def draw(self, texts: list[str]) -> tuple[torch.Tensor, list[int]]:
        owners = [place for place, text in enumerate(texts) if text.startswith("⟨")]
        pixels = [[ord(c) & 1 for c in texts[place][1:3]] for place in owners]
        return torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, 1, 2), owners

    def name(self, drawn: torch.Tensor) -> list[str]:
        return [str(int(x)) for x in drawn[:, 0, 0, 0]]

    def worth(self, drawn: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return (drawn[:, 0, 0, 1] == label).float()


def test_a_row_of_the_sheet_is_a_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [spell_codes([0, 1]), "no picture", spell_codes([1, 1]), spell_codes([0, 0])]
    model = SimpleNamespace(
        policy=lambda: SimpleNamespace(with_rule=lambda rule: None),
        tokenizer=SimpleNamespace(ends=frozenset({2}), decode=lambda tokens: said[tokens[0]]),
    )
    laid: list[Any] = []
    monkeypatch.setattr(room, "Drawings", Drawn)
    monkeypatch.setattr(room, "load_sound_model", lambda base: model)
    monkeypatch.setattr(room, "encode_prompt", lambda tokenizer, prompt: [1])
    monkeypatch.setattr(
        room, "generate",
        lambda *given, samples, **more: [SimpleNamespace(tokens=[n]) for n in range(4)],
    )  # fmt: skip
    monkeypatch.setattr(room, "encode_sheet", lambda *given: laid.append(given) or b"png")
    config = DrawConfig(base=Path("m"), pictures=Path("p"), samples=2, out=tmp_path / "drawn.png")
    summary = draw(config, Show(Console(quiet=True)))
    assert laid[0][0].flatten(1).tolist() == [[0, 1], [0, 0], [1, 1], [0, 0]]
    assert laid[0][1:] == (2, 2)
    assert summary["pictures"] == 3
    assert summary["read_right"] == 0.5  # of four answers the first and the third
    assert summary["judges_pleased"] == 0.25  # of the third alone
    assert summary["read_as"] == {"0": 2, "1": 1}
