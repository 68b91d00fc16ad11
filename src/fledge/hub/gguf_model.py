"""A model as one GGUF file: opened as a folder of its Hugging Face family would be, and written so
that llama.cpp says the same.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from fledge.errors import UserError
from fledge.hub.config_file import check_config
from fledge.hub.families import family_of
from fledge.hub.gguf_architectures import Architecture, find_expert
from fledge.hub.gguf_config import (
    ROPE_FACTORS,
    choose_architecture,
    find_architecture,
    read_config,
    write_config,
)
from fledge.hub.gguf_file import GgufFile, Typed, Written, uint32, write_gguf
from fledge.hub.gguf_tensors import list_tensors
from fledge.hub.gguf_tokenizer import read_tokenizer, to_files, write_tokenizer
from fledge.hub.stored_weights import Held, StoredWeights
from fledge.models.language.quantisation import Rounded
from fledge.models.language.rope_scaling import RopeScaling
from fledge.models.language.transformer_config import TransformerConfig
from fledge.text.bpe import spell, unspell
from fledge.text.foreign import ForeignTokenizer
from fledge.text.foreign_files import ForeignFiles
from fledge.text.interface import Tokenizer
from fledge.text.tokenizer import SPECIAL, OwnTokenizer, from_merges, train_tokenizer

_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
_FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7, "BF16": 32}


class GgufWeights(StoredWeights):
    """The tensors of a file, by the names and in the order of their Hugging Face family."""

    def __init__(self, file: GgufFile, kind: Architecture, config: Mapping[str, Any]) -> None:
        self._file, self._kind, self._config = file, kind, config
        header = {}
        # No more layers and experts than there are: the numbers in the header may be any.
        layers = min(config["num_hidden_layers"], len(file.tensors))
        for name in kind.list_names(layers, self._count_experts()):
            ours = kind.name_tensor(name)
            if ours in file.tensors:
                shape = self._shape_of(name, file.tensors[ours].shape)
                header[name] = Held("F32", shape, file.path, ours)
        used = {held.name for held in header.values()} | {ROPE_FACTORS}
        # What has no name here is said by its own, as a weight too many.
        for name in file.tensors.keys() - used:
            header[name] = Held("F32", file.tensors[name].shape, file.path, name)
        super().__init__(file.path, header)

    def _count_experts(self) -> int:
        held = (place for name, place in self._file.tensors.items() if "_exps." in name)
        return max((place.shape[0] for place in held if place.shape), default=0)

    def _shape_of(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        if find_expert(name) is not None:
            return shape[1:]
        return shape[::-1] if self._kind.is_transposed(name) else shape

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._file.read(self.header[name].name, find_expert(name))
        heads, kv_heads = (self._config[f"num_{who}_heads"] for who in ("attention", "key_value"))
        return self._kind.restore(name, tensor, heads, kv_heads)


class Opened(NamedTuple):
    """What a GGUF file holds: config.json, weights and a tokenizer."""

    config: dict[str, Any]
    weights: GgufWeights
    tokenizer: Tokenizer


def open_gguf(path: Path) -> Opened:
    """Raises UserError for a file that is none, is damaged, or is of another architecture."""
    file = GgufFile(path)
    kind = find_architecture(file)
    try:
        config = read_config(file, kind)
        return Opened(config, GgufWeights(file, kind, config), _open_tokenizer(file))
    # A field of the header may hold any type, and each is used as what it should be.
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())[:100]
        raise UserError(f"{path} is damaged ({said}): fetch it again.") from error


def _open_tokenizer(file: GgufFile) -> Tokenizer:
    written, config, ends = read_tokenizer(file.fields, file.path)
    if (own := find_own(written)) is not None:
        return own
    template = config.get("chat_template")
    return ForeignTokenizer(
        ForeignFiles(
            folder=file.path,
            kept=to_files(written, config),
            tokenizer=written,
            named={name: config[name] for name in _NAMED if name in config},
            additional=(),
            ends=tuple(ends),
            pad=None,
            templates={} if template is None else {"default": template},
        )
    )


def _describe_tokenizer(tokenizer: Tokenizer, rows: int) -> dict[str, Any]:
    """By its files, as another program would read them."""
    with TemporaryDirectory() as place:
        tokenizer.save(place)
        file, config = (json.loads((Path(place) / name).read_bytes())
                        for name in ("tokenizer.json", "tokenizer_config.json"))  # fmt: skip
        template = Path(place) / "chat_template.jinja"
        if template.is_file():
            config["chat_template"] = template.read_text(encoding="utf-8")
    return write_tokenizer(file, config, tokenizer.config_ids(), rows)


def find_own(written: Mapping[str, Any]) -> OwnTokenizer | None:
    """Our own tokenizer, where the file holds one: it knows more of its special tokens than the
    file can say.
    """
    vocabulary = written["model"]["vocab"]
    if [vocabulary.get(word) for word in SPECIAL] != list(range(len(SPECIAL))):
        return None
    merges = [(unspell(left), unspell(right)) for left, right in written["model"]["merges"]]
    own = from_merges(merges) if merges else train_tokenizer("bytes", [])
    assert isinstance(own, OwnTokenizer)
    spelled = [spell(word) for word in own.vocabulary[len(SPECIAL) :]]
    same = {word: number for number, word in enumerate([*SPECIAL, *spelled])} == vocabulary
    return own if same else None


def is_gguf(path: Path) -> bool:
    return path.suffix == ".gguf" and path.is_file()


def save_gguf(
    path: Path,
    network: Any,
    tokenizer: Tokenizer,
    kind: str = "F16",
    name: str = "",
    rounded: Mapping[str, Rounded] = MappingProxyType({}),
) -> None:
    """Write and sync a file beside, then rename it.

    kind: of matrices, one of `gguf_blocks.WRITTEN`; vectors stay in float32. rounded: of matrices
    by the network's names, what they were rounded to; they are written so, and say so if most of
    the file is theirs. Raises UserError for what a GGUF file cannot say, OSError with the earlier
    file intact.
    """
    family, c = family_of(network), network.config
    architecture = choose_architecture(c.family or family.model_type, "the model")
    said = Counter(each.grid.name for each in rounded.values()).most_common(1)
    fields: dict[str, Any] = {
        "general.architecture": architecture.name,
        "general.type": "model",
        # With "phi3" in it llama.cpp looks for tokens of Phi-3's, so none is made up.
        **({"general.name": name} if name else {}),
        "general.file_type": uint32(_FILE_TYPES[said[0][0] if said else kind]),
        "general.quantization_version": uint32(2),
        **write_config(c, architecture),
        **_describe_tokenizer(tokenizer, c.vocab_size),
    }
    tensors = list_tensors(network, family, architecture, kind, rounded)
    _check_read_back(Planned(path, fields, tensors), architecture, c)
    beside = path.with_name(f".{path.name}.partial")
    try:
        write_gguf(beside, fields, tensors)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def check_writable(network: Any) -> None:
    """Raises UserError for a network whose sizes a GGUF file cannot say."""
    family, c = family_of(network), network.config
    write_config(c, choose_architecture(c.family or family.model_type, "the model"))


class Planned:
    """A file that is about to be written, as `GgufFile` will read it."""

    def __init__(self, path: Path, fields: Mapping[str, Any], tensors: Sequence[Written]) -> None:
        self.path = path
        self.fields = {n: v.value if isinstance(v, Typed) else v for n, v in fields.items()}
        self.tensors = {each.name: each.tensor for each in tensors}

    def read(self, name: str) -> Tensor:
        return self.tensors[name]


def _check_read_back(planned: Planned, kind: Architecture, c: TransformerConfig) -> None:
    """Raises UserError where the file would be another model: what a GGUF file has no field for,
    llama.cpp takes to be as its architecture usually has it.
    """
    raw = read_config(planned, kind)
    family, config = check_config(raw, planned.path)
    odd = next(iter(_list_differences(c, family.read_config(config, planned.path))), None)
    if odd is not None:
        raise UserError(
            f"the model has {odd} otherwise than a {kind.name} file can say, and llama.cpp would "
            "compute another model: export it with format=hf."
        )


def _list_differences(one: Any, other: Any) -> Iterator[str]:
    """Names of fields of two sizes that are not the same, beyond float32's rounding."""
    for field in dataclasses.fields(one):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        if not field.compare:
            continue
        if isinstance(ours, RopeScaling):
            # Within its context a model with dynamic scaling has none.
            if ours.kind != "dynamic" and list(_list_differences(ours, theirs)):
                yield field.name
        elif isinstance(ours, float):
            if not math.isclose(ours, theirs, rel_tol=1e-5):
                yield field.name
        elif ours != theirs:
            yield field.name
