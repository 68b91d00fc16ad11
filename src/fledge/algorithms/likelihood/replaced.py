"""Replaced-token detection (ELECTRA, Clark et al. 2020, §3.1, eq. 1 to 4): a small generator fills
what is masked, and the encoder tells of every token whether it is another's.

sample: data, masked; the generator fills it.  score: –.  weigh: 1.  fit: nll of the generator over
    masked tokens, and WEIGHT times the encoder's over all. No gradient goes through what is
    sampled. Unlike theirs the two share no embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.algorithms.likelihood.masked import Masked, MaskedModel, masked_nll, read_rows
from fledge.learner import Learner
from fledge.sample.masked_rows import MaskedRows
from fledge.stopwatch import Stopwatch

WEIGHT = 50.0  # λ (§3.3)


class Replaced(Masked):
    """sayable: what the generator may put there, [V] bool: no special token, which would give it
    away, or open a document.
    """

    def __init__(
        self, model: MaskedModel, learner: Learner, stopwatch: Stopwatch, sayable: Tensor
    ) -> None:
        super().__init__(model, learner, stopwatch)
        self.sayable = sayable.to(learner.device)

    def update(
        self, batch: MaskedRows, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step of both. replaced_nats: a token, of the encoder; replaced_accuracy: of
        all tokens; replaced_share: how many really are another's; masked_nats: of the generator.
        """
        generator, network = self.model.generator, self.model.network
        assert generator is not None
        count = self.learner.count(batch.chosen)
        inside = _find_inside(batch)
        tokens = self.learner.count(inside)

        def loss(rows: MaskedRows) -> tuple[Tensor, Mapping[str, Tensor]]:
            hidden = read_rows(generator, rows, rows.tokens)
            nats, _ = masked_nll(generator, hidden, rows)
            with torch.no_grad():
                logits = generator.masked_logits(hidden[rows.chosen])
                filled = fill_rows(rows, logits.masked_fill(~self.sayable, float("-inf")))
            there = _find_inside(rows)
            said = network.replaced_logits(read_rows(network, rows, filled)[there])
            said = said.to(torch.promote_types(said.dtype, torch.float32))
            replaced = (filled != rows.target)[there]
            own = F.binary_cross_entropy_with_logits(said, replaced.to(said), reduction="sum")
            figures = {
                "masked_nats": nats.sum() / count,
                "replaced_nats": own / tokens,
                "replaced_accuracy": ((said > 0) == replaced).sum() / tokens,
                "replaced_share": replaced.sum() / tokens,
            }
            return figures["masked_nats"] + WEIGHT * figures["replaced_nats"], figures

        with self.stopwatch.phase("fit"):
            return self.learner.step(loss, batch) | {"tokens": float(batch.count_actions())}


def fill_rows(rows: MaskedRows, logits: Tensor) -> Tensor:
    """The text with the chosen tokens sampled: each the first whose summed probability is beyond
    the row's draw, so that who computes with whom changes nothing.  [N, V] -> [B, T]
    """
    summed = logits.double().softmax(-1).cumsum(-1)
    draw = rows.draw[rows.chosen][:, None] * summed[:, -1:]
    said = torch.searchsorted(summed, draw, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    return rows.target.masked_scatter(rows.chosen, said)


def _find_inside(rows: MaskedRows) -> Tensor:
    """Which places are no padding.  -> [B, T] bool"""
    steps = torch.arange(rows.tokens.shape[1], device=rows.size.device)
    return steps < rows.size[:, None]
