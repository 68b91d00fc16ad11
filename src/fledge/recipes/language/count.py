"""`fledge pretrain architecture=ngram`: a language model out of counts, in as many passes over the
text as an n-gram has tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from pydantic import BaseModel, Field

from fledge.algorithms.likelihood.counting import Counting
from fledge.errors import UserError
from fledge.evaluate.likelihood import judge_text
from fledge.hub.folder import actions, save_model
from fledge.models.language.ngram_network import NgramConfig, NgramNetwork
from fledge.models.language.presets import find_preset
from fledge.next_command import write_command
from fledge.policy import TokenPolicy
from fledge.recipes.course import Course, Summary
from fledge.splits import Split
from fledge.text.ngram_passes import Pieces
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import Tokenizer

# What of the fields of `pretrain` is said of a model that is counted.
MEANT = {
    "model", "architecture", "data", "tokenizer", "vocab_size", "context", "row_tokens",
    "evaluation_rows", "out", "seed", "save_every_s", "hidden", "links", "duplicates",
}  # fmt: skip


class NgramFields(BaseModel):
    """Of architecture=ngram."""

    order: int | None = Field(
        default=None, ge=1, le=7, description="ngram: tokens of an n-gram (5 by default)"
    )
    smoothing: Literal["kneser_ney", "add_k", "unsmoothed"] | None = Field(
        default=None,
        description="ngram: what is kept for what was never seen: interpolated modified Kneser–Ney "
        "(by default), add_k, or nothing",
    )
    add_k: float | None = Field(
        default=None, gt=0, description="smoothing=add_k: added to every count (0.1 by default)"
    )
    prune: int | None = Field(
        default=None, ge=0,
        description="kneser_ney: n-grams of two tokens or more that were counted at most so often "
        "are left out (0 by default: none)",
    )  # fmt: skip


class Counted(Protocol):
    """The fields that are read here."""

    architecture: Any
    model: str
    context: int | None
    row_tokens: int | None
    evaluation_rows: int
    order: int | None
    smoothing: Any
    add_k: float | None
    prune: int | None

    @property
    def model_fields_set(self) -> set[str]: ...


class WholeText:
    """A sampler whose every batch is the whole text, in pieces that are read when asked for."""

    def __init__(self, stream: TokenStream) -> None:
        self.stream = stream
        self.figures: dict[str, float] = {}

    def __iter__(self) -> WholeText:
        return self

    def __next__(self) -> Pieces:
        return Pieces(self.stream)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """There is none."""


def check_fields(config: Counted) -> None:
    """Raises UserError for fields that would do nothing."""
    own = set(NgramFields.model_fields)
    if config.architecture != "ngram":
        idle = sorted(own & config.model_fields_set)
        if idle:
            raise UserError(f"{', '.join(idle)}: of architecture=ngram, which was not given.")
        return
    idle = sorted(config.model_fields_set - own - MEANT)
    if idle:
        raise UserError(
            f"architecture=ngram counts and learns nothing by steps: leave out {', '.join(idle)}."
        )
    if config.add_k is not None and config.smoothing != "add_k":
        raise UserError("add_k= is of smoothing=add_k: give both, or leave it out.")
    if config.prune and config.smoothing not in (None, "kneser_ney"):
        raise UserError("prune= is of smoothing=kneser_ney: leave one of the two out.")


def make_counted(config: Counted, tokenizer: Tokenizer) -> TokenPolicy:
    """The model of nothing yet, every token of it as likely."""
    context = config.context or find_preset(config.model)["context"]
    network = NgramNetwork(NgramConfig(tokenizer.vocab_size, context=context), tokenizer.border)
    return TokenPolicy(network, actions(tokenizer))


def count(
    config: Counted,
    course: Course,
    policy: TokenPolicy,
    text: Mapping[Split, TokenStream],
    tokenizer: Tokenizer,
    write_samples: Callable[[int], None],
) -> Summary:
    """Count, smooth and judge, one token of context more with every pass."""
    order = config.order or 5
    course.say(
        f"n-grams up to {order} tokens on {len(text['train']) / 1e6:.2f} M tokens "
        f"({text['train'].bytes / 1e6:.1f} MB of text, {tokenizer.kind})"
    )
    smoothing = config.smoothing or "kneser_ney"
    k = 0.0 if smoothing == "unsmoothed" else config.add_k or 0.1
    algorithm = Counting(policy, course.stopwatch, smoothing, k, config.prune or 0)
    row_tokens = config.row_tokens or policy.network.config.context
    judge = judge_text(policy, text, tokenizer, row_tokens, config.evaluation_rows, write_samples)
    course.fit(
        algorithm, WholeText(text["train"]), [judge], figure="ngrams", steps=order,
        evaluate_every=1,
    )  # fmt: skip
    save_model(course.run.model_folder, policy.network, tokenizer)
    network = policy.network
    course.show.line(
        f"{course.verb}: {sum(network.config.numbers):,} n-grams of two tokens or more, "
        f"{network.model.count_bytes() / 1e6:.1f} MB"
    )
    return course.finish(
        {"parameters": network.config.parameters, "ngrams": list(network.config.numbers)},
        held_out=judge.items,
        then=write_command("sample", base=course.run.folder, prompt="The"),
    )
