"""`fledge pretrain`: a model from raw text."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from fledge.algorithms.likelihood.carried import Carried
from fledge.algorithms.likelihood.routed import Routed
from fledge.algorithms.likelihood.supervised import Supervised
from fledge.errors import UserError
from fledge.evaluate.likelihood import judge_text
from fledge.evaluate.targets import judge_targets
from fledge.hub.encoder_decoder_family import read_pair_tokenizer
from fledge.hub.folder import Loaded, actions, is_encoder, load_model, save_model
from fledge.learner import Learner
from fledge.models.language.encoder_decoder import EncoderDecoder
from fledge.models.language.mixture import list_mixtures
from fledge.models.language.recurrent import Recurrent
from fledge.models.language.transformer import Transformer
from fledge.next_command import write_command
from fledge.policy import TokenPolicy
from fledge.recipes.course import Start, Summary
from fledge.recipes.family_field import FamilyField
from fledge.recipes.language.count import NgramFields, check_fields, count, make_counted
from fledge.recipes.language.encode import pretrain_encoder
from fledge.recipes.language.encoder_fields import EncoderFields, check_idle
from fledge.recipes.language.expert_fields import ExpertFields
from fledge.recipes.language.freeze_fields import FreezeFields, describe_trainable
from fledge.recipes.language.objective_fields import (
    PAIRS,
    ObjectiveFields,
    is_paired,
    make_encoder_decoder,
    text_tokenizer,
)
from fledge.recipes.language.order_fields import OrderFields, reads_backward
from fledge.recipes.language.packing_fields import PackingFields
from fledge.recipes.language.parameterization_field import ParameterizationField
from fledge.recipes.language.size_fields import ENCODERS, SizeFields
from fledge.recipes.language.text_data import (
    TextFields,
    check_sources,
    describe_sources,
    keep_text,
)
from fledge.recipes.language.text_rows import choose_row_tokens, keep_samples, make_rows
from fledge.recipes.memory import tell_memory
from fledge.recipes.training import TrainingConfig, trains_every_weight
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.objective_rows import PairWriter
from fledge.splits import SPLITS
from fledge.stopwatch import Stopwatch
from fledge.text.corpus import Corpus
from fledge.text.own_copy import load_whole_tokenizer
from fledge.text.tokenizer import Tokenizer, cut_apart, load_tokenizer, train_tokenizer


class PretrainConfig(
    FamilyField,
    SizeFields,
    ParameterizationField,
    ObjectiveFields,
    NgramFields,
    ExpertFields,
    EncoderFields,
    OrderFields,
    PackingFields,
    FreezeFields,
    TrainingConfig,
    TextFields,
):
    """Train a language model on raw text: next-token likelihood, documents packed without attention
    across their borders; an encoder–decoder on inputs and targets made of it.
    """

    data: str = Field(
        default="python",
        description=(
            "a .txt, .md, .jsonl (each also .gz, .zst), .parquet or a folder of them; python: the "
            "prose of this Python installation; books/:2,code/:1 takes two rows of the one for "
            "each of the other"
        ),
    )
    base: Path | None = Field(
        default=None, description="a run or model folder to continue from; by default a fresh model"
    )
    tokenizer: str = Field(
        default="bpe", description="bytes, characters, bpe, or a folder with a trained tokenizer"
    )
    vocab_size: int | None = Field(
        default=None,
        ge=7,
        le=1_000_000,
        description="of a bpe tokenizer trained here, special tokens included (4096 by default)",
    )
    row_tokens: int | None = Field(
        default=None, ge=2, description="tokens a row trained on; by default the model's context"
    )
    tokens_per_step: int = Field(
        default=4096, ge=2, description="tokens an optimizer step; a multiple of the row's tokens"
    )
    evaluation_rows: int = Field(
        default=64, ge=1, description="rows of held-out text an evaluation reads"
    )
    schedule: Literal["constant", "linear", "cosine", "wsd"] = Field(
        default="cosine",
        description="of the learning rate after its rise; wsd: constant up to the last fifth",
    )
    learning_rate: float = Field(default=2e-3, gt=0, description="at its peak")
    weight_decay: float = Field(default=0.1, ge=0, description="on matrices only")


def pretrain(config: PretrainConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for data, tokenizer or sizes that do not fit together."""
    start = Start("pretrain", show, run)
    config.use_family()
    if config.architecture in ENCODERS or (config.base is not None and is_encoder(config.base)):
        return pretrain_encoder(config, start, show, make_tokenizer)
    base = load_model(config.base, backward=True).merged() if config.base else None
    config = config.keep_family(base) if base else config
    if start.new:
        check_new(config, base)
    # A run that is continued has its text and tokenizer, unless something has happened to them.
    corpus, tokenizer = None, load_whole_tokenizer(run.folder / "shards") if run else None
    paired = is_paired(config, base)
    config.check_objective(paired)
    if tokenizer is None:
        corpus = config.read(config.data, show.line)
        tokenizer = text_tokenizer(base) if base else make_tokenizer(config, corpus, show)
    counts = config.architecture == "ngram"
    policy = make_counted(config, tokenizer) if counts else make_policy(config, base, tokenizer)
    sizes = policy.network.config
    config.check_order(policy.network, config.objective)
    objective = config.choose_objective(paired)
    config.check_packing(config.reading_order, objective, tokenizer.begin)
    backward = reads_backward(policy.network)
    row_tokens = sizes.context if counts else choose_row_tokens(config, sizes.context)
    speaks = read_pair_tokenizer(tokenizer, sizes) if paired else tokenizer
    write = config.make_writer(speaks, row_tokens, config.data)
    from_base = [config.base] if config.base else []
    judges = [config.curriculum_model] if config.curriculum_model else []
    only_begins = trains_every_weight(policy.network)
    read, begun_from = ([], from_base) if only_begins else (from_base, [])
    copied = [config.data, *find_trained_tokenizer(config)]
    with start.begin(
        config, parents=[*read, *judges], initial=begun_from, data=config.own_family, copied=copied
    ) as course:
        again = None if corpus is None else lambda: corpus
        text = keep_text(course.run, again, tokenizer, show.line, backward=backward)
        if min(len(text["validation"]), len(text["test"])) < 2:
            raise UserError(
                f"{config.data} is too short to hold out a part to steer by and one to test by: "
                "give more text."
            )
        samples = keep_samples(config.seed, policy, tokenizer, text, write, course.run)
        if counts:
            return count(config, course, policy, text, tokenizer, samples)
        made_of = (config, text["train"], tokenizer, write, row_tokens)
        sampler = make_rows(*made_of, course.run, show.line)
        typical = next(copy.copy(sampler))  # its first batch, which it has yet to give
        tell_memory(course, config, policy, typical)
        speed = course.settle_speed(
            config, policy, typical, equal_rows=not paired, tokenizer=tokenizer
        )  # fmt: skip
        course.say(
            f"{sizes.parameters / 1e6:.2f} M parameters{describe_trainable(policy.network)}"
            f"{describe_experts(sizes)} on "
            f"{len(text['train']) / 1e6:.2f} M tokens "
            f"({text['train'].bytes / 1e6:.1f} MB of text, {tokenizer.kind}), {speed.describe()}"
        )
        for line in describe_sources(config.data, text["train"]):
            show.line(line)
        judge = (
            judge_targets(policy, text, write, config.evaluation_rows, samples)
            if isinstance(write, PairWriter)
            else judge_text(policy, text, tokenizer, row_tokens, config.evaluation_rows, samples)
        )
        rates = config.choose_rates(policy.network, config.optimizer)
        learner = config.learner(policy, speed.precision, rates=rates)
        algorithm = choose_algorithm(config, policy, learner, course.stopwatch)
        course.fit(algorithm, sampler, [judge], figure_unit=" nats")
        save_model(course.run.model_folder, policy.network, tokenizer)
        return course.finish(
            {"tokens": config.steps * config.tokens_per_step, "parameters": sizes.parameters},
            held_out=judge.items,
            then=write_command("evaluate", base=course.run.folder, data=config.data)
            if backward
            else write_command(
                "tune", base=course.run.folder, task="reverse", instead="data=FILE.jsonl"
            ),
        )


