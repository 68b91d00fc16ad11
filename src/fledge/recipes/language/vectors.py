"""`fledge vectors`: a vector for each word of a text, or an answer from vectors that are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fledge.algorithms.likelihood.context_prediction import ContextPrediction
from fledge.algorithms.likelihood.glove import Glove, split_cells
from fledge.errors import UserError
from fledge.evaluate.judge import Figures, Judge
from fledge.hub.word_vectors import VERB
from fledge.models.language.word_vectors import WordVectors
from fledge.next_command import write_command
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.language.vector_fields import VectorsConfig as VectorsConfig
from fledge.recipes.language.vector_questions import answer
from fledge.report.word_map import draw_word_map, project
from fledge.runs.atomic import write_text
from fledge.runs.folder import Run
from fledge.runs.model_files import write_model
from fledge.runs.show import Show
from fledge.sample.word_chunks import CellBlocks, WordChunks
from fledge.splits import HELD_OUT, SPLITS, HeldOut, Split
from fledge.text.cooccurrence import count_cooccurrences
from fledge.text.words import Vocabulary, WordReader, WordText, make_text

MAP = "map.svg"


def vectors(config: VectorsConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for text without words, for fields that do not go together, and for
    questions that the vectors cannot answer.
    """
    if config.asked:
        config.check_question()
        return answer(config, show)
    start = Start(VERB, show, run)
    if start.new:
        config.check()
        project(torch.zeros(3, 2), config.map)  # what is not installed is said at once
    assert config.data is not None
    vocabulary, text = read_text(config, config.data, show)
    algorithm, sampler, judge = build(config, start, vocabulary, text)
    with start.begin(config, data=[config.data]) as course:
        course.say(describe(config, vocabulary, text["train"], len(sampler)))
        if config.threads > 1:
            show.line(f"threads={config.threads}: two such runs differ in their last bits.")
        course.fit(
            algorithm, sampler, [judge], figure=judge.headline, unit="actions",
            steps=len(sampler) * config.steps,
        )  # fmt: skip
        return conclude(config, course, algorithm.vectors())


def read_text(
    config: VectorsConfig, data: str, show: Show
) -> tuple[Vocabulary, dict[Split, WordText]]:
    """Raises UserError for a text with fewer than two words that are frequent enough."""
    corpus, reader = config.read(data, show.line), WordReader()
    read = {split: reader.read(part for _, part in corpus.split(split)) for split in SPLITS}
    vocabulary, places = reader.choose(read["train"][0], config.min_count)
    if len(vocabulary) < 2:
        raise UserError(
            f"{data} has {len(vocabulary)} words that stand in it {config.min_count} times or "
            "more, and vectors are of words beside each other: give more text, or a smaller "
            "min_count."
        )
    return vocabulary, {split: make_text(*read[split], places) for split in SPLITS}


def build(
    config: VectorsConfig, start: Start, vocabulary: Vocabulary, text: dict[Split, WordText]
) -> tuple[ContextPrediction | Glove, WordChunks | CellBlocks, Judge]:
    """What learns, from what, and how it is judged."""
    if config.model != "glove":
        check_held_out(config, text, "words")
        settings, words = config.context_settings, len(text["train"]) * config.steps
        algorithm = ContextPrediction(vocabulary, settings, words, config.seed, start.stopwatch)
        return algorithm, WordChunks(text["train"]), judge_parts(algorithm, text, "word")
    settings = config.glove_settings
    counted = count_cooccurrences(text["train"], len(vocabulary), config.usual("window"))
    cells = split_cells(*counted, settings.x_max, config.seed)
    check_held_out(config, cells, "pairs of words near each other")
    algorithm = Glove(vocabulary, cells["train"], settings, config.seed, start.stopwatch)
    blocks = CellBlocks(len(cells["train"]), config.seed)
    return algorithm, blocks, judge_parts(algorithm, cells, "pair")


def check_held_out(config: VectorsConfig, parts: Mapping[Split, Any], what: str) -> None:
    """Raises UserError where a part says nothing: a word alone stands beside none."""
    if min(map(len, parts.values())) < 2:
        raise UserError(
            f"{config.data} has {len(parts['train']):,} {what} to learn from, and too few to steer "
            "by and to test by: give more text, or a smaller min_count."
        )


def judge_parts(
    algorithm: ContextPrediction | Glove, parts: Mapping[Split, Any], what: str
) -> Judge:
    """By the algorithm's own figure, on held-out documents or pairs of words."""

    def read(part: HeldOut, step: int) -> Figures:
        return {algorithm.figure: algorithm.measure(parts[part])}

    items: dict[HeldOut, int] = {part: len(parts[part]) for part in HELD_OUT}
    return Judge(
        read, algorithm.figure, lower_is_better=True, items=items, what=what,
        prefix="validation_",
    )  # fmt: skip


def describe(config: VectorsConfig, vocabulary: Vocabulary, text: WordText, total: int) -> str:
    """total: words or pairs of a pass."""
    pairs = f", {total:,} pairs near each other" if config.model == "glove" else ""
    return (
        f"{config.model}, {len(vocabulary):,} words in {config.dims} numbers each, from "
        f"{len(text) / 1e6:.2f} M words of text{pairs}"
    )


def conclude(config: VectorsConfig, course: Course, learned: WordVectors) -> Summary:
    """The vectors in their folder, a map of them, and what can be asked."""
    with write_model(course.run.model_folder) as folder:
        learned.save(folder)
    if config.map != "none":
        chosen = choose_for_map(learned)
        points = project(learned.vectors[chosen], config.map)
        names = [learned.words[place] for place in chosen]
        write_text(course.run.folder / MAP, draw_word_map(names, points))
    buckets = 0 if learned.buckets is None else learned.buckets.numel()
    own: dict[str, Any] = {
        "words": len(learned.words), "parameters": learned.vectors.numel() + buckets,
    }  # fmt: skip
    return course.finish(
        own, held_out=course.judges[0].items,
        then=(
            write_command(VERB, run=course.run.folder, near=learned.words[chosen_word(learned)]),
            write_command("report", run=course.run.folder),
        ),
    )  # fmt: skip


MAPPED = 150
SHORT = 4  # letters below which a frequent word is most often one of grammar


def choose_for_map(learned: WordVectors) -> list[int]:
    """The most frequent words of some length; all where these are few."""
    long = [place for place, word in enumerate(learned.words) if len(word) >= SHORT]
    return (long if len(long) > MAPPED // 5 else list(range(len(learned.words))))[:MAPPED]


def chosen_word(learned: WordVectors) -> int:
    """A word that is worth a question: the most frequent of seven letters or more, if there is
    one.
    """
    return next((place for place, word in enumerate(learned.words) if len(word) > 6), 0)
