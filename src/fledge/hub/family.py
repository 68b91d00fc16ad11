"""What has to be known of a Hugging Face family so that its models go in and out: one record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from fledge.text.tokenizer import Tokenizer

Positive = Annotated[float, Field(gt=0)]


class Part(BaseModel):
    """Of a config.json: what is read of it, with types and bounds."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, protected_namespaces=())


class RewardScale(Part):
    """Of a reward model of fledge's: its scores' mean and standard deviation."""

    mean: float
    std: Positive


class ModelConfig(Part):
    """What fledge reads of every config.json; a family's has its sizes besides."""

    model_type: str
    architectures: list[str] | None = None
    fledge_reward: RewardScale | None = None

    @property
    def scalar(self) -> bool:
        """Whether it is a reward model's."""
        return bool(self.architectures) and self.architectures[0].endswith(
            "ForSequenceClassification"
        )


@dataclass(frozen=True)
class Layout:
    """A tensor that lies otherwise in their file than in our network: into ours, and back."""

    read: Callable[[Tensor], Tensor]
    write: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Weight:
    """One tensor of a network, and what it is in the file: theirs, joined along the first axis."""

    ours: str
    theirs: tuple[tuple[str, tuple[int, ...]], ...]  # name and shape of each
    # Where not, it may be missing in the file, and in the network.
    needed: bool = True
    layout: Layout | None = None  # of one that is a single tensor in the file
    integer: bool = False  # whether it holds whole numbers, of 64 bits


def _as_they_are(sizes: Any, weights: Mapping[str, Tensor]) -> Any:
    return sizes


def _as_it_is(tokenizer: Tokenizer, sizes: Any) -> Tokenizer:
    return tokenizer


@dataclass(frozen=True)
class Family:
    """`sizes` is whatever its network is built of: anything with vocab_size, context and width.

    read_config: config.json, and the folder for what is said of it -> sizes; raises UserError for
        what the network cannot compute. write_config: back, without what every family writes.
    weights: one at a time, since sizes like 10⁹ layers may stand in a config.json.
    build: its parameters are then filled from the file one by one, whatever they were.
    adapt: sizes as the weights show them to be, where config.json may err. builds: whether a
        network is of this family.
    tokenizer: that of the folder as the network reads it.
    prefix: of names, that files of a bare trunk lack. renamed: names that some files have, and
        what they are to `weights`. no_weights: a pattern of names that hold none (tables, masks).
    """

    model_type: str
    name: str  # Llama in LlamaForCausalLM
    config: type[ModelConfig]
    read_config: Callable[[Any, Path], Any]
    write_config: Callable[[Any], dict[str, Any]]
    weights: Callable[[Any], Iterator[Weight]]
    build: Callable[[Any, int | None], nn.Module]  # sizes, the token that opens a document
    builds: Callable[[Any], bool]
    adapt: Callable[[Any, Mapping[str, Tensor]], Any] = _as_they_are
    tokenizer: Callable[[Tokenizer, Any], Tokenizer] = _as_it_is
    prefix: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    no_weights: str = r".*rotary_emb\.inv_freq"
    # of `transformers`, where they are not the name and ForCausalLM, ForSequenceClassification
    causal_class: str = ""
    scalar_class: str = ""