def check_new(config: PretrainConfig, base: Loaded | None) -> None:
    """Raises UserError for fields that do not go together, before anything is read."""
    if base:
        check_nothing_else_is_chosen(config)
        config.check_experts_of(base.network.config)
    check_fields(config)
    check_idle(config)
    config.check_parameterization(
        config.architecture, fresh=base is None, experts=config.experts is not None
    )
    if base is None:
        config.check_experts(config.architecture)
    check_sources(config.data, config.architecture, carry=config.carry)


def make_policy(config: PretrainConfig, base: Loaded | None, tokenizer: Tokenizer) -> TokenPolicy:
    """The base to continue from, or a fresh one. Raises UserError for sizes that do not fit, and
    for weights that cannot be frozen.
    """
    network: Any = base.network if base else make_network(config, tokenizer)
    config.set_checkpointing(network)
    config.put_order(network)
    if base is None:
        config.widen(network)
    if base:
        config.freeze_parts(network)
    elif config.freeze:
        raise UserError(
            f"freeze={config.freeze} keeps weights of a base as they are, and a fresh model has "
            "none: give base=, or leave it out."
        )
    return TokenPolicy(network.to(config.on()), actions(tokenizer)).to(config.on())


def make_network(
    config: PretrainConfig, tokenizer: Tokenizer
) -> Transformer | Recurrent | EncoderDecoder:
    if config.architecture in PAIRS:
        return make_encoder_decoder(config, tokenizer)
    return config.make_network(
        tokenizer.vocab_size, border=tokenizer.border, seed=config.seed, device=config.on(),
        adapt=config.put_experts,
    )  # fmt: skip


