"""`fledge pretrain`: a model from raw text."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from fledge.algorithms.likelihood.supervised import Supervised
from fledge.errors import UserError
from fledge.evaluate.likelihood import measure_held_out_loss, spread_windows
from fledge.hub.folder import actions, load_model, save_model
from fledge.loop import train
from fledge.models.language.presets import transformer_config
from fledge.models.language.transformer import Transformer
from fledge.policy import TokenPolicy
from fledge.recipes.course import describe_result, read_test
from fledge.recipes.language.text_data import TextFields, keep_shards, load_whole_tokenizer
from fledge.recipes.pacing import say_skipped
from fledge.recipes.speed import settle_speed
from fledge.recipes.training import (
    TrainingConfig,
    check_memory,
    close_what_it_opens,
    open_run,
    remove_if_it_cannot_begin,
)
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.sample.documents import DocumentRows
from fledge.sample.generate import generate
from fledge.seeds import generator_for
from fledge.splits import SPLITS
from fledge.stopwatch import Stopwatch
from fledge.text.corpus import Corpus
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import Tokenizer, cut_apart, load_tokenizer, train_tokenizer


class PretrainConfig(TrainingConfig, TextFields):
    """Train a language model on raw text: next-token likelihood, documents packed without attention
    across their borders.
    """

    data: str = Field(
        default="python",
        description=(
            "a .txt, .md, .jsonl (each also .gz) or a folder of them; python: the prose of this "
            "Python installation"
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
    model: str = Field(
        default="tiny", description="preset of sizes: nano, tiny, mini, small, base, large"
    )
    layers: int | None = Field(default=None, ge=1, le=1000, description="in place of the preset's")
    width: int | None = Field(default=None, ge=2, description="in place of the preset's")
    heads: int | None = Field(default=None, ge=1, description="in place of the preset's")
    kv_heads: int | None = Field(
        default=None, ge=1, description="in place of the preset's; by default as many as heads"
    )
    mlp_width: int | None = Field(default=None, ge=1, description="in place of 8/3 of the width")
    context: int | None = Field(
        default=None, ge=2, le=2**20, description="tokens, in place of the preset's"
    )
    tied: bool | None = Field(default=None, description="one matrix for embedding and unembedding")
    qk_norm: bool | None = Field(default=None, description="normalise queries and keys")
    rope_theta: float | None = Field(
        default=None, gt=0, description="base of the rotary frequencies"
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
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="cosine", description="of the learning rate after its rise"
    )
    learning_rate: float = Field(default=2e-3, gt=0, description="at its peak")
    weight_decay: float = Field(default=0.1, ge=0, description="AdamW's, on matrices only")


@close_what_it_opens
def pretrain(
    config: PretrainConfig, show: Show, run: Run | None, opened: ExitStack
) -> dict[str, Any]:
    """Raises UserError for data, tokenizer or sizes that do not fit together."""
    began = time.perf_counter()
    base = load_model(config.base) if config.base else None
    if base and run is None:
        check_nothing_else_is_chosen(config)
    corpus, tokenizer = None, load_whole_tokenizer(run.folder / "shards") if run else None
    if (
        tokenizer is None
        # a run that is continued has its text and tokenizer already, if nothing has happened to
        # them
    ):
        corpus = config.read(config.data, show.line)
        tokenizer = base.tokenizer if base else make_tokenizer(config, corpus, show)
    network = (base.network if base else make_network(config, tokenizer)).to(config.on())
    row_tokens = config.row_tokens or network.config.context
    if row_tokens > network.config.context:
        raise UserError(
            f"row_tokens={row_tokens} is more than the model's context of {network.config.context} "
            "tokens."
        )
    if config.tokens_per_step % row_tokens:
        raise UserError(
            f"tokens_per_step={config.tokens_per_step} is no multiple of the {row_tokens} tokens "
            "of a row."
        )
    rows = config.tokens_per_step // row_tokens
    run = open_run(
        run,
        opened,
        "pretrain",
        config,
        began,
        parents=[config.base] if config.base else [],
        copied=[config.data, *find_trained_tokenizer(config)],
    )
    shards = run.folder / "shards"
    with remove_if_it_cannot_begin(run):
        if corpus is not None:
            keep_shards(shards, lambda: corpus, tokenizer, show.line)
        stream, held_out, tested = (TokenStream(shards, split) for split in SPLITS)
        if min(len(held_out), len(tested)) < 2:
            raise UserError(
                f"{config.data} is too short to hold out a part to steer by and one to test by: "
                "give more text."
            )
        sampler = DocumentRows(
            stream, tokenizer.begin, rows_per_step=rows, context=row_tokens, seed=config.seed
        )

    policy = TokenPolicy(network, actions(tokenizer)).to(config.on())
    typical = next(
        DocumentRows(
            stream, tokenizer.begin, rows_per_step=rows, context=row_tokens, seed=config.seed
        )
    )
    precision = settle_speed(run, config, policy, typical, show, equal_rows=True).precision
    learner = config.learner(policy, precision)
    stopwatch = Stopwatch()
    show.line(
        f"pretrain: {network.config.parameters / 1e6:.2f} M parameters on {len(stream) / 1e6:.2f} "
        f"M tokens ({stream.bytes / 1e6:.1f} MB of text, {tokenizer.kind}), {precision} → "
        f"{run.folder}"
    )

    def evaluate(step: int) -> dict[str, float]:
        for completion in generate(
            policy, [[tokenizer.begin]], max_new_tokens=min(120, network.config.context - 1),
            stop=tokenizer.end, generator=generator_for(config.seed, "evaluation", "sample"),
            samples=2,
        ):  # fmt: skip
            run.samples.write(
                {"step": step, "prompt": "", "completion": tokenizer.decode(completion.tokens)}
            )
        loss, bits = measure_held_out_loss(
            policy, held_out, tokenizer, row_tokens, config.evaluation_rows
        )
        return {"validation_loss": loss, "validation_bits_per_byte": bits}

    with show.progress("pretrain", config.steps, "loss", " nats") as watch:
        last = train(
            Supervised(policy, learner, stopwatch), sampler, run, stopwatch, watch,
            steps=config.steps, evaluate=evaluate, evaluate_every=config.evaluate_every,
            better=lambda e: -e["validation_loss"], save_every_s=config.save_every_s,
        )  # fmt: skip
    save_model(run.model_folder, network, tokenizer)
    loss, bits = measure_held_out_loss(
        policy, tested, tokenizer, row_tokens, config.evaluation_rows
    )
    test, name = {"loss": loss, "bits_per_byte": bits}, "validation_bits_per_byte"
    read_test(run, config.steps, test)
    steering, last_read = (
        len(spread_windows(part, row_tokens, config.evaluation_rows)) for part in (held_out, tested)
    )
    first = next(run.metrics.each())
    summary = {
        "verb": "pretrain",
        "run": str(run.folder),
        "steps": config.steps,
        "tokens": config.steps * config.tokens_per_step,
        "parameters": network.config.parameters,
        "seconds": run.seconds,
        "before": {name: first[name] for name in ("validation_loss", "validation_bits_per_byte")},
        "after": {name: last[name] for name in ("validation_loss", "validation_bits_per_byte")},
        "test": test,
        "held_out": {"validation": steering, "test": last_read},
    }
    run.finish(summary)
    say_skipped(run, show)
    items = (steering, last_read)
    show.line(
        describe_result("pretrain", "bits_per_byte", first[name], last[name], bits, items, "window")
    )
    show.line(f"Next: fledge tune base={run.folder} data=FILE.jsonl")
    return summary


_SIZES = (
    "layers",
    "width",
    "heads",
    "kv_heads",
    "mlp_width",
    "context",
    "tied",
    "qk_norm",
    "rope_theta",
)


def make_network(config: PretrainConfig, tokenizer: Tokenizer) -> Transformer:
    """A network of the sizes asked for. Raises UserError for sizes that do not fit together, or
    into memory.
    """
    sizes = transformer_config(
        config.model, tokenizer.vocab_size, **{name: getattr(config, name) for name in _SIZES}
    )
    check_memory(sizes, config.on())
    return Transformer(
        sizes, border=tokenizer.begin, generator=generator_for(config.seed, "weights")
    )


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
    idle = sorted(config.model_fields_set & {*_SIZES, "model", "tokenizer", "vocab_size"})
    if idle:
        raise UserError(
            f"base={config.base} brings its own sizes and tokenizer: leave out {', '.join(idle)}."
        )


def make_tokenizer(config: PretrainConfig, corpus: Corpus, show: Show) -> Tokenizer:
    """A fresh tokenizer of the kind asked for, or the trained one in the folder named.

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
        return train_tokenizer(kind, texts, config.vocab_size, show.line)
    return load_tokenizer(config.tokenizer)
