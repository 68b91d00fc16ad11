"""The fields of `fledge tune` where an encoder learns to label, and where it learns embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.recipes.constraint_fields import Texts
from fledge.recipes.family_field import FamilyField
from fledge.recipes.language.freeze_fields import FreezeFields, split_names
from fledge.recipes.language.lora_fields import LoraFields
from fledge.recipes.language.rows import RowsConfig
from fledge.recipes.training import LARGE, count_parameters
from fledge.seeds import generator_for

SMALL = 4_000_000  # parameters, below which a model has mostly been raised here
RATES = {SMALL: 5e-4, LARGE: 1e-4}
LARGE_RATE = 3e-5
ADAPTER_RATE = 5e-4  # Hu et al. 2022, table 9: RoBERTa's on SST-2, MNLI and others
EPOCHS = 3


class EncoderTuneConfig(LoraFields, FamilyField, FreezeFields, RowsConfig):
    """Of an encoder's rows."""

    # A step of sentences fits mostly; one of long texts is cut, or its activations would take more
    # than the weights, gradients and moments together.
    micro_batch_tokens: ClassVar[int] = 384
    micro_batches_from: ClassVar[int] = SMALL

    base: Path = Field(
        description="the encoder to start from, a run or a model folder; of classify a decoder, too"
    )
    data: Path = Field(description="rows to learn from")
    validation: Path | None = Field(
        default=None, description="rows that steer; by default one in twenty of data"
    )
    test: Path | None = Field(
        default=None, description="rows that are read once, at the end; by default one in twenty"
    )
    adapter: Literal["none", "lora"] = Field(
        default="none",
        description="lora: low-rank matrices learn beside the frozen encoder, and what stands on "
        "it learns whole; PEFT reads what is written",
    )
    rows_per_step: int = Field(default=32, ge=1, description="rows an optimizer step")
    # Eight steps are a tenth faster than one (MiniLM, sst2). The loss of tags is a mean over
    # tokens, so that steps of short rows would weigh theirs more than steps of long ones.
    window: int | None = Field(
        default=None,
        ge=1,
        description="steps formed together of rows of like length; 1 leaves the order quite "
        "random; by default 8, of tags 1",
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        description=f"passes over the training rows; {EPOCHS} where no steps are given",
    )
    steps: int = Field(default=1000, ge=1, description="optimizer steps, in place of epochs")
    learning_rate: float | None = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default=None,
        gt=0,
        description=f"at its peak; by default {RATES[SMALL]:g}, {RATES[LARGE]:g} from "
        f"{SMALL // 10**6} million parameters on, {LARGE_RATE:g} from {LARGE // 10**6} million on; "
        f"{ADAPTER_RATE:g} of an adapter",
    )
    rows_per_micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="rows differentiated at a time: memory only, never the numbers; by default a "
        "whole step, and 384 tokens of a model of 4 million parameters or more",
    )
    schedule: Literal["constant", "linear", "cosine", "wsd"] = Field(
        default="linear",
        description="of the learning rate after its rise; wsd: constant up to the last fifth",
    )
    weight_decay: float = Field(default=0.01, ge=0, description="on matrices only")

    def check(self) -> Self:
        """With the epochs that stand for neither steps nor epochs. Raises UserError for what a run
        of an encoder has not.
        """
        self.check_epochs()
        self._check_adapter()
        if self.shard != "none" or self.tensor_parallel > 1:
            raise UserError(
                "an encoder is tuned with all of its weights in every process: leave out shard= "
                "and tensor_parallel=."
            )
        if "steps" in self.model_fields_set or self.epochs is not None:
            return self
        return self.model_copy(update={"epochs": EPOCHS})

    def _check_adapter(self) -> None:
        """Raises UserError for fields of an adapter where there is none, and for freeze beside
        one.
        """
        if self.adapter == "lora" and self.freeze:
            raise UserError(
                f"freeze={self.freeze} chooses among weights that learn whole, and under an "
                "adapter all of the base is frozen: leave out one of them."
            )
        for name, field in LoraFields.model_fields.items():
            if self.adapter == "none" and getattr(self, name) != field.default:
                raise UserError(
                    f"{name}={getattr(self, name)} is of adapter=lora, and all of the encoder "
                    "learns: give adapter=lora, or leave it out."
                )

    def put_adapter(self, loaded: Loaded) -> Loaded:
        """The encoder, under its head, with what was asked for beside its matrices. Raises
        UserError for modules that it has not.
        """
        if self.adapter == "none":
            return loaded
        return loaded.adapt(
            self.make_lora(), split_names(self.adapter_modules), weights=self.base_weights,
            generator=generator_for(self.seed, "weights", "adapter"),
        )  # fmt: skip

    def suit(self, network: Any) -> Self:
        """With the learning rate for a network of this size, if none was given."""
        if self.learning_rate is not None:
            return self
        if self.adapter == "lora":
            return self.model_copy(update={"learning_rate": ADAPTER_RATE})
        size = count_parameters(network)
        rate = next((rate for most, rate in RATES.items() if size < most), LARGE_RATE)
        return self.model_copy(update={"learning_rate": rate})

    def steps_formed_together(self) -> int:
        return self.window or 8


class TuneLabelsConfig(EncoderTuneConfig):
    """Teach an encoder to label: a text (classify), two texts (pair), each word (tag), or which of
    several choices is right (choose). Rows come from a .jsonl, a .csv or .tsv with a header, or of
    tags a CoNLL column file.
    """

    task: Literal["classify", "pair", "tag", "choose"] = Field(
        description="classify: `text`, `label`; pair: `text_a`, `text_b`, `label`; tag: `tokens`, "
        "`tags`; choose: `question`, `choices`, `answer`"
    )
    labels: Texts | None = Field(
        default=None,
        description='in their order, as ["no", "yes"]; by default all of data, sorted',
    )
    dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of hidden units that are 0 in training, by seed, step and row; by "
        "default what the encoder's config.json says (hidden_dropout_prob)",
    )

    def steps_formed_together(self) -> int:
        return 1 if self.window is None and self.task == "tag" else super().steps_formed_together()


class TuneEmbedConfig(EncoderTuneConfig):
    """Teach an encoder embeddings of sentences: each text is to lie nearer to its partner than to
    those of all other rows of the step (InfoNCE).
    """

    task: Literal["embed"] = Field(
        description="`anchor`, `positive`, or `text_a`, `text_b`; held-out rows may have a `score`"
    )
    temperature: float = Field(
        default=0.05, gt=0, description="that cosines are divided by in the loss"
    )
    dimensions: str = Field(
        default="",
        description="beginnings of an embedding that are trained to stand for it, as 384,128,32 "
        "(Matryoshka); by default the whole",
    )
    window: int | None = Field(
        default=1, ge=1, description="steps formed together of rows of like length"
    )

    def sizes(self, width: int) -> tuple[int, ...]:
        """Of the trained beginnings. Raises UserError for what is none."""
        words = [word.strip() for word in self.dimensions.split(",") if word.strip()]
        if not all(word.isdecimal() and 1 <= int(word) <= width for word in words):
            raise UserError(
                f"dimensions={self.dimensions} was given, and an embedding of this encoder has "
                f"{width} numbers: give whole numbers from 1 to {width}, with a comma between them."
            )
        return tuple(map(int, words)) or (width,)


TASKS: dict[str, type[TuneLabelsConfig] | type[TuneEmbedConfig]] = {
    "classify": TuneLabelsConfig,
    "pair": TuneLabelsConfig,
    "tag": TuneLabelsConfig,
    "choose": TuneLabelsConfig,
    "embed": TuneEmbedConfig,
}