def choose_algorithm(
    config: PretrainConfig, policy: TokenPolicy, learner: Learner, stopwatch: Stopwatch
) -> Carried | Routed | Supervised:
    """By what there is in the network to be kept: a state, or the use of experts."""
    if config.carry:
        return Carried(policy, learner, stopwatch)
    if list_mixtures(policy.network):
        return Routed(policy, learner, stopwatch, config)
    return Supervised(policy, learner, stopwatch)


def describe_experts(sizes: Any) -> str:
    """What is to be said beside the size of a network of which a token does not use all."""
    if getattr(sizes, "experts", None) is None:
        return ""
    return f", {sizes.active_parameters / 1e6:.2f} M of them for a token,"


def find_trained_tokenizer(config: PretrainConfig) -> list[str]:
    """The files of a tokenizer that was trained before, if one is used."""
    folder = Path(config.tokenizer)
    places = (folder, folder / "model")
    return [
        str(place / "tokenizer.json") for place in places if (place / "tokenizer.json").is_file()
    ][:1]


def check_nothing_else_is_chosen(config: PretrainConfig) -> None:
    """Raises UserError for sizes or a tokenizer given beside a base, which has its own: they would
    do nothing.
    """
    idle = config.list_given("tokenizer", "vocab_size")
    if idle:
        raise UserError(
            f"base={config.base} brings its own sizes and tokenizer: leave out {', '.join(idle)}."
        )


def make_tokenizer(config: PretrainConfig, corpus: Corpus, show: Show) -> Tokenizer:
    """A fresh tokenizer of the kind asked for, or the trained one in the folder named, with the
    special tokens that the objective needs.

    Merges are learned from the training text; an alphabet of characters is the whole corpus's, or
    the rest could not be read.
    """
    if config.tokenizer in ("bytes", "characters", "bpe"):
        kind: Any = config.tokenizer
        documents = corpus.split(*(SPLITS if kind == "characters" else ("train",)))
        texts = (
            ()
            if kind == "bytes"
            else (text for _, document in documents for text in cut_apart(document.chunks()))
        )
        trained: Tokenizer = train_tokenizer(kind, texts, config.vocab_size, show.line)
    else:
        trained = load_tokenizer(config.tokenizer)
    return config.extend_tokenizer(trained, config.architecture in PAIRS)
