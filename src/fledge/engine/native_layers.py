"""All layers of a transformer in one call of the library of `native.py`: a step costs Python one
call in place of five a layer, and other threads of Python run while it computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ctypes import Structure, addressof, byref, c_float, c_int32, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from fledge.engine.layer_form import Affine, LayerForm
from fledge.engine.native import load_native
from fledge.engine.native_attention import NativeAttention
from fledge.engine.native_product import NativeProduct
from fledge.engine.packed_weights import AdaptedProduct


class _Matrix(Structure):
    """`struct Matrix` of csrc/layers.c."""

    _fields_ = (("weight", c_void_p), ("down", c_void_p), ("up", c_void_p))


class _Layer(Structure):
    """`struct Layer` of csrc/layers.c."""

    _fields_ = (
        ("qkv", _Matrix), ("out", _Matrix), ("gate_up", _Matrix), ("down", _Matrix),
        ("attention_gain", c_void_p), ("mlp_gain", c_void_p), ("turn", c_void_p),
        ("store", c_void_p), ("turned", c_int64), ("window", c_int64),
    )  # fmt: skip


class _Network(Structure):
    """`struct Network` of csrc/layers.c."""

    _fields_ = (
        ("layers", c_void_p), ("attention", c_void_p), ("count", c_int64), ("width", c_int64),
        ("inner", c_int64), ("rank", c_int64), ("eps", c_float), ("threads", c_int32),
    )  # fmt: skip


def can_be_one_call(layers: Sequence[LayerForm]) -> bool:
    """Whether the library knows all that these layers do. Their attention is native."""
    return all(map(_is_plain, layers))


def _is_plain(layer: LayerForm) -> bool:
    if hasattr(layer.block, "mixture") or not (layer.norms_inside and layer.one):
        return False
    affines: tuple[Affine, ...] = (layer.qkv, layer.out, layer.gate_up, layer.down)
    between = (layer.norms, layer.attention_out_norm, layer.mlp_out_norm)
    return (
        layer.config.residual == "in turn"
        and all(affine.bias is None for affine in affines)
        and all(norm is None for norm in between)
        and layer.qkv.gain is not None
        and layer.gate_up.gain is not None
    )


class NativeLayers:
    """tables: by which table of turns each layer turns, "" for none."""

    def __init__(self, layers: Sequence[LayerForm], tables: Sequence[str]) -> None:
        self.layers, self.tables = layers, tables
        config = layers[0].config
        self.width, ranks = config.width, [0]
        self._laid_out = (_Layer * len(layers))()
        for laid_out, layer in zip(self._laid_out, layers, strict=True):
            for name in ("qkv", "out", "gate_up", "down"):
                product = getattr(layer, name).product
                setattr(laid_out, name, _point_to(product))
                if isinstance(product, AdaptedProduct):
                    ranks.append(product.down.outputs)
            laid_out.attention_gain = _point_to_gain(layer.qkv)
            laid_out.mlp_gain = _point_to_gain(layer.gate_up)
            laid_out.window = layer.window
        self._network = _Network(
            layers=addressof(self._laid_out), count=len(layers), width=config.width,
            inner=config.mlp_width, rank=max(ranks), eps=config.norm_eps,
        )  # fmt: skip
        self._read: Any = load_native().read_layers

    def __call__(
        self, h: Tensor, turns: Mapping[str, Tensor | None], attention: NativeAttention
    ) -> Tensor:
        """h [N, D], float32, turns of each table [N, 1, r/2]  -> [N, D]"""
        if h.dtype != torch.float32 or h.shape != (attention.rows, self.width):
            raise ValueError(f"float32 {[attention.rows, self.width]}, not {h.dtype} {[*h.shape]}")
        h = h.clone(memory_format=torch.contiguous_format)  # it is read in place
        turned = {
            name: (None, 0) if turn is None else (turn.data_ptr(), 2 * turn.shape[-1])
            for name, turn in turns.items()
        }
        stores = attention.list_stores()
        for layer, name, store in zip(self._laid_out, self.tables, stores, strict=True):
            layer.turn, layer.turned = turned[name]
            layer.store = store
        network = self._network
        network.attention, network.threads = attention.at, torch.get_num_threads()
        failed = self._read(byref(network), h.data_ptr())
        if failed == 1:
            raise MemoryError(f"no memory for {len(h)} rows")
        if failed:
            raise attention.outside()
        return h


def _point_to(product: Any) -> _Matrix:
    if isinstance(product, AdaptedProduct):
        return _Matrix(product.shared.at, product.down.at, product.up.at)
    assert isinstance(product, NativeProduct)
    return _Matrix(product.at)


def _point_to_gain(affine: Affine) -> int:
    assert affine.gain is not None
    affine.gain = affine.gain.contiguous()
    return affine.gain.data_ptr()
