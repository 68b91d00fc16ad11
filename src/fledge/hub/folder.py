"""A model read from a folder in Hugging Face's layout: config.json, model.safetensors, in one file
or several, and the tokenizer; `loaded` writes one.

Which family a network is of, and what its config and its tensors are called, is known to
`hub.families`; a reward model is its ForSequenceClassification with one label. `transformers` loads
what fledge writes of a family that it knows.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.adapter_folder import (
    Base,
    find_base,
    holds_adapter,
    put_on,
    read_notes,
    stands_beside,
)
from fledge.hub.adapter_targets import WHOLE, Freeze, FrozenBase, keep_whole
from fledge.hub.arpa_model import is_arpa, open_arpa
from fledge.hub.by_name import fetch_by_name, is_name
from fledge.hub.config_file import check_config, read_config
from fledge.hub.encoder_adapter import NOTE as LABELS
from fledge.hub.families import ENCODERS, family_of
from fledge.hub.gguf_model import is_gguf, open_gguf
from fledge.hub.label_folder import counts_labels, stand_labels
from fledge.hub.loaded import Loaded as Loaded
from fledge.hub.loaded import actions as actions
from fledge.hub.loaded import save_model as save_model
from fledge.hub.own_families import use_family_of
from fledge.hub.sentence_folder import read_pooling
from fledge.hub.stored_weights import has_weights, open_weights
from fledge.hub.weights_file import SCORE, check_header, fill, find_dtype
from fledge.hub.word_vectors import is_of_vectors
from fledge.models.language.adapters import is_adapted, merge_adapters
from fledge.models.language.decoder_labels import DecoderLabels
from fledge.models.language.encoder import Encoder
from fledge.models.language.heads import ScalarModel
from fledge.models.language.transformer import Transformer
from fledge.runs.model_files import GGUF, check_model, find_standing_model, how_to_have_a_model
from fledge.text.tokenizer import Tokenizer, load_tokenizer
from fledge.trained_state import share_weights


def find_model(path: Path) -> Path:
    """The model folder a user means: a run (its model/) or a model folder itself; or a GGUF file,
    alone or in one of these; or an ARPA file. Raises UserError for anything else.
    """
    if is_gguf(path) or is_arpa(path):
        return path
    if is_name(path):
        path = fetch_by_name(path)
    if is_of_vectors(path):
        raise UserError(
            f"{path} has word vectors, which say nothing by themselves: ask them by `fledge "
            "vectors run=`, or give a run of a language model."
        )
    for folder in (find_standing_model(path / "model"), find_standing_model(path)):
        if has_weights(folder) and (folder / "config.json").is_file():
            return folder
        if holds_adapter(folder):
            return folder
        if is_gguf(folder / GGUF):
            return folder / GGUF
    if not path.exists():
        raise UserError(
            f"{path} does not exist: give a run such as runs/pretrain, a model folder, a .gguf "
            "file, or a name on the Hugging Face Hub, owner/name."
        )
    raise UserError(
        f"{path} holds no model (model.safetensors with its config.json): "
        f"{how_to_have_a_model(path)}"
    )


def load_model(
    path: Path, *, as_stored: bool = False, backward: bool = False, freeze: Freeze = keep_whole
) -> Loaded:
    """The model of a run or a model folder, in float32.

    as_stored: in the precision of its file. backward: one that reads texts from their end, too.
    freeze: how an adapter is going to hold its matrices, each of which is rounded as it is read;
    not asked about the base of an adapter's folder, which says it.
    Raises UserError for one that is missing, damaged or not of a known kind, and for a reward
    model.
    """
    loaded, score = _load(find_model(path), as_stored, freeze)
    if score is not None:
        raise UserError(
            f"{path} is a reward model, which scores texts and writes none: give the model it was "
            "made from."
        )
    if isinstance(loaded.network, Encoder):
        raise UserError(
            f"{path} is an encoder ({family_of(loaded.network).name}), which has no next token to "
            "say: `fledge evaluate` measures it, and fledge.load_encoder(…).embed gives vectors of "
            "texts."
        )
    _refuse_labels(loaded, path)
    if not backward:
        _refuse_backward(loaded, path)
    return replace(loaded, asked=path)


def _refuse_labels(loaded: Loaded, path: Path) -> None:
    if isinstance(loaded.network, DecoderLabels):
        raise UserError(
            f"{path} tells {len(loaded.network.config.labels)} labels apart, and has no next token "
            "to say and no reward to give: `fledge label` asks it."
        )


def _refuse_backward(loaded: Loaded, path: Path) -> None:
    if getattr(loaded.network.config, "backward", False):
        raise UserError(
            f"{path} reads texts from their end (backward=true), and writes none: `fledge "
            "evaluate` measures it, and `fledge vectors contextual=` has it beside one that reads "
            "forward."
        )


def is_encoder(path: Path) -> bool:
    """Whether a run or a model folder holds an encoder. Raises UserError for what is no model."""
    folder = find_model(path)
    if is_gguf(folder) or is_arpa(folder):
        return False
    if holds_adapter(folder):
        return is_encoder(find_base(folder).path)
    return read_config(folder)[0] in ENCODERS


def tells_labels(path: Path) -> bool:
    """Whether a run or a model folder holds a decoder that labels. Raises UserError for what is no
    model.
    """
    folder = find_model(path)
    if is_gguf(folder) or is_arpa(folder) or is_encoder(folder):
        return False
    if holds_adapter(folder):
        return LABELS in read_notes(folder)
    _, config, raw = read_config(folder)
    return config.scalar and counts_labels(raw) > 1


def load_labeller(path: Path) -> Loaded:
    """An encoder, or a decoder that labels. Raises UserError for another kind of model."""
    return load_label_base(path) if tells_labels(path) else load_encoder(path)


def load_label_base(path: Path) -> Loaded:
    """A decoder that labels, or may be taught to. Raises UserError for another kind of model."""
    loaded, _ = _load(find_model(path), as_stored=False)
    network = loaded.network
    if not isinstance(network, DecoderLabels) and (
        not isinstance(network, Transformer) or network.lead
    ):
        raise UserError(
            f"{path} is a {type(network).__name__}, which labels nothing here: give an encoder, as "
            "BERT is, or a decoder such as Llama."
        )
    return replace(loaded, asked=path)


def load_encoder(path: Path) -> Loaded:
    """The encoder of a run or a model folder, in float32. Raises UserError for another kind of
    model.
    """
    loaded, _ = _load(find_model(path), as_stored=False)
    if not isinstance(loaded.network, Encoder):
        raise UserError(f"{path} is no encoder, as BERT is: it goes on with texts.")
    return replace(loaded, asked=path)


def load_any(path: Path) -> tuple[Loaded, ScalarModel | None]:
    """A model, and the score it gives where it is a reward model. Raises UserError."""
    loaded, score = _load(find_model(path), as_stored=False)
    _refuse_backward(loaded, path)
    _refuse_labels(loaded, path)
    return loaded, None if score is None else _make_scalar(loaded, score)


def _make_scalar(loaded: Loaded, score: Tensor) -> ScalarModel:
    model = ScalarModel(loaded.network)
    model.head.linear.weight.data.copy_(score)
    return model


def load_reward_model(path: Path) -> tuple[ScalarModel, Loaded]:
    """A reward model. Raises UserError if the folder holds another kind of model."""
    loaded, model = load_any(path)
    if model is None:
        raise UserError(f"{path} is not a reward model: make one with `fledge reward`.")
    return model, loaded


def _load(
    folder: Path, as_stored: bool, freeze: Freeze = keep_whole
) -> tuple[Loaded, Tensor | None]:
    """The model, and the weights of its scores where it is a reward model. Everything is checked
    before it is made.
    """
    if is_arpa(folder):
        return Loaded(*open_arpa(folder), folder, {}), None
    check_model(folder.parent if is_gguf(folder) else folder)
    file = use_family_of(folder)
    loaded, score = (
        _load_with_adapter(folder)
        if holds_adapter(folder)
        else _load_whole(folder, as_stored, freeze)
    )
    if score is not None and len(score) > 1:
        network = stand_labels(loaded.network, score, loaded.config, str(folder))
        loaded, score = replace(loaded, network=network), None
    return replace(loaded, family=file or loaded.family), score


def _load_whole(folder: Path, as_stored: bool, freeze: Freeze) -> tuple[Loaded, Tensor | None]:
    if is_gguf(folder):
        raw, weights, tokenizer = open_gguf(folder)
        family, config = check_config(raw, folder)
    else:
        family, config, raw = read_config(folder)
        weights, tokenizer = open_weights(folder, family), load_tokenizer(folder)
    sizes = family.read_config(config, folder)
    check_header(weights, family, sizes, config.scalar, sizes.width)
    tokenizer = family.tokenizer(tokenizer, sizes)
    _check_tokenizer(tokenizer, sizes.vocab_size, folder)
    network = family.build(family.adapt(sizes, weights), tokenizer.border)
    dtype = find_dtype(weights) if as_stored else torch.float32
    frozen = freeze(network)
    fill(network, weights, family, dtype, frozen.weights, frozen.choose_layers(network))
    network.eval()  # no dropout unless it is being trained
    pooling = read_pooling(folder, raw) if isinstance(network, Encoder) else None
    loaded = Loaded(network, tokenizer, folder, raw, pooling=pooling)
    return loaded, weights[SCORE] if config.scalar else None


def _load_with_adapter(folder: Path) -> tuple[Loaded, Tensor | None]:
    base = find_base(folder)
    # Where a part learned whole, `put_on` may make another network of the base's own tensors.
    frozen = FrozenBase(base.weights) if stands_beside(folder) else WHOLE
    if is_encoder(base.path):
        under = load_encoder(base.path)
    else:
        under = load_model(base.path, freeze=lambda network: frozen)
    if is_adapted(under.network):  # one on top of another
        merge_adapters(under.network)
    return _put_adapter(under, base, folder)


def load_over(path: Path, under: Loaded) -> tuple[Loaded, ScalarModel | None]:
    """As `load_any`, of an adapter whose base is there already, with nothing on it: the two, and
    others over it, hold its weights once. One that has parts of the base of its own gets a base of
    its own. Raises UserError for an adapter of another base.
    """
    folder = find_model(path)
    if not stands_beside(folder):
        return load_any(path)
    sharing = replace(under, network=share_weights(under.network))
    loaded, score = _put_adapter(sharing, find_base(folder), folder)
    return replace(loaded, asked=path), None if score is None else _make_scalar(loaded, score)


def _put_adapter(under: Loaded, base: Base, folder: Path) -> tuple[Loaded, Tensor | None]:
    network: Any
    network, score = put_on(under.network, folder, base.weights)
    own = (folder / "tokenizer.json").is_file()
    tokenizer = under.tokenizer
    if own:
        read_as = family_of(under.network).tokenizer
        tokenizer = read_as(load_tokenizer(folder), under.network.config)
    _check_tokenizer(tokenizer, network.config.vocab_size, folder)
    notes, carried, pooling = read_notes(folder), under.config, None
    if isinstance(network, Encoder):  # the base's task is not the adapter's
        carried = {k: v for k, v in carried.items() if not k.startswith("fledge_")}
        bare = not network.config.classifier
        pooling = (read_pooling(folder, notes) or under.pooling) if bare else None
    network.eval()
    loaded = Loaded(
        network, tokenizer, folder, carried | notes, base, family=under.family, pooling=pooling
    )
    return loaded, score


def _check_tokenizer(tokenizer: Tokenizer, rows: int, folder: Path) -> None:
    """Raises UserError for a tokenizer of another model."""
    tokens = tokenizer.vocab_size
    if not tokenizer.fits(rows):
        raise UserError(
            f"the tokenizer in {folder} has {tokens:,} tokens and the model's embedding {rows:,} "
            "rows: they belong to two models. Put the model's own tokenizer.json and "
            "tokenizer_config.json back."
        )
