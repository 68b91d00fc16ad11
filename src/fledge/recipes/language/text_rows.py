"""Rows of running text in pre-training: how long they are, what makes them, and what a model says
of its own beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from fledge.errors import UserError
from fledge.policy import TokenPolicy
from fledge.recipes.language.packed_rows import make_packed_rows
from fledge.recipes.language.packing_fields import Curriculum, PackingWay
from fledge.recipes.language.text_data import make_sampler
from fledge.recipes.language.text_samples import write_targets, write_texts
from fledge.runs.folder import Run
from fledge.sample.documents import DocumentRows
from fledge.sample.mixture import MixedRows
from fledge.sample.objective_rows import InfillingWriter, ObjectiveRows, PairWriter
from fledge.sample.streams import StreamRows
from fledge.splits import Split
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import Tokenizer


class Rowed(Protocol):
    """The fields that are read here."""

    data: str
    row_tokens: int | None
    tokens_per_step: int
    carry: bool
    seed: int
    steps: int
    packing: PackingWay
    curriculum: Curriculum
    curriculum_model: Path | None


def choose_row_tokens(config: Rowed, context: int) -> int:
    """Raises UserError for rows that do not fit the context, or do not make up a step."""
    row_tokens = config.row_tokens or context
    if row_tokens > context:
        raise UserError(
            f"row_tokens={row_tokens} is more than the model's context of {context} tokens."
        )
    if config.tokens_per_step % row_tokens:
        raise UserError(
            f"tokens_per_step={config.tokens_per_step} is no multiple of the {row_tokens} tokens "
            "of a row."
        )
    return row_tokens


def make_rows(
    config: Rowed,
    stream: TokenStream,
    tokenizer: Tokenizer,
    write: PairWriter | InfillingWriter | None,
    row_tokens: int,
    run: Run,
    say: Callable[[str], None],
) -> DocumentRows | StreamRows | MixedRows | ObjectiveRows:
    """As they stand, whole by best fit, or as `write` makes them. Raises UserError for too short a
    text.
    """
    rows_per_step = config.tokens_per_step // row_tokens
    if config.packing == "best_fit":
        return make_packed_rows(
            config, run.folder, stream, tokenizer, rows_per_step=rows_per_step,
            context=row_tokens, say=say,
        )  # fmt: skip
    if write is None:
        return make_sampler(
            config.data, stream, tokenizer.begin, carry=config.carry,
            rows_per_step=rows_per_step, context=row_tokens, seed=config.seed,
        )  # fmt: skip
    return ObjectiveRows(stream, write, rows_per_step=rows_per_step, seed=config.seed)


def keep_samples(
    seed: int,
    policy: TokenPolicy,
    tokenizer: Tokenizer,
    text: Mapping[Split, TokenStream],
    write: PairWriter | InfillingWriter | None,
    run: Run,
) -> Callable[[int], None]:
    """What writes the samples of an evaluation, told of the step."""
    if isinstance(write, PairWriter):
        return partial(write_targets, policy, write, text, seed, run)
    return partial(write_texts, policy, tokenizer, seed, run)
