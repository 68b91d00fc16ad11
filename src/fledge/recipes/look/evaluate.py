"""`fledge evaluate`: bits per byte on text, exact match on a task; of pictures, in a file of its
own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from fledge.errors import Diverged, UserError
from fledge.evaluate.by_document import bound_bits, measure_documents
from fledge.evaluate.judging import judge_task
from fledge.evaluate.likelihood import Likelihood, measure_likelihood, read_documents
from fledge.evaluate.suites.suite import SuiteName
from fledge.evaluate.targets import measure_targets
from fledge.hub.folder import Loaded, is_encoder
from fledge.recipes.family_field import FamilyField
from fledge.recipes.language.judge_fields import JudgeFields, LengthFields, PerhapsTaskName
from fledge.recipes.language.order_fields import reads_backward
from fledge.recipes.language.rows import ReadingFields
from fledge.recipes.language.tasks import open_task
from fledge.recipes.language.text_data import TextFields
from fledge.recipes.look.evaluate_encoder import evaluate_encoder
from fledge.recipes.look.evaluate_labels import evaluate_labels, labels_rows
from fledge.recipes.look.evaluate_minds import evaluate_minds, list_mind_examples
from fledge.recipes.look.evaluate_one_shot import (
    OneShotConfig,
    evaluate_one_shot,
    find_programs,
)
from fledge.recipes.look.evaluate_pictures import EvaluatePicturesConfig, evaluate_pictures
from fledge.recipes.look.evaluate_suite import evaluate_suite
from fledge.recipes.look.interpolate import check_interpolated, interpolate
from fledge.recipes.look.sample_pictures import find_picture_folder
from fledge.recipes.look.search_fields import SearchFields
from fledge.recipes.look.sound_model import load_sound_model
from fledge.recipes.look.suite_fields import EvaluateSuiteConfig, asks_suite
from fledge.runs.show import Show
from fledge.sample.objective_rows import PairWriter
from fledge.score.verifier import Verifier
from fledge.tasks.conversed import count_turns
from fledge.tasks.named import Example, Task, draw_questions
from fledge.text.asking import encode_prompt
from fledge.text.documents import AnyDocument
from fledge.text.objectives import PairedObjective
from fledge.text.paired import PairedTokenizer


class EvaluateConfig(
    SearchFields, FamilyField, LengthFields, JudgeFields, ReadingFields, TextFields
):
    """Measure a model: bits per byte on text it is given, exact match and score on a task's test
    prompts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Path = Field(description="the run or model folder to measure")
    data: str | None = Field(
        default=None,
        description=(
            "text: a .txt, .md, .jsonl (each also .gz), a folder, or python (its held-out part); "
            "of an encoder that labels, rows as it was tuned on"
        ),
    )
    suite: SuiteName | None = Field(
        default=None,
        description="published questions in the file data=FILE: arc_easy, boolq, gsm8k, humaneval, "
        "…; `fledge evaluate suite=arc_easy --help` shows its fields",
    )
    interpolate: str = Field(
        default="",
        description=(
            "runs or models, with commas between, that foretell the text together with base: p is "
            "the mean of theirs, weighed by EM on the validation part"
        ),
    )
    whole: bool = Field(
        default=False, description="measure on all of the text, not on its held-out test part"
    )
    stride: int | None = Field(
        default=None,
        ge=1,
        description="tokens from one window of the text to the next: each is foretold from context "
        "− stride tokens or more; by default windows lie end to end",
    )
    by_document: bool = Field(
        default=False, description="each document's figures too, and an interval over documents"
    )
    task: PerhapsTaskName = Field(
        default=None,
        description=(
            "reverse, sort, numbers, add, upper, last, words, or a .jsonl or .py of your own; "
            "household, shell, shop: worlds that answer; false_beliefs, goals, irony: other minds"
        ),
    )
    prompts: int = Field(default=512, ge=1, description="test prompts of the task")
    max_new_tokens: int = Field(default=64, ge=1, description="of an answer to a task")
    objective: PairedObjective | None = Field(
        default=None,
        description="of an encoder–decoder, which foretells targets and no running text: what is "
        "made of data (spans by default)",
    )
    seed: int = Field(default=0, ge=0, description="of the task's prompts")

    @classmethod
    def compose(cls, given: Mapping[str, Any]) -> Any:
        """The fields of what is measured: a model of text, or by published questions; of pictures,
        or characters as programs.
        """
        if asks_suite(given):
            return EvaluateSuiteConfig
        base = given.get("base")
        if find_programs(base) is not None:
            return OneShotConfig
        return cls if find_picture_folder(base) is None else EvaluatePicturesConfig


