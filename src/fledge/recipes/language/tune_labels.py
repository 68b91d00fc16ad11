"""`fledge tune task=classify`, pair, tag or choose, and task=embed: an encoder learns to label, or
to give texts that mean the same like vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from fledge.algorithms.likelihood.contrastive import Contrastive, find_same, info_nce
from fledge.algorithms.likelihood.labelling import Labelling, log_prob_of_labels
from fledge.evaluate.labelling import LabelJudge, choose_headline
from fledge.hub.folder import Loaded, load_encoder
from fledge.loop import Algorithm
from fledge.models.language.encoder import Encoder, with_classifier
from fledge.models.language.encoder_config import Classifier
from fledge.models.language.sentence_vectors import Pooling
from fledge.next_command import write_command
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.language.adapter_fields import describe_size
from fledge.recipes.language.label_data import LabelData, read_label_data
from fledge.recipes.language.label_fields import (
    EncoderTuneConfig,
    TuneEmbedConfig,
    TuneLabelsConfig,
)
from fledge.rows.labels import LabelTask
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.conversations import ConversationRows, Shuffled
from fledge.sample.label_examples import STACK
from fledge.seeds import generator_for
from fledge.trajectories import Rows

KINDS: dict[LabelTask, Classifier] = {
    "classify": "sequence", "pair": "sequence", "tag": "token", "choose": "choice", "embed": "",
}  # fmt: skip
NOTE = "fledge_task"  # in a config.json
UNIT = Pooling(normalise=True)


class Learns(nn.Module):
    """What a step is measured with: the encoder as the network of a policy."""

    def __init__(self, network: Encoder) -> None:
        super().__init__()
        self.network = network


def tune_labels(config: TuneLabelsConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for a base that is no encoder, and for data that cannot be learned from."""
    start = Start("tune", show, run)
    config, base = open_base(config, start)
    data = read_label_data(
        config, config.task, base.tokenizer, base.network.config.context, show, config.labels
    )
    if config.task != "choose":
        config = config.model_copy(update={"labels": data.labels})
    network = with_classifier(
        base.network, KINDS[config.task], data.labels, generator_for(config.seed, "weights")
    )
    labelled = replace(base, network=network, pooling=None)

    def share(policy: Learns, batch: Any) -> Tensor:
        logp, target = log_prob_of_labels(policy.network, batch)
        return -logp.gather(-1, target[:, None]).mean()

    def make(encoder: Encoder, learner: Any, course: Course) -> Algorithm:
        return Labelling(encoder, learner, course.stopwatch)

    return train_encoder(config, config.task, start, labelled, data, make, share)


def tune_embed(config: TuneEmbedConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError as `tune_labels` does."""
    start = Start("tune", show, run)
    config, base = open_base(config, start)
    data = read_label_data(config, "embed", base.tokenizer, base.network.config.context, show)
    sizes = config.sizes(base.network.config.width)
    pooling = base.pooling or UNIT
    network = with_classifier(base.network, "", ())
    embedding = replace(base, network=network, pooling=pooling)

    def share(policy: Learns, batch: Any) -> Tensor:
        from fledge.score.labels import embed

        anchor, positive = (
            embed(policy.network, side, pooling) for side in (batch.anchor, batch.positive)
        )
        return info_nce(
            anchor, positive, find_same(batch.name, batch.other_name), config.temperature
        ).mean()

    def make(encoder: Encoder, learner: Any, course: Course) -> Algorithm:
        return Contrastive(
            encoder, learner, course.stopwatch, pooling=pooling, temperature=config.temperature,
            dimensions=sizes,
        )  # fmt: skip

    return train_encoder(config, "embed", start, embedding, data, make, share)
