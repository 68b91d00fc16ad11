"""An encoder in Python: a vector for a text, its label, the words under a mask. A decoder that
labels has the second of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.front.model import list_texts
from fledge.hub.families import family_of
from fledge.hub.folder import Loaded, load_labeller
from fledge.hub.sentence_texts import embed_texts
from fledge.models.language.decoder_labels import DecoderLabels
from fledge.models.language.encoder import Encoder
from fledge.recipes.language.label_task import find_task
from fledge.recipes.look.label import label_rows, make_row
from fledge.rows.census import Census, Reading
from fledge.runs.lineage import run_of
from fledge.text.frames import read_frame
from fledge.text.tokenizer import Tokenizer

MASK = "[MASK]"  # as a user writes it, whatever the tokenizer's own is called


class EncoderModel:
    """An encoder with its tokenizer, as `fledge.load_encoder` gives it.

    network is the torch module; folder, where it was read.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded

    @property
    def network(self) -> Any:
        """An Encoder, or a DecoderLabels."""
        return self.loaded.network

    @property
    def tokenizer(self) -> Tokenizer:
        return self.loaded.tokenizer

    @property
    def folder(self) -> Path:
        return self.loaded.folder

    @property
    def context(self) -> int:
        """Tokens of a text, with what stands around it."""
        return self.network.config.context

    @property
    def parameters(self) -> int:
        return self.network.config.parameters

    def embed(self, text: str | Sequence[str]) -> Tensor:
        """A vector of a text, [D]; of several, [N, D]: pooled as the model's folder says
        (sentence-transformers), else the mean over its tokens. Longer texts are cut where the
        folder says so. Raises UserError for one beyond the context, and of a decoder that labels.
        """
        if not isinstance(self.network, Encoder):
            raise UserError(
                f"{self.folder} is a decoder that labels, and gives no vectors: `.label` asks it."
            )
        vectors = embed_texts(self.loaded, list_texts(text, "text"))
        return vectors[0] if isinstance(text, str) else vectors

    def label(
        self, text: str, second: str | None = None, choices: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Of an encoder that was tuned to label: `label` and `chance` of each; of one that tags
        `words` and `tags`. second: of a pair; choices: of a question. Raises UserError for one that
        labels nothing.
        """
        task = find_task(self.loaded, self.folder)
        row = make_row(task, text, second, choices)
        census = Census("the text", Reading(truncate="right"))
        return label_rows(self.loaded, task, [row], census)[0]

    @torch.no_grad()
    def fill(self, text: str, top: int = 5) -> list[list[tuple[str, float]]]:
        """For each [MASK] in the text the likeliest tokens, with their probability. Raises
        UserError for an encoder that foretells none, and for a text without one.
        """
        masked = self.network.config.masked
        frame = read_frame(self.tokenizer) if masked else None
        if frame is None or frame.mask is None:
            raise UserError(
                f"{self.folder} is an encoder that foretells no masked tokens: it has no head for "
                "them. Give one that was trained so, as `fledge pretrain architecture=bert` does."
            )
        pieces = text.split(MASK)
        if len(pieces) < 2:
            raise UserError(f"the text has no {MASK}: write it where a token is asked for.")
        ids: list[int] = []
        for number, piece in enumerate(pieces):
            ids += [frame.mask] * bool(number) + (self.tokenizer.encode(piece) if piece else [])
        row, _ = frame.frame(ids)
        tokens = torch.tensor([row], device=self.network.unembedding.device)
        logits = self.network.masked_logits(self.network(tokens)[0][tokens[0] == frame.mask])
        logits[:, sorted(frame.special)] = float("-inf")
        best = logits.float().softmax(-1).topk(top)
        return [
            [(self.tokenizer.decode([i]), p) for i, p in zip(ids, values, strict=True)]
            for ids, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def save(self, folder: str | Path) -> Path:
        """Write it in Hugging Face's layout; of a sentence encoder with the files that
        `sentence_transformers` reads.
        """
        self.loaded.save(Path(folder))
        return Path(folder)

    def is_as_saved(self) -> bool:
        """Whether its folder still holds these very weights."""
        try:
            saved = load_labeller(self.folder).network.state_dict()
        except UserError:
            return False
        now = self.network.state_dict()
        return saved.keys() == now.keys() and all(
            torch.equal(saved[name], now[name].cpu()) for name in saved
        )

    def __repr__(self) -> str:
        decodes = isinstance(self.network, DecoderLabels)
        family = family_of(self.network.network if decodes else self.network)
        kind = (
            f"{family.name}, {len(self.network.config.labels)} labels" if decodes else family.name
        )
        return (
            f"EncoderModel({kind}, {self.parameters / 1e6:.2f} M parameters, context "
            f"{self.context:,}, from {run_of(self.folder)})"
        )
