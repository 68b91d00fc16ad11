"""What a model folder holds, in memory: a network and its tokenizer, put under an adapter, merged,
and written as a folder again, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fledge.hub.adapter_folder import (
    Base,
    save_adapter,
)
from fledge.hub.adapter_start import Adapter, start_bottlenecks, start_lora, start_virtual
from fledge.hub.adapter_targets import ALL_LINEAR
from fledge.hub.by_name import is_name
from fledge.hub.config_file import write_config
from fledge.hub.encoder_adapter import list_head_modules
from fledge.hub.families import family_of
from fledge.hub.label_folder import name_labels, note_labels
from fledge.hub.sentence_folder import NOTE, write_pooling
from fledge.hub.weights_file import SCORE, to_hugging_face
from fledge.json_file import json_text
from fledge.models.language.adapters import LoRA, is_adapted, merge_adapters
from fledge.models.language.bottleneck import Houlsby
from fledge.models.language.decoder_labels import DecoderLabels
from fledge.models.language.encoder import Encoder
from fledge.models.language.frozen_weights import FrozenWeights
from fledge.models.language.heads import ScalarModel
from fledge.models.language.sentence_vectors import Pooling
from fledge.policy import TokenPolicy
from fledge.runs.model_files import (
    write_model,
)
from fledge.tensor_file import write_tensors
from fledge.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Loaded:
    """What a model folder holds."""

    network: Any  # a TokenNetwork
    tokenizer: Tokenizer
    folder: Path
    config: dict[str, Any]  # config.json, fledge's own entries included
    base: Base | None = None  # of an adapter
    asked: Path | None = None  # what the user called it
    family: Path | None = None  # the user's file that it was read by, as its run remembers
    pooling: Pooling | None = None  # of an encoder whose folder says how a text becomes a vector

    @property
    def source(self) -> Path:
        """What a lineage calls it: as the user did, or the folder that a name on the hub became."""
        return self.folder if self.asked is None or is_name(self.asked) else self.asked

    def policy(self, chunk: int = 1024) -> TokenPolicy:
        return TokenPolicy(
            self.network, actions(self.tokenizer, self.network.config.vocab_size), chunk=chunk
        )

    def adapt(
        self,
        settings: Adapter,
        modules: Sequence[str] = (ALL_LINEAR,),
        saved: Sequence[str] = (),
        *,
        weights: FrozenWeights = "fp32",
        generator: torch.Generator | None = None,
    ) -> Loaded:
        """The same model, frozen in place, with a fresh adapter on it; one that it had is merged
        into it.

        modules: which matrices LoRA adapts, saved: which modules learn whole beside it, both by the
        ends of their Hugging Face names; what stands on an encoder does so anyhow. weights: how the
        frozen matrices are held.
        Raises UserError for modules that the model has not, and for an adapter that it had and that
        cannot be merged.
        """
        if is_adapted(self.network):
            merge_adapters(self.network)
        network = self.network
        if isinstance(network, DecoderLabels):  # its score learns whole
            network = network.network
        if isinstance(network, Encoder):
            saved = [*saved, *list_head_modules(network)]
        if isinstance(settings, LoRA):
            start_lora(network, settings, modules, saved, weights, generator)
        elif isinstance(settings, Houlsby):
            start_bottlenecks(network, settings, weights, generator)
        else:
            sayable = actions(self.tokenizer, network.config.vocab_size)
            start_virtual(network, settings, self.tokenizer, sayable, weights, generator)
        self.network.eval()
        return replace(self, base=Base(self.source, weights))

    def merged(self) -> Loaded:
        """The same model, its adapter merged into it in place if it has one: all of it learns.
        Raises UserError for an adapter that no matrix can hold.
        """
        if self.base is None:
            return self
        merge_adapters(self.network)
        return replace(self, base=None)

    def save(self, folder: Path, scalar: ScalarModel | None = None, **notes: Any) -> None:
        """As it is: whole, or the adapter alone where it has one. Raises OSError, the earlier
        folder intact.
        """
        if self.base is None:
            save_model(
                folder, self.network, self.tokenizer, scalar=scalar, pooling=self.pooling, **notes
            )
        else:
            network, score = self.network, None if scalar is None else scalar.head.linear.weight
            if isinstance(network, DecoderLabels):
                notes |= note_labels(network)
                network, score = network.network, network.score.weight
            if self.pooling is not None:
                notes[NOTE] = asdict(self.pooling)
            save_adapter(folder, network, self.tokenizer, self.base, score, **notes)


def actions(tokenizer: Tokenizer, rows: int | None = None) -> Tensor:
    """The tokens a policy may say: those that the tokenizer has sayable, no row of the embedding
    without a token.

    rows: V of the network, by default as many as the tokenizer has tokens.  [V] bool
    """
    allowed = torch.zeros(tokenizer.vocab_size if rows is None else rows, dtype=torch.bool)
    sayable = torch.from_numpy(tokenizer.sayable)[: len(allowed)]
    allowed[: len(sayable)] = sayable
    return allowed


def save_model(
    folder: Path,
    network: Any,
    tokenizer: Tokenizer,
    *,
    scalar: ScalarModel | None = None,
    pooling: Pooling | None = None,
    **notes: Any,
) -> None:
    """Write beside, sync, then rename. `notes` go into config.json as they are. Raises OSError, the
    earlier folder intact.
    """
    score = None if scalar is None else scalar.head.linear.weight
    if isinstance(network, DecoderLabels):
        notes |= name_labels(network)
        network, score = network.network, network.score.weight
    family = family_of(network)
    weights = {name: tensor.contiguous() for name, tensor in to_hugging_face(network, family)}
    if score is not None:
        weights[SCORE] = score.detach().cpu().contiguous()
    if pooling is not None:
        notes[NOTE] = asdict(pooling)
    config = write_config(family, network, tokenizer, score is not None) | notes
    with write_model(folder) as beside:
        write_tensors(beside / "model.safetensors", weights, {"format": "pt"})
        (beside / "config.json").write_text(
            json_text(config, str(folder / "config.json"), indent=2) + "\n"
        )
        tokenizer.save(beside)
    if pooling is not None:
        # For other programs: config.json has said it, should a kill come before.
        write_pooling(folder, pooling, network.config.width)
