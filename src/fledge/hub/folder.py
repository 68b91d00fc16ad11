"""A model as a folder in Hugging Face's layout: config.json, model.safetensors and the tokenizer,
read from one file or several, written whole or not at all.

Which family a network is of, and what its config and its tensors are called, is known to
`hub.families`; a reward model is its ForSequenceClassification with one label. `transformers` loads
what fledge writes of a family that it knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.hub.config_file import read_config, write_config
from fledge.hub.families import family_of
from fledge.hub.stored_weights import has_weights, open_weights
from fledge.hub.weights_file import SCORE, check_header, fill, find_dtype, to_hugging_face
from fledge.json_file import json_text
from fledge.models.language.heads import ScalarModel
from fledge.policy import TokenPolicy
from fledge.runs.model_files import (
    check_model,
    find_standing_model,
    how_to_have_a_model,
    write_model,
)
from fledge.tensor_file import write_tensors
from fledge.text.tokenizer import Tokenizer, load_tokenizer

_PADDED_TO = 64  # rows
_MOST_PADDING = 1024


@dataclass(frozen=True)
class Loaded:
    """What a model folder holds."""

    network: Any  # a TokenNetwork
    tokenizer: Tokenizer
    folder: Path
    config: dict[str, Any]  # config.json, fledge's own entries included

    def policy(self, chunk: int = 1024) -> TokenPolicy:
        return TokenPolicy(
            self.network, actions(self.tokenizer, self.network.config.vocab_size), chunk=chunk
        )


def actions(tokenizer: Tokenizer, rows: int | None = None) -> Tensor:
    """The tokens a policy may say: text and the stop token, no other special, no row of the
    embedding without a token.

    rows: V of the network, by default as many as the tokenizer has tokens.  [V] bool
    """
    tokens = tokenizer.vocab_size
    allowed = torch.arange(tokens if rows is None else rows) < tokens
    for special in (
        tokenizer.pad,
        tokenizer.begin,
        tokenizer.system,
        tokenizer.user,
        tokenizer.assistant,
    ):
        allowed[special] = False
    return allowed


def find_model(path: Path) -> Path:
    """The model folder a user means: a run (its model/) or a model folder itself. Raises UserError
    for anything else.
    """
    for folder in (find_standing_model(path / "model"), find_standing_model(path)):
        if has_weights(folder) and (folder / "config.json").is_file():
            return folder
    if not path.exists():
        raise UserError(
            f"{path} does not exist: give a run such as runs/pretrain, or a model folder."
        )
    raise UserError(
        f"{path} holds no model (model.safetensors with its config.json): "
        f"{how_to_have_a_model(path)}"
    )


def save_model(
    folder: Path,
    network: nn.Module,
    tokenizer: Tokenizer,
    *,
    scalar: ScalarModel | None = None,
    **notes: Any,
) -> None:
    """Write beside, sync, then rename. `notes` go into config.json as they are. Raises OSError, the
    earlier folder intact.
    """
    family = family_of(network)
    weights = {name: tensor.contiguous() for name, tensor in to_hugging_face(network, family)}
    if scalar is not None:
        weights[SCORE] = scalar.head.linear.weight.detach().cpu().contiguous()
    config = write_config(family, network, tokenizer, scalar is not None) | notes
    with write_model(folder) as beside:
        write_tensors(beside / "model.safetensors", weights, {"format": "pt"})
        (beside / "config.json").write_text(
            json_text(config, str(folder / "config.json"), indent=2) + "\n"
        )
        tokenizer.save(beside)


def load_model(path: Path, *, as_stored: bool = False) -> Loaded:
    """The model of a run or a model folder, in float32.

    as_stored: in the precision of its file. Raises UserError for one that is missing, damaged or
    not of a known kind, and for a reward model.
    """
    loaded, score = _load(find_model(path), as_stored)
    if score is not None:
        raise UserError(
            f"{path} is a reward model, which scores texts and writes none: give the model it was "
            "made from."
        )
    return loaded


def load_reward_model(path: Path) -> tuple[ScalarModel, Loaded]:
    """A reward model. Raises UserError if the folder holds another kind of model."""
    loaded, score = _load(find_model(path), as_stored=False)
    if score is None:
        raise UserError(f"{path} is not a reward model: make one with `fledge reward`.")
    model = ScalarModel(loaded.network)
    model.head.linear.weight.data.copy_(score)
    return model, loaded


def _load(folder: Path, as_stored: bool) -> tuple[Loaded, Tensor | None]:
    """The model, and the weights of its scores where it is a reward model. Everything is checked
    before it is made.
    """
    check_model(folder)
    family, config, raw = read_config(folder)
    sizes = family.read_config(config, folder)
    weights = open_weights(folder, family)
    check_header(weights, family, sizes, config.scalar, sizes.width)
    tokenizer = load_tokenizer(folder)
    _check_tokenizer(tokenizer, sizes.vocab_size, folder)
    network = family.build(family.adapt(sizes, weights), tokenizer.begin)
    fill(network, weights, family, find_dtype(weights) if as_stored else torch.float32)
    return Loaded(network, tokenizer, folder, raw), weights[SCORE] if config.scalar else None


def _check_tokenizer(tokenizer: Tokenizer, rows: int, folder: Path) -> None:
    """Raises UserError for a tokenizer of another model.

    Rows that no token has are legal where they fill an embedding up to a multiple of 64, as many
    models' do for the speed of their products (Qwen's 151,665 tokens have 151,936 rows): nobody
    says them.
    """
    tokens = tokenizer.vocab_size
    padding = rows - tokens
    if padding != 0 and not (0 < padding < _MOST_PADDING and rows % _PADDED_TO == 0):
        raise UserError(
            f"the tokenizer in {folder} has {tokens:,} tokens and the model's embedding {rows:,} "
            "rows: they belong to two models. Put the model's own tokenizer.json and "
            "tokenizer_config.json back."
        )
