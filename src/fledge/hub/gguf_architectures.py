"""What GGUF calls architectures, beside the Hugging Face families that they are: names of tensors,
and what llama.cpp's converter does to the numbers.

Names: https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py. Numbers:
convert_hf_to_gguf.py there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

_OUTSIDE = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_AROUND = _BLOCK | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_FUSED = {
    "input_layernorm": "attn_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_GPT2 = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_GPT2_OUTSIDE = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "lm_head": "output",
}
_NEOX = {
    "input_layernorm": "attn_norm",
    "attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
}
_NEOX_OUTSIDE = {
    "gpt_neox.embed_in": "token_embd",
    "gpt_neox.final_layer_norm": "output_norm",
    "embed_out": "output",
}
# Of a mixture: the router, and experts, which lie in one tensor [experts, …] of the file.
_EXPERTS_OF_QWEN = {
    "mlp.experts.{}.gate_proj": "ffn_gate_exps",
    "mlp.experts.{}.up_proj": "ffn_up_exps",
    "mlp.experts.{}.down_proj": "ffn_down_exps",
}
_EXPERTS_OF_MIXTRAL = {
    "block_sparse_moe.experts.{}.w1": "ffn_gate_exps",
    "block_sparse_moe.experts.{}.w3": "ffn_up_exps",
    "block_sparse_moe.experts.{}.w2": "ffn_down_exps",
}
_EXPERT = re.compile(r"(?<=\.experts\.)\d+(?=\.)")


@dataclass(frozen=True)
class Architecture:
    """name: `general.architecture`. families: their model_type; the first is what is read.

    outside, block, layer: names of the Hugging Face modules to those of the file, and where the
    layers stand. experts: the same of a mixture, whose names have {} for the expert's number.
    neighbours: rotary positions turn neighbours (2i, 2i + 1) and not halves (i, i + d/2), so the
    rows of queries and keys are in another order. from_one: norms hold 1 + w. biased: whether
    llama.cpp reads biases of attention. transposed: matrices are [out, in] in the file and [in,
    out] there. interleaved: there query, key and value of a head follow each other.
    """

    name: str
    families: tuple[str, ...]
    block: Mapping[str, str] = field(default_factory=lambda: _BLOCK)
    outside: Mapping[str, str] = field(default_factory=lambda: _OUTSIDE)
    layer: str = "model.layers."
    experts: Mapping[str, str] = field(default_factory=dict[str, str])
    neighbours: bool = False
    from_one: bool = False
    biased: bool = False
    transposed: bool = False
    interleaved: bool = False

    def name_tensor(self, theirs: str) -> str | None:
        """GGUF's name for a Hugging Face one; None where it has none."""
        module, _, leaf = theirs.rpartition(".")
        if module in self.outside:
            return f"{self.outside[module]}.{leaf}"
        match = re.fullmatch(rf"{re.escape(self.layer)}(\d+)\.(.+)", module)
        if match is None:
            return None
        part = _EXPERT.sub("{}", match[2])
        ours = self.experts.get(part) if part != match[2] else self.block.get(part)
        return None if ours is None else f"blk.{match[1]}.{ours}.{leaf}"

    def list_names(self, layers: int, experts: int) -> Iterator[str]:
        """Every name that `name_tensor` knows, of so many layers."""
        leaves = ("weight", "bias")
        yield from (f"{module}.{leaf}" for module in self.outside for leaf in leaves)
        for layer in range(layers):
            begin = f"{self.layer}{layer}."
            yield from (f"{begin}{part}.{leaf}" for part in self.block for leaf in leaves)
            for part in self.experts:
                yield from (f"{begin}{part.format(e)}.weight" for e in range(experts))

    def convert(self, theirs: str, tensor: Tensor, heads: int, kv_heads: int) -> Tensor:
        """A Hugging Face tensor as the file has it."""
        if self.from_one and theirs.endswith("norm.weight"):
            return tensor + 1
        if self.is_transposed(theirs):
            return tensor.T
        if self.interleaved and ".query_key_value." in theirs:
            return tensor.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2)
        number = self._count_turned(theirs, heads, kv_heads)
        if number is None:
            return tensor
        pairs = tensor.unflatten(0, (number, 2, -1))  # halves, then the place in them
        return pairs.transpose(1, 2).reshape(tensor.shape)

    def restore(self, theirs: str, tensor: Tensor, heads: int, kv_heads: int) -> Tensor:
        """Back from `convert`."""
        if self.from_one and theirs.endswith("norm.weight"):
            return tensor - 1
        if self.is_transposed(theirs):
            return tensor.T
        if self.interleaved and ".query_key_value." in theirs:
            return tensor.unflatten(0, (3, heads, -1)).transpose(0, 1).flatten(0, 2)
        number = self._count_turned(theirs, heads, kv_heads)
        if number is None:
            return tensor
        pairs = tensor.unflatten(0, (number, -1, 2))
        return pairs.transpose(1, 2).reshape(tensor.shape)

    def is_transposed(self, theirs: str) -> bool:
        """Whether it is a matrix that lies the other way round in the file."""
        return self.transposed and theirs.endswith(("attn.weight", "proj.weight", "fc.weight"))

    def _count_turned(self, theirs: str, heads: int, kv_heads: int) -> int | None:
        """How many heads a tensor has whose rows are in another order."""
        if not self.neighbours:
            return None
        if ".self_attn.q_proj." in theirs:
            return heads
        return kv_heads if ".self_attn.k_proj." in theirs else None


def find_expert(theirs: str) -> int | None:
    """The number of the expert that a tensor is of."""
    match = _EXPERT.search(theirs)
    return None if match is None else int(match[0])


ARCHITECTURES = (
    Architecture("llama", ("llama", "mistral"), neighbours=True, biased=True),
    Architecture(
        "llama", ("mixtral",), _BLOCK | {"block_sparse_moe.gate": "ffn_gate_inp"},
        experts=_EXPERTS_OF_MIXTRAL, neighbours=True,
    ),
    Architecture("qwen2", ("qwen2",), biased=True),
    Architecture("qwen3", ("qwen3",)),
    Architecture(
        "qwen3moe", ("qwen3_moe",), _BLOCK | {"mlp.gate": "ffn_gate_inp"}, experts=_EXPERTS_OF_QWEN
    ),
    Architecture("smollm3", ("smollm3",), neighbours=True),
    Architecture("olmo2", ("olmo2",), _AROUND),
    Architecture("gemma", ("gemma",), from_one=True),
    Architecture("gemma2", ("gemma2",), _AROUND, from_one=True),
    Architecture("gemma3", ("gemma3_text",), _AROUND, from_one=True),
    Architecture("phi3", ("phi3",), _FUSED),
    Architecture(
        "gpt2", ("gpt2",), _GPT2, _GPT2_OUTSIDE, "transformer.h.", biased=True, transposed=True
    ),
    Architecture(
        "gptneox", ("gpt_neox",), _NEOX, _NEOX_OUTSIDE, "gpt_neox.layers.", biased=True,
        interleaved=True,
    ),
    Architecture("stablelm", ("stablelm",), biased=True),
)  # fmt: skip
