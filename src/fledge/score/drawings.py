"""What a drawing is worth: readers that were trained apart say what they see in it.

The folder is one of `fledge spell`: the autoencoder that turns codes into a picture (`vq/`), two
readers of different kinds that reward (`reader/`, `neighbours/`), one that rewards nothing
(`witness/`), and what each prompt asks for (`draw.jsonl`): a picture of a label, or the answer to a
question about one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.images.code_text import read_codes
from fledge.models.images.picture_model import PictureModel, load_picture_model
from fledge.models.images.reader import load_reader
from fledge.models.images.vq import VQ

JUDGES, WITNESS = ("reader", "neighbours"), "witness"
MOST_WRONG = 0.5  # what a picture earns that is sure to be read as asked, and is not


class Drawings:
    """Pictures out of texts, and what they are worth; answers about pictures, too."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError where the folder is none of `fledge spell`."""
        if not (folder / "draw.jsonl").is_file():
            raise UserError(
                f"{folder} has no draw.jsonl: give a folder that `fledge spell` has written."
            )
        for name in (*JUDGES, WITNESS):
            if not (folder / name).is_dir():
                raise UserError(
                    f"{folder} has no {name}/, and drawings are looked at by three readers: write "
                    "it again with `fledge spell`."
                )
        model = load_picture_model(folder / "vq")
        assert isinstance(model, VQ)
        self.model = model
        self.judges: Sequence[PictureModel] = [load_reader(folder / name) for name in JUDGES]
        self.witness = load_reader(folder / WITNESS)
        lines = (folder / "draw.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        self.asked = {row["prompt"]: row["label"] for row in rows if "label" in row}
        self.answer = {row["prompt"]: row["answer"] for row in rows if "answer" in row}

    def prompts(self) -> list[str]:
        return [*self.asked, *self.answer]

    @torch.no_grad()
    def draw(self, texts: Sequence[str]) -> tuple[Tensor, list[int]]:
        """The first whole picture of each text that has one.  -> [N, C, H, W] uint8, whose they
        are
        """
        model = self.model
        read = [read_codes(text, model.places, model.quantiser.size) for text in texts]
        owners = [place for place, codes in enumerate(read) if codes is not None]
        if not owners:
            return torch.zeros(0, *model.shape.size, dtype=torch.uint8), []
        codes = torch.tensor([codes for codes in read if codes is not None])
        return model.settle(codes), owners

    def scores(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Of a picture 1 where every judge's likeliest label is the one asked for; else up to a
        half, by how likely it is to the judge who doubts most; 0 for what is no picture. Of a
        question 1 for its answer.
        """
        worth = [
            float(self.answer.get(prompt) == said.strip())
            for prompt, said in zip(prompts, completions, strict=True)
        ]
        wanted = [place for place, prompt in enumerate(prompts) if prompt in self.asked]
        drawn, owners = self.draw([completions[place] for place in wanted])
        if not owners:
            return worth
        places = [wanted[owner] for owner in owners]
        names = self.model.shape.names
        label = torch.tensor([names.index(self.asked[prompts[place]]) for place in places])
        for place, each in zip(places, self.worth(drawn, label).tolist(), strict=True):
            worth[place] = each
        return worth

    @torch.no_grad()
    def worth(self, drawn: Tensor, label: Tensor) -> Tensor:
        """[N, C, H, W] uint8, [N] -> [N]"""
        said = torch.stack([judge(drawn) for judge in self.judges])  # [J, N, L]
        likely = said.exp()[:, torch.arange(len(label)), label].amin(0)
        right = (said.argmax(2) == label).all(0)
        return torch.where(right, torch.ones_like(likely), MOST_WRONG * likely)

    @torch.no_grad()
    def name(self, drawn: Tensor) -> list[str]:
        """What the witness, who rewards nothing, takes each picture for.  [N, C, H, W] -> [N]"""
        if len(drawn) == 0:
            return []
        return [self.model.shape.names[place] for place in self.witness(drawn).argmax(1).tolist()]
