"""What of a text a model learns to write, and the rows made by that: for encoder–decoders an input
and a target, for decoders the next token or a middle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import BaseModel, Field

from fledge.data_names import split_sources
from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.models.language.encoder_decoder import EncoderDecoder
from fledge.models.language.presets import encoder_decoder_config
from fledge.recipes.language.size_fields import SizeFields, check_memory
from fledge.sample.objective_rows import InfillingWriter, PairWriter
from fledge.seeds import generator_for
from fledge.text.infilling import INFILLING, find_infilling
from fledge.text.objectives import PAIRED, SENTINELS, PairedObjective
from fledge.text.own_tokenizers import OwnTokenizer
from fledge.text.paired import PairedTokenizer
from fledge.text.tokenizer import Tokenizer

PAIRS = ("t5", "bart")  # architectures of an encoder and a decoder

EncoderObjective = Literal["mlm", "nsp", "rtd"]
Objective = Literal["next_token", "fim"] | PairedObjective | EncoderObjective


class ObjectiveFields(BaseModel):
    """Of what is made of a text."""

    objective: Objective | None = Field(
        default=None,
        description="what is learned of the text: next_token, or fim, which moves a middle to the "
        "end, of a decoder; of t5 and bart spans (the usual), prefix, bert, deshuffle, mass, "
        "replace or drop; of bert and modernbert mlm (the usual), masked tokens, nsp, also which "
        "text follows another, or rtd, which tokens a small generator has replaced (ELECTRA)",
    )
    noise: float | None = Field(
        default=None, gt=0, lt=1,
        description="spans, bert, replace, drop: the share of tokens that are noise (0.15 by "
        "default)",
    )  # fmt: skip
    mean_span: float | None = Field(
        default=None, ge=1, description="spans: tokens of one, in the mean (3 by default)"
    )
    fim_rate: float | None = Field(
        default=None, ge=0, le=1, description="fim: the share of documents (0.5 by default)"
    )
    fim_suffix_first: float | None = Field(
        default=None, ge=0, le=1,
        description="fim: of these, the share whose suffix comes first, SPM (0.5 by default)",
    )  # fmt: skip

    def check_objective(self, paired: bool) -> None:
        """Raises UserError for an objective of the other kind of model, and for fields of another
        objective. paired: whether the model is an encoder–decoder.
        """
        objective = self.choose_objective(paired)
        if paired != (objective in PAIRED):
            kind, wanted = ("an encoder–decoder", ", ".join(PAIRED)) if paired else (
                "a decoder", "next_token or fim")  # fmt: skip
            raise UserError(
                f"objective={objective} is none of {kind}'s: give {wanted}, or "
                f"{'a decoder' if paired else 'architecture=t5 or bart'}."
            )
        meant = {
            "noise": ("spans", "bert", "replace", "drop"),
            "mean_span": ("spans",),
            "fim_rate": ("fim",),
            "fim_suffix_first": ("fim",),
        }
        for name, objectives in meant.items():
            if getattr(self, name) is not None and objective not in objectives:
                raise UserError(
                    f"{name}= is of objective={' or '.join(objectives)}, and this is {objective}: "
                    "leave it out."
                )

    def choose_objective(self, paired: bool) -> str:
        return self.objective or ("spans" if paired else "next_token")

    def extend_tokenizer(self, tokenizer: Tokenizer, paired: bool) -> Tokenizer:
        """With the special tokens that the objective needs, where fledge trained it. A fresh
        model's.
        """
        if paired and SENTINELS[0] not in tokenizer.special_tokens:
            return _extend(tokenizer, SENTINELS)
        if self.objective == "fim" and INFILLING[0] not in tokenizer.special_tokens:
            return _extend(tokenizer, INFILLING)
        return tokenizer

    def make_writer(
        self, tokenizer: Tokenizer, row_tokens: int, data: str
    ) -> PairWriter | InfillingWriter | None:
        """What makes rows of windows of text; None where they are learned as they are. Raises
        UserError for a mixture of texts, a tokenizer without the tokens that the objective needs,
        and rows that are too short for it.
        """
        paired = isinstance(tokenizer, PairedTokenizer)
        if (paired or self.objective == "fim") and len(split_sources(data)) > 1:
            raise UserError(
                f"data={data} has weights, and objective={self.choose_objective(paired)} makes "
                "rows of one text: leave them out."
            )
        if isinstance(tokenizer, PairedTokenizer):
            given = {"density": self.noise, "mean_span": self.mean_span}
            more = {name: value for name, value in given.items() if value is not None}
            objective = cast(PairedObjective, self.choose_objective(paired=True))
            return PairWriter(tokenizer, objective, row_tokens, **more)
        if self.objective != "fim":
            return None
        rate, suffix_first = (
            0.5 if each is None else each for each in (self.fim_rate, self.fim_suffix_first)
        )
        marks = find_infilling(tokenizer.special_tokens)
        return InfillingWriter(
            marks, tokenizer.begin, tokenizer.end, row_tokens, rate, suffix_first
        )


def _extend(tokenizer: Tokenizer, names: tuple[str, ...]) -> Tokenizer:
    if not isinstance(tokenizer, OwnTokenizer):
        raise UserError(
            f"the tokenizer has no {names[0]}, which the objective needs, and is none of fledge's, "
            "which can be given one: take the tokenizer of a model that was trained so."
        )
    return tokenizer.extend(names)


def is_paired(config: Any, base: Loaded | None) -> bool:
    """Whether what is trained is an encoder–decoder."""
    if base:
        return isinstance(base.tokenizer, PairedTokenizer)
    return config.architecture in PAIRS


def text_tokenizer(base: Loaded) -> Tokenizer:
    """The one by which running text is read."""
    own = base.tokenizer
    return own.inner if isinstance(own, PairedTokenizer) else own


def make_encoder_decoder(config: Any, tokenizer: Tokenizer) -> EncoderDecoder:
    """A fresh one on the CPU, as the fields of sizes say. Raises UserError for sizes that do not
    fit.
    """
    start = tokenizer.end if config.architecture == "bart" else tokenizer.pad
    if start is None or tokenizer.end is None:
        raise UserError(
            "the tokenizer has no token that pads, or none that ends a text, which an "
            "encoder–decoder needs: name both in its tokenizer_config.json."
        )
    known: Mapping[str, Any] = {
        name: getattr(config, name)
        for name in SizeFields.model_fields
        if name not in ("model", "architecture")
    }
    sizes = encoder_decoder_config(
        config.model, tokenizer.vocab_size, config.architecture, start, **known
    )
    check_memory(sizes.parameters, config.on())
    return EncoderDecoder(sizes, generator_for(config.seed, "weights"))
