"""A network made smaller by a method of `fledge compress`, and saved as small as it is."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from fledge.errors import UserError
from fledge.hub.folder import Loaded, find_model, save_model
from fledge.hub.gguf_model import check_writable, save_gguf
from fledge.hub.ollama import write_modelfile
from fledge.models.language.ngram_network import NgramNetwork
from fledge.models.language.pruning import (
    check_parts,
    choose_kept,
    cut_parts,
    keep_largest,
    keep_largest_of,
    list_matrices,
    rank_parts,
)
from fledge.models.language.quantisation import INT4, INT8, Rounded
from fledge.models.language.rounded_network import Rounding, Rows, list_seen, round_network
from fledge.models.language.transformer import Transformer
from fledge.recipes.language.held_against import MaterialFields
from fledge.runs.model_files import GGUF, write_model
from fledge.runs.show import Show

_GRIDS = {"int8": INT8, "int4": INT4}
_OF_METHOD = {
    "rounding": ("int8", "int4"), "sparsity": ("magnitude", "structured"),
    "pattern": ("magnitude",), "kv_groups": ("structured",),
}  # fmt: skip


class SmallerFields(MaterialFields):
    """How it is made smaller."""

    method: Literal["int8", "int4", "magnitude", "structured"] = Field(
        default="int4",
        description=(
            "int8, int4: matrices in 8.5 or 4.5 bits a number, in a GGUF file (embeddings in 8.5); "
            "magnitude: the smallest weights become 0; structured: whole MLP channels and groups "
            "of heads are left out"
        ),
    )
    rounding: Rounding | None = Field(
        default=None,
        description=(
            "int8, int4: nearest, each number for itself; gptq: so that the layers answer as "
            "before on the calibration rows. By default gptq where data is given"
        ),
    )
    sparsity: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="share that goes: of each matrix (magnitude), of MLP channels (structured)",
    )
    pattern: Literal["free", "2:4"] = Field(
        default="free",
        description="magnitude: which weights of a matrix go; 2:4: two of every four in a row",
    )
    kv_groups: int = Field(
        default=0,
        ge=0,
        description=(
            "structured: heads of keys and values that go in every layer, their queries with them"
        ),
    )

    @property
    def rounds(self) -> bool:
        """Whether the model becomes a GGUF file."""
        return self.method in _GRIDS

    @property
    def chosen_rounding(self) -> Rounding:
        return self.rounding or ("nearest" if self.data is None else "gptq")

    def describe(self) -> str:
        """The method, in words."""
        if self.rounds:
            return f"{self.method}, {self.chosen_rounding}"
        if self.method == "magnitude":
            share = "2 of 4" if self.pattern == "2:4" else f"{self.sparsity:.0%}"
            return f"magnitude, {share} of every matrix"
        return f"structured, {self.sparsity:.0%} of the channels, {self.kv_groups} KV groups"

    def check(self) -> None:
        """Raises UserError for settings that do not go together."""
        for field, methods in _OF_METHOD.items():
            if field in self.model_fields_set and self.method not in methods:
                raise UserError(
                    f"{field} is of method={' and method='.join(methods)}, and "
                    f"method={self.method} was given: leave out {field}, or choose another method."
                )
        if self.data is None and (self.method == "structured" or self.rounding == "gptq"):
            what = "rounding=gptq" if self.rounding == "gptq" else "method=structured"
            raise UserError(
                f"{what} hangs on what the layers are given to read: give data=FILE, text or "
                "conversations."
            )
        if self.pattern == "2:4" and "sparsity" in self.model_fields_set:
            raise UserError("pattern=2:4 sets half of all weights to 0: leave out sparsity.")

    def check_network(self, network: Any) -> None:
        """Raises UserError for a model that the method cannot make smaller."""
        if self.rounds:
            try:
                check_writable(network)
            except UserError as error:
                raise UserError(f"method={self.method} writes a GGUF file, and {error}") from error
        if isinstance(network, NgramNetwork):
            raise UserError(
                "an n-gram model is made smaller as it is counted: give prune=1 to "
                "`fledge pretrain architecture=ngram`."
            )
        if self.method != "structured":
            return
        if not isinstance(network, Transformer):
            raise UserError(
                "method=structured cuts heads and MLP channels of a transformer, and the model is "
                f"a {type(network).__name__}: choose another method."
            )
        groups = network.config.kv_heads
        if self.kv_groups >= groups:
            raise UserError(
                f"kv_groups={self.kv_groups} was given, and the model has {groups} in a layer: one "
                "or more must stay."
            )
        check_parts(network.config, groups - self.kv_groups)


def make_smaller(
    config: SmallerFields, base: Loaded, network: Any, rows: Rows | None, folder: Path, show: Show
) -> tuple[Any, dict[str, Any]]:
    """The smaller network, saved in `folder`, and what a summary says of how it was made. The one
    given is changed. Raises UserError for a family that cannot say what is left.
    """
    if config.rounds:
        with show.progress("compress", len(list_seen(network)), "error") as watch:
            rounded = round_network(
                network, _GRIDS[config.method], rows, config.chosen_rounding,
                lambda done, error: watch.step(done, {"error": error}),
            )  # fmt: skip
        save_rounded(folder, base, rounded.matrices)
        if not rounded.errors:
            return network, {}
        worst = max(rounded.errors, key=rounded.errors.__getitem__)
        return network, {"worst_matrix": worst, "worst_error": rounded.errors[worst]}
    own: dict[str, Any] = {}
    if config.method == "magnitude":
        own = {"zeros": prune(config, network)}
    else:
        assert rows is not None
        network = cut(config, network, rows)
    kept = copy.deepcopy(network).to(find_narrowest(network))
    save_model(folder, kept, base.tokenizer)
    return network, own


@torch.no_grad()
def prune(config: SmallerFields, network: Any) -> int:
    """How many numbers were set to 0."""
    zeros = 0
    for matrix in list_matrices(network):
        kept = (
            keep_largest(matrix, config.sparsity) if config.pattern == "free"
            else keep_largest_of(matrix, 2, 4)
        )  # fmt: skip
        matrix.mul_(kept)
        zeros += int((~kept).sum())
    return zeros


def cut(config: SmallerFields, network: Any, rows: Rows) -> Any:
    """The network of the channels and groups that write most."""
    c = network.config
    channels, groups = rank_parts(network, *rows)
    kept = max(1, c.mlp_width - int(config.sparsity * c.mlp_width))
    return cut_parts(
        network, [choose_kept(each, kept) for each in channels],
        [choose_kept(each, c.kv_heads - config.kv_groups) for each in groups],
    )  # fmt: skip


def save_rounded(folder: Path, base: Loaded, matrices: Mapping[str, Rounded]) -> None:
    """A GGUF file with the very numbers that were chosen, and the tokenizer's files beside."""
    with write_model(folder) as beside:
        path = beside / GGUF
        save_gguf(path, base.network, base.tokenizer, name=base.source.stem, rounded=matrices)
        write_modelfile(path, base.tokenizer, base.network.config.context)
        base.tokenizer.save(beside)


def find_narrowest(network: Any) -> torch.dtype:
    """16 bits, where every weight is such a number: nothing is rounded."""
    for dtype in (torch.bfloat16, torch.float16):
        if all(torch.equal(weight.to(dtype).float(), weight) for weight in network.parameters()):
            return dtype
    return torch.float32


def measure_size(model: Loaded) -> int:
    """Bytes of a model's weights, as they are stored; of an adapter those of its base, too."""
    places = [model.folder, *([] if model.base is None else [find_model(model.base.path)])]
    files = [file for place in places
             for file in ([place] if place.is_file() else place.iterdir())
             if file.suffix in (".safetensors", ".gguf")]  # fmt: skip
    return sum(file.stat().st_size for file in files)