def evaluate(
    config: EvaluateConfig | EvaluatePicturesConfig | OneShotConfig | EvaluateSuiteConfig,
    show: Show,
) -> dict[str, Any]:
    """Raises UserError where neither data nor a task is given, or they cannot be read; Diverged
    where no number comes out.
    """
    if isinstance(config, OneShotConfig):
        return evaluate_one_shot(config, show)
    if isinstance(config, EvaluateSuiteConfig):
        return evaluate_suite(config, show)
    if isinstance(config, EvaluatePicturesConfig):
        return evaluate_pictures(config, show)
    if config.data is None and config.task is None:
        raise UserError(
            "evaluate needs data=FILE (bits per byte) or task=NAME (exact match), or both."
        )
    check_interpolated(config)
    config.check_search(None)
    if config.search != "none" and config.task is None:
        raise UserError(f"search={config.search} answers the prompts of a task: give task=NAME.")
    config.use_family()
    if config.task is None and labels_rows(config.base):
        return evaluate_labels(config, show)
    if is_encoder(config.base):
        return evaluate_encoder(config, show)
    model = load_sound_model(config.base, backward=config.task is None and not config.interpolate)
    if config.objective is not None and not isinstance(model.tokenizer, PairedTokenizer):
        raise UserError(
            f"objective={config.objective} makes targets for an encoder–decoder, and {config.base} "
            "foretells running text: leave it out."
        )
    figures: dict[str, Any] = {"base": str(config.base)}
    if config.data is not None:
        corpus = config.read(config.data, show.line)
        test = (document for _, document in corpus.split("test"))
        documents = corpus.documents() if config.whole else test
        part = config.data if config.whole else f"the test part of {config.data}"
        if isinstance(model.tokenizer, PairedTokenizer):
            figures |= measure_target_loss(config, model, model.tokenizer, documents, part, show)
        elif config.stride is not None or config.by_document:
            figures |= measure_each_document(config, model, documents, show)
            tell_text_loss(config, figures, part, show)
        else:
            figures |= measure_text_loss(model, documents)
            tell_text_loss(config, figures, part, show)
        if config.interpolate:
            figures["interpolated"] = interpolate(config, model, corpus, show)
    if config.task is not None:
        task = open_task(config, model.tokenizer, model.network.config.context, show)
        if config.search != "none" and count_turns(task) > 1:
            raise UserError(
                f"search={config.search} looks for one text, and {task.name} answers what it is "
                "told, turn by turn: leave search out."
            )
        examples = draw_questions(task, "test", config.prompts)
        if config.search == "none":
            figures |= judge_task(
                model.policy(), model.tokenizer, task, examples, config.max_new_tokens
            )
        else:
            figures |= judge_searched(config, model, task, examples)
        figures["prompts"] = len(examples)
        answers = "greedy answers" if config.search == "none" else f"answers by {config.search}"
        different = "1 prompt" if len(examples) == 1 else f"{len(examples)} different prompts"
        part = (
            f"the test part of {config.task}"
            if task.holds_out
            else f"{config.task}, which holds none out"
        )
        show.line(
            f"score {figures['true_score']:.3f}, {figures['exact_match']:.1%} right, on "
            f"{different} of {part}, {answers} of up to {config.max_new_tokens} tokens"
        )
        about = list_mind_examples(task, examples)
        figures |= evaluate_minds(model.policy(), model.tokenizer, about, show)
    return figures


def judge_searched(
    config: EvaluateConfig, model: Loaded, task: Task, examples: Sequence[Example]
) -> dict[str, Any]:
    """exact_match and true_score of what a search answers, which the task's own judge is not
    asked in.
    """
    asked = [encode_prompt(model.tokenizer, example.prompt) for example in examples]
    best, figures = config.search_for(
        model, asked, max_new_tokens=config.max_new_tokens, seed=config.seed
    )
    said = [each[0] for each in best]
    texts = [model.tokenizer.decode(one.tokens) for one in said]
    marks = Verifier(task)(examples, said, texts)
    return figures | {
        "exact_match": sum(marks["exact_match"]) / len(examples),
        "true_score": sum(marks["reward"]) / len(examples),
    }


