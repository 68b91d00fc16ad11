"""`fledge imagine` of sentences: a model learns to say what the data is like, out of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from fledge.algorithms.texts.protocol import TextAlgorithm
from fledge.models.language.sentence_model import save_sentence_model
from fledge.next_command import write_command
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.images.building import Learns
from fledge.recipes.images.config import ImagineConfig
from fledge.recipes.texts.data import Part, list_files, read_parts
from fledge.recipes.texts.grammar_figures import count_edits, count_grammatical
from fledge.recipes.texts.judging import judge_sentences
from fledge.recipes.texts.tables import draw_tables
from fledge.recipes.training import count_parameters
from fledge.runs.model_files import write_model
from fledge.sample.sentence_batches import SentenceBatches
from fledge.seeds import seed_for
from fledge.splits import Split


def imagine_texts(config: ImagineConfig, start: Start) -> Summary:
    """Raises UserError for data that cannot be read."""
    parts, tokenizer = read_parts(config, start.show)
    kind: Any = config.entry.algorithm
    torch.manual_seed(seed_for(config.seed, "weights"))
    model = kind.build(config.settings, tokenizer)
    config.set_checkpointing(model)
    with start.begin(config, data=list_files(config)) as course:
        model = model.to(config.on())
        rows = parts["train"].rows
        typical = SentenceBatches(rows, config.rows_per_step, config.seed).__next__()
        speed = course.settle_speed(
            config, Learns(model), typical,
            share=lambda twin, rows: kind.share(twin.network, rows),
        )  # fmt: skip
        course.say(
            f"{config.model} of {count_parameters(model):,} parameters on {len(rows):,} sentences "
            f"of {rows.count_actions() / len(rows):.1f} tokens ({tokenizer.kind}, "
            f"{tokenizer.vocab_size:,} of them), {speed.describe()}"
        )
        make_learner = partial(config.learner, precision=speed.precision)
        algorithm: TextAlgorithm = kind(
            config.settings, model, make_learner, config.seed, course.stopwatch
        )
        judges = [judge_sentences(algorithm.list_models, parts, config.seed)]
        batches = SentenceBatches(rows, config.rows_per_step, config.seed)
        course.fit(algorithm, batches, judges, figure="loss", figure_unit=" nats")
        return conclude(config, course, algorithm, parts)


def conclude(
    config: ImagineConfig,
    course: Course,
    algorithm: TextAlgorithm,
    parts: Mapping[Split, Part],
) -> Summary:
    """The model in its folder, tables of what it says, and what to do next."""
    models = {prefix: model.cpu().eval() for prefix, model in algorithm.list_models().items()}
    model = models[""]
    with write_model(course.run.model_folder) as folder:
        save_sentence_model(folder, model)
    own: dict[str, Any] = {
        "model": config.model, "measure": model.measure, "parameters": model.count_parameters(),
        "tables": draw_tables(
            models, parts["validation"], course.last, config.samples, config.seed
        ),
    }  # fmt: skip
    lines = ["Nats are a bound: the likelihood is not worse than that."]
    test = parts["test"].given
    if test.grammar is not None:
        exact = -sum(map(test.grammar.log_prob, test.texts)) / len(test)
        counted = count_grammatical(model, test.grammar, config.seed)
        edits = count_edits(model, test.grammar, parts["train"].given.texts[:2000], test.texts)
        own |= {"grammar_nats": exact, **counted, **edits}
        lines.append(
            f"The grammar itself takes {exact:.2f} nats for the test part; "
            f"{100 * counted['grammatical']:.0f} % of what the model draws is grammatical, "
            f"{100 * counted['distinct']:.0f} % of it different."
        )
    run = course.run.folder
    first, second = list(dict.fromkeys(parts["train"].given.texts))[:2]
    return course.finish(
        own, held_out=course.judges[0].items, lines=lines,
        then=(
            write_command("sample", run, between=first, **{"and": second}),
            write_command("report", run=run),
        ),
    )  # fmt: skip
