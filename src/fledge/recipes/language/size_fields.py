"""The fields of recipes that make a fresh network: its sizes, which this machine must be able to
hold.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import torch
from pydantic import BaseModel, Field

from fledge.errors import UserError
from fledge.models.language.encoder import Encoder
from fledge.models.language.presets import encoder_config, recurrent_config, transformer_config
from fledge.models.language.recurrent import Recurrent
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.seeds import generator_for

TRAINING_BYTES_A_PARAMETER = 16  # in float32: the weight, its gradient and AdamW's two moments

ENCODERS = ("bert", "modernbert")


class SizeFields(BaseModel):
    """Sizes of a fresh model."""

    model: str = Field(
        default="tiny", description="preset of sizes: nano, tiny, mini, small, base, large"
    )
    architecture: Literal[
        "transformer", "elman", "lstm", "gru", "mingru", "ngram", "bert", "modernbert", "t5",
        "bart",
    ] = Field(
        default="transformer",
        description="or a recurrent model: elman, lstm, gru, mingru (gates that see the input "
        "alone, so that all steps train at once); ngram, which is counted; an encoder, "
        "which reads texts and writes none: bert, modernbert; or an encoder–decoder: t5, bart",
    )  # fmt: skip
    layers: int | None = Field(
        default=None, ge=1, le=1000,
        description="in place of the preset's; of t5 and bart on either side",
    )  # fmt: skip
    width: int | None = Field(default=None, ge=2, description="in place of the preset's")
    heads: int | None = Field(default=None, ge=1, description="in place of the preset's")
    kv_heads: int | None = Field(
        default=None, ge=1, description="in place of the preset's; by default as many as heads"
    )
    mlp_width: int | None = Field(default=None, ge=1, description="in place of 8/3 of the width")
    context: int | None = Field(
        default=None, ge=2, le=2**20, description="tokens, in place of the preset's"
    )
    dropout: float | None = Field(
        default=None, ge=0, lt=1,
        description="of what the layers of a recurrent model read, one mask a row (0 by default)",
    )  # fmt: skip
    tied: bool | None = Field(default=None, description="one matrix for embedding and unembedding")
    qk_norm: bool | None = Field(default=None, description="normalise queries and keys")
    rope_theta: float | None = Field(
        default=None, gt=0, description="base of the rotary frequencies"
    )

    def make_network(
        self,
        vocab_size: int,
        *,
        border: int | None,
        seed: int,
        device: torch.device,
        adapt: Callable[[TransformerConfig], TransformerConfig] = lambda sizes: sizes,
    ) -> Transformer | Recurrent:
        """A network of these sizes, on the CPU. adapt: what else a transformer has. Raises
        UserError for sizes that do not fit together, or into the device's memory.
        """
        given = self._list_sizes()
        begin = generator_for(seed, "weights")
        if self.architecture in ENCODERS:
            raise UserError(
                f"architecture={self.architecture} is an encoder, which writes no text, and is "
                "made by `fledge pretrain`: here choose another."
            )
        if self.architecture == "ngram":
            raise UserError(
                "architecture=ngram is counted, by `fledge pretrain`: here choose another."
            )
        if self.architecture in ("t5", "bart"):
            raise UserError(
                f"architecture={self.architecture} learns inputs and targets, by `fledge "
                "pretrain`: here choose another."
            )
        if self.architecture != "transformer":
            cells = recurrent_config(self.model, vocab_size, self.architecture, **given)
            check_memory(cells.parameters, device)
            return Recurrent(cells, border, begin)
        if given.pop("dropout") is not None:
            raise UserError(
                "dropout= is of a recurrent model's layers: leave it out, or choose "
                "architecture=lstm."
            )
        sizes = adapt(transformer_config(self.model, vocab_size, **given))
        check_memory(sizes.parameters, device)
        return Transformer(sizes, border=border, generator=begin)

    def make_encoder(
        self,
        vocab_size: int,
        heads: Mapping[str, Any],
        *,
        border: int,
        seed: int,
        device: torch.device,
    ) -> Encoder:
        """An encoder of these sizes, on the CPU. heads: fields of what stands on it. Raises
        UserError as `make_network` does.
        """
        sizes = encoder_config(
            self.model, vocab_size, self.architecture, heads, **self._list_sizes()
        )
        check_memory(sizes.parameters, device)
        return Encoder(sizes, border, generator_for(seed, "weights"))

    def _list_sizes(self) -> dict[str, Any]:
        known = {"model", "architecture"}
        return {name: getattr(self, name) for name in SizeFields.model_fields if name not in known}

    def list_given(self, *also: str) -> list[str]:
        """Which of these fields, and of `also`, the user has given."""
        names: Collection[str] = {*SizeFields.model_fields, *also}
        return sorted(self.model_fields_set & names)


def check_memory(parameters: int, device: torch.device) -> None:
    """Raises UserError for a model that this machine cannot hold, before anything is allocated."""
    if device.type == "cuda":
        memory = torch.cuda.mem_get_info(device)[1]
    else:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = TRAINING_BYTES_A_PARAMETER * parameters
    if needed > memory:
        raise UserError(
            f"a model of {parameters:.3g} parameters takes {needed / 1e9:,.0f} GB to train "
            f"and this machine has {memory / 1e9:,.0f} GB of memory: choose fewer `layers` or a "
            "smaller `width`."
        )
