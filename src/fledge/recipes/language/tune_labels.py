"""`fledge tune task=classify`, pair, tag or choose, and task=embed: an encoder learns to label, or
to give texts that mean the same like vectors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from fledge.algorithms.likelihood.contrastive import Contrastive
from fledge.algorithms.likelihood.labelling import Labelling
from fledge.errors import UserError
from fledge.evaluate.label_judge import LabelJudge, choose_headline
from fledge.hub.folder import Loaded, is_encoder, load_encoder, load_label_base
from fledge.learner import Learner
from fledge.loop import Algorithm
from fledge.models.language.decoder_labels import DecoderLabels
from fledge.models.language.encoder import Encoder, with_classifier
from fledge.models.language.encoder_config import Classifier
from fledge.next_command import write_command
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.language.adapter_fields import describe_size
from fledge.recipes.language.encoder_memory import tell_encoder_memory
from fledge.recipes.language.label_data import LabelData, read_label_data
from fledge.recipes.language.label_fields import (
    EncoderTuneConfig,
    TuneEmbedConfig,
    TuneLabelsConfig,
)
from fledge.recipes.language.label_task import UNIT
from fledge.recipes.training import trains_every_weight
from fledge.rows.labels import Choices, LabelTask, TaggedWords
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.conversations import ConversationRows, Shuffled
from fledge.sample.label_examples import STACK
from fledge.score.labels import read_all
from fledge.seeds import generator_for
from fledge.text.frames import open_frame

KINDS: dict[LabelTask, Classifier] = {
    "classify": "sequence", "pair": "sequence", "tag": "token", "choose": "choice", "embed": "",
}  # fmt: skip
AnyConfig = TypeVar("AnyConfig", bound=EncoderTuneConfig)
Maker = Callable[[Learner, Course], Algorithm]


def tune_labels(config: TuneLabelsConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for a base that is no encoder, and of classify no decoder either, and for
    data that cannot be learned from.
    """
    start = Start("tune", show, run)
    config, base = open_base(config, start, decodes=config.task == "classify")
    reads = isinstance(base.network, Encoder)
    frame = None if reads else open_frame(base.tokenizer)
    data = read_label_data(
        config, config.task, base.tokenizer, base.network.config.context, show,
        config.labels or (), frame,
    )  # fmt: skip
    if config.task != "choose":
        config = config.model_copy(update={"labels": data.labels})
    begun = generator_for(config.seed, "weights")
    network: Any = (  # of either kind `score_labels` asks the same
        with_classifier(base.network, KINDS[config.task], data.labels, begun)
        if reads
        else DecoderLabels(base.network, data.labels)
    )
    if config.dropout is not None:
        if not isinstance(network, Encoder):
            raise UserError(
                f"dropout={config.dropout} is of an encoder's hidden units, and {config.base} is "
                "a decoder: leave it out."
            )
        network.use_dropout(config.dropout)

    def make(learner: Learner, course: Course) -> Algorithm:
        return Labelling(network, learner, course.stopwatch)

    base = replace(base, network=network, pooling=None)  # the other lets go of its weights
    base = config.put_adapter(base)
    return train_encoder(config, config.task, start, base, data, make)


