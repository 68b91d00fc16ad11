"""Bottleneck adapters in a folder of fledge's own, since PEFT has no such class:
adapter_config.json with `adapter_type`, and adapter_model.safetensors with the names that the
layers have in fledge's network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fledge.errors import UserError
from fledge.models.language.bottleneck import Houlsby, add_bottlenecks, list_bottlenecks

ADAPTER_TYPE = "houlsby"


class HoulsbyConfig(BaseModel):
    """adapter_config.json."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, protected_namespaces=())

    adapter_type: Literal["houlsby"]
    width: Annotated[int, Field(ge=1, le=2**16)]
    base_model_name_or_path: str | None = None


@torch.no_grad()
def put_bottlenecks(
    network: Any, config: HoulsbyConfig, held: dict[str, Tensor], file: Path
) -> None:
    """Onto a Transformer that is frozen, out of the tensors of `file`, in place. Raises UserError
    for another model's.
    """
    add_bottlenecks(network, Houlsby(config.width))
    wanted = name_tensors(network)
    if odd := min(wanted.keys() ^ held.keys(), default=None):
        whose = "lacks" if odd in wanted else "has"
        raise UserError(f"{file} {whose} {odd}: the adapter is another model's.")
    for name, parameter in wanted.items():
        if parameter.shape != held[name].shape:
            raise UserError(
                f"{name} in {file} is {tuple(held[name].shape)}, and the base asks for "
                f"{tuple(parameter.shape)}: the adapter is another model's."
            )
        parameter.copy_(held[name])


def name_tensors(network: Any) -> dict[str, Tensor]:
    """What the bottlenecks of a network learn, by the names of the file."""
    return {
        f"{place}.{layer}.{part}": tensor
        for place, bottleneck in list_bottlenecks(network)
        for layer in ("down", "up")
        for part, tensor in getattr(bottleneck, layer).named_parameters()
    }


def write_houlsby_config(network: Any, *, base: str) -> dict[str, Any]:
    """adapter_config.json of the network's bottlenecks."""
    _, some = next(list_bottlenecks(network))
    config = HoulsbyConfig(
        adapter_type=ADAPTER_TYPE, width=some.down.out_features, base_model_name_or_path=base
    )
    return config.model_dump()
