"""What GGUF calls architectures, beside the Hugging Face families that they are: names of tensors,
and what llama.cpp's converter does to the numbers.

Names: https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py. Numbers:
convert_hf_to_gguf.py there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

_OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
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
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")


@dataclass(frozen=True)
class Architecture:
    """name: `general.architecture`. families: their model_type; the first is what is read.

    neighbours: rotary positions turn neighbours (2i, 2i + 1) and not halves (i, i + d/2), so the
    rows of queries and keys are in another order. from_one: norms hold 1 + w. biased: whether
    llama.cpp reads biases of attention.
    """

    name: str
    families: tuple[str, ...]
    block: Mapping[str, str] = field(default_factory=lambda: _BLOCK)
    neighbours: bool = False
    from_one: bool = False
    biased: bool = False

    def name_tensor(self, theirs: str) -> str | None:
        """GGUF's name for a Hugging Face one; None where it has none."""
        if theirs in _OUTSIDE:
            return _OUTSIDE[theirs]
        match = _LAYER.fullmatch(theirs)
        if match is None or match[2] not in self.block:
            return None
        return f"blk.{match[1]}.{self.block[match[2]]}.{match[3]}"

    def convert(self, theirs: str, tensor: Tensor, heads: int, kv_heads: int) -> Tensor:
        """A Hugging Face tensor as the file has it."""
        if self.from_one and theirs.endswith("norm.weight"):
            return tensor + 1
        number = self._count_turned(theirs, heads, kv_heads)
        if number is None:
            return tensor
        pairs = tensor.unflatten(0, (number, 2, -1))  # halves, then the place in them
        return pairs.transpose(1, 2).reshape(tensor.shape)

    def restore(self, theirs: str, tensor: Tensor, heads: int, kv_heads: int) -> Tensor:
        """Back from `convert`."""
        if self.from_one and theirs.endswith("norm.weight"):
            return tensor - 1
        number = self._count_turned(theirs, heads, kv_heads)
        if number is None:
            return tensor
        pairs = tensor.unflatten(0, (number, -1, 2))
        return pairs.transpose(1, 2).reshape(tensor.shape)

    def _count_turned(self, theirs: str, heads: int, kv_heads: int) -> int | None:
        """How many heads a tensor has whose rows are in another order."""
        if not self.neighbours:
            return None
        if ".self_attn.q_proj." in theirs:
            return heads
        return kv_heads if ".self_attn.k_proj." in theirs else None


ARCHITECTURES = (
    Architecture("llama", ("llama", "mistral"), neighbours=True, biased=True),
    Architecture("qwen2", ("qwen2",), biased=True),
    Architecture("qwen3", ("qwen3",)),
    Architecture("smollm3", ("smollm3",), neighbours=True),
    Architecture("olmo2", ("olmo2",), _AROUND),
    Architecture("gemma", ("gemma",), from_one=True),
    Architecture("gemma2", ("gemma2",), _AROUND, from_one=True),
    Architecture("gemma3", ("gemma3_text",), _AROUND, from_one=True),
)