def tune_embed(config: TuneEmbedConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError as `tune_labels` does."""
    start = Start("tune", show, run)
    config, base = open_base(config, start)
    data = read_label_data(config, "embed", base.tokenizer, base.network.config.context, show)
    dimensions = config.sizes(base.network.config.width)
    network, pooling = with_classifier(base.network, "", ()), base.pooling or UNIT
    network.use_dropout(0.0)  # both passes of a step must say the same

    def make(learner: Learner, course: Course) -> Algorithm:
        return Contrastive(
            network, learner, course.stopwatch, pooling=pooling, temperature=config.temperature,
            dimensions=dimensions,
        )  # fmt: skip

    base = config.put_adapter(replace(base, network=network, pooling=pooling))
    return train_encoder(config, "embed", start, base, data, make)


def open_base(
    config: AnyConfig, start: Start, *, decodes: bool = False
) -> tuple[AnyConfig, Loaded]:
    """The encoder to start from, or where that may be the decoder, and the fields that suit it."""
    if start.new:
        config = config.check()
    config.use_family()
    decodes = decodes and not is_encoder(config.base)
    base = (load_label_base if decodes else load_encoder)(config.base)
    base = base.merged()  # a head is put on matrices, and not on adapters
    if isinstance(base.network, DecoderLabels):
        base = replace(base, network=base.network.network)
    return config.suit(base.network).keep_family(base), base


def train_encoder(
    config: EncoderTuneConfig,
    task: LabelTask,
    start: Start,
    begun: Loaded,
    data: LabelData,
    make: Maker,
) -> Summary:
    """The run, from where the network has `begun`: its trunk from the base, what stands on it
    fresh.
    """
    decodes = isinstance(begun.network, DecoderLabels)
    config.freeze_parts(begun.network.network if decodes else begun.network)
    config.set_checkpointing(begun.network)
    rows = [example.ids for example in data.parts["train"]]
    config = config.with_epochs(len(rows), config.rows_per_step, str(config.data), start.show)
    only_begins = trains_every_weight(begun.network)
    parents, initial = ([], [begun.source]) if only_begins else ([begun.source], [])
    files = [str(path) for path in (config.data, config.validation, config.test) if path]
    with start.begin(
        config, parents=parents, initial=initial, data=[*files, *config.own_family]
    ) as course:
        network = begun.network.to(config.on())
        stack = STACK[task]
        typical = stack([rows[i % len(rows)] for i in range(config.rows_per_step)])
        tell_encoder_memory(course, config, network, typical)
        speed = course.settle_speed(
            config,
            Learns(network),
            typical,
            share=lambda each, batch: read_all(each.network, batch),
        )
        size = f"{config.base} ({describe_size(begun)})"
        course.say(f"{size} on {config.data}, {describe_task(task, data)}, {speed.describe()}")
        sampler = ConversationRows(
            Shuffled(rows, config.seed), rows_per_step=config.rows_per_step, seed=config.seed,
            window=config.steps_formed_together(),
            rows_in_all=config.rows_in_all(len(rows)),
            stack=lambda some, pad: stack(some),
        )  # fmt: skip
        judged = LabelJudge(
            network, task, data.labels, data.held_out, course.run, begun.pooling or UNIT
        )
        judge = judged.judge(choose_headline(task, data.labels, data.held_out))
        course.fit(
            make(config.learner(network, speed.precision), course), sampler,
            [judge] if judge.items["validation"] else [], figure="loss",
        )  # fmt: skip
        begun.save(course.run.model_folder, fledge_task=task)
        test = course.test()
        verb, fields = propose(task, data, config.test or config.data)
        return course.finish(
            {"task": task, **judged.tabulate("test")}, test=test, held_out=judge.items,
            figures={judge.headline: judge.logged}, censuses=data.censuses,
            then=write_command(verb, course.run.folder, **fields),
        )  # fmt: skip


def propose(task: LabelTask, data: LabelData, file: Path) -> tuple[str, dict[str, Any]]:
    """What to look at next, a verb and its fields: what it says of a row that it was not trained
    on. file: rows of embeddings, which are measured.
    """
    if task == "embed":
        return "evaluate", {"data": file}
    row = [*data.parts["test"], *data.parts["validation"], *data.parts["train"]][0].row
    if isinstance(row, TaggedWords):
        return "label", {"text": " ".join(row.words)}
    if isinstance(row, Choices):
        choices = json.dumps(row.choices, ensure_ascii=False)
        return "label", {"text": row.question, "choices": choices}
    texts = (" ".join(text.split()) for text in row.texts)  # in one line
    return "label", dict(zip(("text", "second"), texts, strict=False))


class Learns(nn.Module):
    """An encoder where a policy is asked for: what learns is its network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network


def describe_task(task: LabelTask, data: LabelData) -> str:
    """How many rows, and of how many labels."""
    rows = f"{len(data.parts['train']):,} rows"
    held_out = f"{len(data.parts['validation']):,} + {len(data.parts['test']):,} held out"
    labels = f" of {len(data.labels)} labels" if len(data.labels) > 1 else ""
    return f"{rows}{labels}, {held_out} (validation + test)"
