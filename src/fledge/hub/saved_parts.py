"""A Hugging Face folder out of a checkpoint that several ranks have written, one tensor at a time:
neither the network nor two copies of its weights are ever in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.hub.config_file import read_config, write_config
from fledge.hub.families import family_of
from fledge.hub.weights_file import translate
from fledge.json_file import json_text
from fledge.runs.model_files import write_model
from fledge.saved_tensor import SavedTensor
from fledge.tensor_file import stream_tensors
from fledge.text.tokenizer import Tokenizer, load_tokenizer

_SIGN = "network.embedding.weight"  # ends the name of the first weight of a language model


def save_layout(folder: Path, network: nn.Module, tokenizer: Tokenizer) -> None:
    """All of a model but its weights: what `save_parts` needs beside a checkpoint. Raises
    OSError.
    """
    folder.mkdir(exist_ok=True)
    config = write_config(family_of(network), network, tokenizer, False)
    text = json_text(config, str(folder / "config.json"), indent=2) + "\n"
    (folder / "config.json").write_text(text)
    tokenizer.save(folder)


def save_parts(folder: Path, layout: Path, state: Any, dtype: torch.dtype) -> None:
    """The model of a checkpoint's state as a folder. layout: of `save_layout`. Raises UserError for
    a state that holds no whole language model; OSError.
    """
    family, config, _ = read_config(layout)
    sizes, tokenizer = family.read_config(config, layout), load_tokenizer(layout)
    saved = find_weights(state)
    needed = {weight.ours: weight for weight in family.weights(sizes)}
    lacking = sorted(each for each, weight in needed.items() if weight.needed and each not in saved)
    if lacking:
        raise UserError(
            f"the checkpoint has no {lacking[0]}: it holds a part of a model, as an adapter. Let "
            "`fledge resume` finish the run, whose model can then be exported."
        )
    order = [weight for name, weight in needed.items() if name in saved]
    shapes = {name: shape for weight in order for name, shape in weight.theirs}
    tensors = translate(_Read({weight.ours: saved[weight.ours] for weight in order}), sizes, family)
    with write_model(folder) as beside:
        stream_tensors(
            beside / "model.safetensors", shapes, dtype, tensors, {"format": "pt"}
        )  # fmt: skip
        raw = json.loads((layout / "config.json").read_text())
        (beside / "config.json").write_text(
            json_text(raw, str(folder / "config.json"), indent=2) + "\n"
        )
        tokenizer.save(beside)


def find_weights(state: Any) -> dict[str, Tensor | SavedTensor]:
    """Of a language model, by the names that its network has for them; {} where there is none."""
    if not isinstance(state, Mapping):
        return {}
    for name in state:
        if isinstance(name, str) and name.endswith(_SIGN):
            prefix = name.removesuffix("embedding.weight")
            return {
                key.removeprefix(prefix): value
                for key, value in state.items()
                if key.startswith(prefix)
            }
    return next(filter(None, map(find_weights, state.values())), {})


class _Read(Mapping[str, Tensor]):
    """Tensors that are read when they are asked for, and not kept."""

    def __init__(self, saved: Mapping[str, Tensor | SavedTensor]) -> None:
        self.saved = saved

    def __getitem__(self, name: str) -> Tensor:
        value = self.saved[name]
        return value.read() if isinstance(value, SavedTensor) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self.saved)

    def __len__(self) -> int:
        return len(self.saved)
