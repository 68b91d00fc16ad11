"""Learning to read pictures from few labels: cross entropy on pictures as they are, or changed as a
learned policy says.

sample: pictures with labels, each changed by the policy.  score, weigh: –.  fit: nll of the label.
It stands beside the models that draw because it has their data, batches and verb; it draws nothing,
has no density, and is judged by how many labels it reads right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from fledge.algorithms.images.change_policy import ChangePolicy, measure_worth
from fledge.algorithms.images.protocol import MakeLearner, Sheet
from fledge.algorithms.settings import AlgorithmSettings
from fledge.errors import UserError
from fledge.images.augment import CHANGES, Changes
from fledge.images.pictures import UNKNOWN, Pictures, PictureSet, PictureShape, digest_of
from fledge.models.images.classifier import Classifier as Model
from fledge.seeds import generator_for
from fledge.stopwatch import Stopwatch

ONE_IN = 10  # pictures steer the policy and are not taught
SHOWN = 32


class Classifier:
    class Settings(AlgorithmSettings):
        width: int = Field(
            default=16, ge=1, description="channels of the first convolution; of small pictures a "
            "16th of the hidden units"
        )  # fmt: skip
        features: int = Field(default=32, ge=1, description="numbers just below the logits")
        policy: Changes = Field(
            default=(),
            description=f"changes, of {', '.join(CHANGES)}, whose shares are learned: by what they "
            f"do to the loss on one picture in {ONE_IN}, which steers and is not taught",
        )
        policy_rate: float = Field(
            default=0.03, ge=0, description="of the shares, a step; 0 keeps them even"
        )

    usual: ClassVar[Mapping[str, Any]] = {
        "steps": 500, "rows_per_step": 64, "learning_rate": 3e-3, "samples": 0, "judged_samples": 0,
    }  # fmt: skip
    unfinished = None

    def __init__(
        self,
        settings: Settings,
        model: Model,
        make_learner: MakeLearner,
        seed: int,
        stopwatch: Stopwatch,
    ) -> None:
        self.settings, self.model, self.seed, self.stopwatch = settings, model, seed, stopwatch
        self.learner = make_learner(model)
        self.policy = ChangePolicy(settings.policy, settings.policy_rate)

    @classmethod
    def build(cls, settings: Settings, shape: PictureShape) -> Model:
        check_labels(shape)
        return Model(shape, settings.model_dump(include={"width", "features"}))

    @staticmethod
    def share(model: Model, rows: Pictures) -> Tensor:
        return model.logits(rows.x).logsumexp(1).mean()

    def update(
        self, batch: Pictures, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One optimizer step. loss: nats a label. weight_NAME: the policy's shares, where there is
        one.
        """
        with self.stopwatch.phase("fit"):
            if not self.settings.policy:
                return self.teach(check_known(batch)) | {"rows": float(len(batch))}
            taught, steering = divide(check_known(batch))
            step = self.learner.steps + self.learner.skipped
            generator = generator_for(self.seed, "noise", step)
            changed, drawn = self.policy.change(taught.x, self.model.shape.levels, generator)
            taught = taught.replace(x=changed)
            if self.settings.policy_rate and len(steering):
                device = self.learner.device
                pairs = [(rows.x.to(device), rows.label.to(device)) for rows in (taught, steering)]
                worth = measure_worth(self.model, self.loss, pairs[0], pairs[1])
                self.policy.learn(drawn, worth.cpu())
            return self.teach(taught) | self.policy.named() | {"rows": float(len(batch))}

    def loss(self, x: Tensor, label: Tensor) -> Tensor:
        """Nats of each label.  -> [B]"""
        return F.cross_entropy(self.model.logits(x), label, reduction="none")

    def teach(self, rows: Pictures) -> dict[str, float]:
        count = self.learner.count_rows(rows)

        def share(some: Pictures) -> tuple[Tensor, Mapping[str, Tensor]]:
            return self.loss(some.x, some.label).sum() / count, {}

        return self.learner.step(share, rows)

    def draw_sheets(self, held_out: PictureSet, generator: torch.Generator) -> Sequence[Sheet]:
        """Held-out pictures that are read wrong."""
        rows = held_out.rows
        wrong = rows[self.model.read(rows.x) != rows.label].spread(SHOWN).x
        if not len(wrong):
            return []
        levels = held_out.shape.levels
        return [Sheet("wrong", "Read wrong", "held-out pictures", wrong, levels, 8)]

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict(), "policy": self.policy.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.policy.load_state_dict(state["policy"])


def check_labels(shape: PictureShape) -> None:
    """Raises UserError where there is nothing to tell apart."""
    if len(shape.names) < 2:
        raise UserError(
            f"a classifier tells labels apart, and the data has {len(shape.names) or 'none'}: give "
            "pictures with labels, as a folder for each, or `y` beside `x`."
        )


def check_known(batch: Pictures) -> Pictures:
    """Raises UserError for a picture without a label."""
    if bool((batch.label == UNKNOWN).any()):
        raise UserError("a picture has no label: label all, or leave those out.")
    return batch


def divide(batch: Pictures) -> tuple[Pictures, Pictures]:
    """What is taught and what steers, by the content of each: never the same picture on both
    sides, in any step of any run. All is taught where all would steer.
    """
    place = torch.tensor([int(digest_of(x)[:8], 16) % ONE_IN for x in batch.x])
    if not bool((place > 0).any()):
        return batch, batch[:0]
    return batch[place > 0], batch[place == 0]
