"""Sentence embeddings from texts that mean the same: each is to find its own partner among those of
the whole step.

sample: data.  score: –.  weigh: –.  fit: InfoNCE, −log softmax_j(cos(a_i, p_j) / τ)_i (van den Oord
    et al. 2018, eq. 4; Henderson et al. 2017, §4.4), of the first d numbers of an embedding for
    several d at once (Matryoshka: Kusupati et al. 2022, eq. 1, its mean in place of the sum).

All rows of a step meet in the loss, so its gradient with respect to the embeddings is taken first,
and then differentiated through the network a micro-batch at a time (Gao et al. 2021, "Scaling deep
contrastive learning batch size under memory limited setup").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge import rank_sums
from fledge.learner import Learner
from fledge.models.language.encoder import Encoder
from fledge.models.language.sentence_vectors import PLAIN_MEAN, Pooling
from fledge.sample.sentences import AlikePairs
from fledge.score.labels import embed
from fledge.stopwatch import Stopwatch


def info_nce(anchor: Tensor, positive: Tensor, same: Tensor, temperature: float) -> Tensor:
    """−log softmax_j(cos(a_i, p_j) / τ)_i.  [B, D], [B, D] -> [B]

    same: [B, B] bool, whether p_j is no negative of a_i though it is not its own partner.
    """
    scores = F.normalize(anchor, dim=-1) @ F.normalize(positive, dim=-1).T / temperature
    return -scores.masked_fill(same, -torch.inf).log_softmax(-1).diagonal()


def find_same(name: Tensor, other_name: Tensor) -> Tensor:
    """Where a text would be its own negative: p_j is the same text as a_i's own partner or as a_i
    itself, or a_j is the same as a_i.  [B], [B] -> [B, B] bool, False on the diagonal
    """
    same = name[:, None] == name[None, :]
    same = same | (other_name[:, None] == other_name[None, :])
    same = same | (name[:, None] == other_name[None, :])
    return same & ~torch.eye(len(name), dtype=torch.bool, device=name.device)


@dataclass(frozen=True)
class PulledPairs(AlikePairs):
    """With each row's share of the step's loss, and its gradient with respect to the two
    embeddings.
    """

    share: Tensor  # [B]
    anchor_pull: Tensor  # [B, D]
    positive_pull: Tensor  # [B, D]


class Contrastive:
    """temperature: τ. dimensions: the d of an embedding's beginnings that are trained; none: the
    whole.
    """

    unfinished = None

    def __init__(
        self,
        encoder: Encoder,
        learner: Learner,
        stopwatch: Stopwatch,
        *,
        pooling: Pooling = PLAIN_MEAN,
        temperature: float = 0.05,
        dimensions: Sequence[int] = (),
    ) -> None:
        self.encoder, self.learner, self.stopwatch = encoder, learner, stopwatch
        self.pooling, self.temperature = pooling, temperature
        self.dimensions = tuple(dimensions) or (encoder.config.width,)

    def update(
        self, batch: AlikePairs, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. accuracy: the share of anchors that are nearest to their own
        partner.
        """
        with self.stopwatch.phase("fit"):
            pulled, accuracy = self._pull(batch)
            said = self.learner.step(self._differentiate, pulled)
        return said | {"accuracy": accuracy, "rows": float(len(batch))}

    def _pull(self, batch: AlikePairs) -> tuple[PulledPairs, float]:
        """The loss of the whole step, and where it pulls each embedding."""
        anchor, positive = (x.requires_grad_() for x in self._embed_all(batch))
        device = anchor.device
        same = find_same(batch.name, batch.other_name).to(device)
        losses = torch.stack([
            info_nce(anchor[:, :d], positive[:, :d], same, self.temperature)
            for d in self.dimensions
        ])  # fmt: skip
        share = losses.mean(0) / self.learner.count_rows(batch)  # [B]
        anchor_pull, positive_pull = torch.autograd.grad(share.sum(), (anchor, positive))
        with torch.no_grad():
            near = F.normalize(anchor, dim=-1) @ F.normalize(positive, dim=-1).T
            nearest = near.masked_fill(same, -torch.inf).argmax(-1)
            right = (nearest == torch.arange(len(nearest), device=device)).double().mean()
        added = {
            "share": share.detach(), "anchor_pull": anchor_pull, "positive_pull": positive_pull,
        }  # fmt: skip
        pulled = PulledPairs.of(batch, **{name: x.cpu() for name, x in added.items()})
        return pulled, float(right)

    @torch.no_grad()
    def _embed_all(self, batch: AlikePairs) -> tuple[Tensor, Tensor]:
        """Of all rows of the step, each rank of its own; cut as they are differentiated.  -> [B, D]
        twice
        """
        own = rank_sums.own_rows(batch)
        # A rank without rows asks about the first, for the shape of the answer.
        asked = own if len(own) else batch[:1]
        said: list[tuple[Tensor, Tensor]] = []
        places: list[Tensor] = []
        for piece, rows in self.learner.micro_batches.cut_with_rows(asked):
            places.append(rows)
            with self.learner.autocast():
                said.append(self._embed_both(piece.to(self.learner.device)))
        order = torch.cat(places).argsort()[: len(own)]
        both = (torch.cat([pair[side] for pair in said])[order] for side in (0, 1))
        anchor, positive = (rank_sums.join_rows(x, batch) for x in both)
        return anchor, positive

    def _differentiate(self, rows: PulledPairs) -> tuple[Tensor, Mapping[str, Tensor]]:
        """∇ of Σ ⟨e, ∂L/∂e⟩, held fixed, is ∇L by the chain rule; its value is set to that of L."""
        anchor, positive = self._embed_both(rows)
        turn = (anchor * rows.anchor_pull).sum() + (positive * rows.positive_pull).sum()
        return turn - turn.detach() + rows.share.sum(), {}

    def _embed_both(self, rows: AlikePairs) -> tuple[Tensor, Tensor]:
        sides = rows.anchor, rows.positive
        anchor, positive = (embed(self.encoder, side, self.pooling) for side in sides)
        return anchor, positive

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