def tell_text_loss(
    config: EvaluateConfig, figures: Mapping[str, Any], part: str, show: Show
) -> None:
    size = figures["bytes"]
    show.line(
        f"{figures['bits_per_byte']:.3f} bits per byte ({figures['nats_per_token']:.3f} nats "
        f"per token) on {size:,} bytes of {part}"
        + ("" if config.whole or size >= FEW else "; whole=true measures on all of it")
    )


def measure_target_loss(
    config: EvaluateConfig,
    model: Loaded,
    tokenizer: PairedTokenizer,
    documents: Iterable[AnyDocument],
    part: str,
    show: Show,
) -> dict[str, float]:
    """Of an encoder–decoder: nats a token of the targets that an objective makes of the text."""
    objective = config.objective or "spans"
    write = PairWriter(tokenizer, objective, model.network.config.context)
    measured = measure_targets(model.policy(), documents, write)
    show.line(
        f"{measured.nats_per_token:.3f} nats a target token, of {measured.tokens:,} that "
        f"objective={objective} makes of {part} (no bits per byte: the input tells of its target)"
    )
    return {"nats_per_target_token": measured.nats_per_token, "tokens": measured.tokens}


FEW = 10_000  # bytes, of which a figure says little


def measure_each_document(
    config: EvaluateConfig, model: Loaded, documents: Iterable[AnyDocument], show: Show
) -> dict[str, Any]:
    """As `measure_text_loss`, in windows that overlap, and with an interval over documents. Raises
    UserError for a stride beyond the context, and for a model that reads texts from their end.
    """
    context: int = model.network.config.context
    if config.stride is not None and config.stride > context:
        raise UserError(
            f"stride={config.stride} would pass over tokens: it is the context, {context}, or less."
        )
    if reads_backward(model.network):
        raise UserError(
            f"{config.base} reads texts from their end, and stride and by_document are of those "
            "that read from the beginning: leave them out."
        )
    each = measure_documents(model.policy(), documents, model.tokenizer, context, config.stride)
    whole = Likelihood(*(sum(getattr(one, name) for one in each) for name in NAMES))
    figures: dict[str, Any] = {**tell_likelihood(whole, model)}
    if len(each) > 1:
        figures["low"], figures["high"] = bound_bits(each)
        show.line(
            f"bits per byte lie between {figures['low']:.3f} and {figures['high']:.3f} (95 %, by "
            f"the bootstrap over {len(each):,} documents)"
        )
    if config.by_document:
        figures["documents"] = [
            {"source": one.source, "nats": one.nats, "tokens": one.tokens, "bytes": one.bytes}
            for one in each
        ]
    return figures


NAMES = ("nats", "tokens", "bytes")


def measure_text_loss(model: Loaded, documents: Iterable[AnyDocument]) -> dict[str, float]:
    """Every token of every document once: nats per token, perplexity and bits per byte."""
    turned = reads_backward(model.network)
    windows = read_documents(
        documents, model.tokenizer, model.network.config.context, backward=turned
    )
    return tell_likelihood(measure_likelihood(model.policy(), windows, model.tokenizer), model)


def tell_likelihood(measured: Likelihood, model: Loaded) -> dict[str, float]:
    """Raises UserError for no text, and Diverged for what is no number."""
    if measured.bytes == 0:
        raise UserError("the text to measure on is empty: give more text, or whole=true.")
    if not math.isfinite(measured.nats):
        raise Diverged(
            f"{model.folder} gives the text {measured.nats} nats, which is no number: its weights "
            "overflow, or hold values that are none. Use a run from before that."
        )
    return {
        "nats_per_token": measured.nats_per_token,
        "bits_per_byte": measured.bits_per_byte,
        "perplexity": math.exp(min(measured.nats_per_token, 700.0)),
        "tokens": measured.tokens,
        "bytes": measured.bytes,
    }
