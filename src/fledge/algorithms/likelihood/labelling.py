"""Maximum likelihood of labels: of a text or a pair, of each word, of the right one of several
choices.

sample: data.  score: –.  weigh: 1.  fit: nll, −log softmax(z)_y; the mean is over all labelled
    things of the optimizer step (Devlin et al. 2019, §4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.fit import nll
from fledge.learner import Learner
from fledge.models.language.encoder import Encoder
from fledge.sample.sentences import UNLABELLED, ChoiceRows, LabelledSentences, TaggedSentences
from fledge.score.labels import score_labels
from fledge.stopwatch import Stopwatch

LabelBatch = LabelledSentences | TaggedSentences | ChoiceRows


class Labelling:
    unfinished = None

    def __init__(self, encoder: Encoder, learner: Learner, stopwatch: Stopwatch) -> None:
        self.encoder, self.learner, self.stopwatch = encoder, learner, stopwatch

    def update(
        self, batch: LabelBatch, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. loss: nats a label; accuracy: the share of labels that are likeliest;
        both as they were before the step.
        """
        count = self.learner.count(batch.target != UNLABELLED)

        def loss(rows: LabelBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
            logp, target = log_prob_of_labels(self.encoder, rows)
            own = logp.gather(-1, target[:, None])[:, 0]  # [N]
            right = logp.argmax(-1) == target
            return nll(own).sum() / count, {"accuracy": right.sum() / count}

        with self.stopwatch.phase("fit"):
            return self.learner.step(loss, batch) | {"rows": float(len(batch))}

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])


def log_prob_of_labels(encoder: Encoder, rows: LabelBatch) -> tuple[Tensor, Tensor]:
    """Of every label for each thing that has one, in fp32 or finer, and which it has.  -> [N, L],
    [N]
    """
    logits = score_labels(encoder, rows)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    labelled = rows.target != UNLABELLED
    return logits[labelled].log_softmax(-1), rows.target[labelled]
