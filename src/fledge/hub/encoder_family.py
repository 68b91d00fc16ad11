"""A family of fledge's encoder: what most of their config.json have in common, which heads a file
has, and the record made of what is a family's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fledge.errors import UserError
from fledge.hub.encoder_weights import EncoderNames, OldNorms, list_weights
from fledge.hub.family import Family, ModelConfig, Weight
from fledge.hub.transformer_family import Unfilled
from fledge.json_file import check_shape
from fledge.models.language.encoder import Encoder
from fledge.models.language.encoder_config import Classifier, EncoderConfig

_KINDS: dict[str, Classifier] = {
    "ForSequenceClassification": "sequence",
    "ForTokenClassification": "token",
    "ForMultipleChoice": "choice",
}
_ACTIVATIONS = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "silu": "silu",
    "swish": "silu", "relu": "relu",
}  # fmt: skip
_FIELDS = ("masked", "transform", "pooler", "next", "replaced", "classifier", "labels", "tied")


class SavedEncoder(ModelConfig):
    """What config.json of every encoder may have beside its sizes."""

    id2label: dict[str, str] | None = None
    num_labels: int = 2
    tie_word_embeddings: bool = True
    is_decoder: bool = False
    add_cross_attention: bool = False

    @property
    def scalar(self) -> bool:
        """Its ForSequenceClassification tells classes apart."""
        return False

    @property
    def classifier(self) -> Classifier:
        said = (self.architectures or [""])[0]
        for name, kind in _KINDS.items():
            if said.endswith(name):
                return kind
        return ""

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of their numbers."""
        kind = self.classifier
        if kind in ("", "choice"):
            return ("",) if kind else ()
        if self.id2label is None:
            return tuple(f"LABEL_{i}" for i in range(self.num_labels))
        return tuple(self.id2label[key] for key in sorted(self.id2label, key=int))


# What is looked for in the file to know whether a head is there.
_SIGNS = {
    "pooler": "pooler.weight", "masked": "transform.weight", "next": "follows.weight",
    "replaced": "detected.weight", "classifier": "classifier.weight",
}  # fmt: skip


def keep_present(
    sizes: EncoderConfig, weights: Mapping[str, Tensor], names: EncoderNames
) -> EncoderConfig:
    """With those heads alone that the file has. Raises UserError for half of one."""
    theirs = {weight.ours: weight.theirs[0][0] for weight in list_weights(sizes, names)}
    has = {field: theirs.get(sign, "") in weights for field, sign in _SIGNS.items()}
    if sizes.norm_first and sizes.classifier:  # its transform serves the classifier
        has["masked"] = False
    changes: dict[str, Any] = {
        field: getattr(sizes, field) and has[field] for field in ("pooler", "next", "replaced")
    }
    changes["masked"] = sizes.masked and has["masked"]
    changes["transform"] = changes["masked"] or bool(sizes.norm_first and sizes.classifier)
    if sizes.classifier and not has["classifier"]:
        changes |= {"classifier": "", "labels": ()}
    own = replace(sizes, **changes)
    for weight in list_weights(own, names):
        if weight.theirs[0][0] not in weights:
            raise UserError(
                f"the weights have no {weight.theirs[0][0]} and other parts of the same head: they "
                "do not fit their config.json."
            )
    return own


def read_activation(name: str, value: str, folder: Path) -> Any:
    """Ours, for the entry `name` of a config.json. Raises UserError."""
    if value not in _ACTIVATIONS:
        raise UserError(
            f"{folder} has {name}={value[:40]}: fledge reads encoders with {name} of "
            f"{', '.join(_ACTIVATIONS)}."
        )
    return _ACTIVATIONS[value]


def write_heads(c: EncoderConfig, name: str) -> dict[str, Any]:
    """architectures and labels of a config.json."""
    kinds = {kind: suffix for suffix, kind in _KINDS.items()}
    if c.classifier:
        suffix = kinds[c.classifier]
    elif c.replaced or (c.masked and c.next):
        suffix = "ForPreTraining"
    elif c.masked:
        suffix = "ForMaskedLM"
    else:
        suffix = "ForNextSentencePrediction" if c.next else "Model"
    entries: dict[str, Any] = {
        "architectures": [f"{name}{suffix}"],
        "tie_word_embeddings": c.tied,
    }
    if c.classifier in ("sequence", "token"):
        entries["id2label"] = {str(i): label for i, label in enumerate(c.labels)}
        entries["label2id"] = {label: i for i, label in enumerate(c.labels)}
    return entries


def make_encoder_family(
    model_type: str,
    name: str,
    config: type[SavedEncoder],
    read: Callable[[Any, Path], EncoderConfig],
    write: Callable[[EncoderConfig], dict[str, Any]],
    names: EncoderNames,
    no_weights: str,
) -> Family:
    """read: with every head that such a file may have."""

    def builds(network: nn.Module) -> bool:
        """Whether its config.json, read again, says the same."""
        if type(network) is not Encoder:
            return False
        own = network.config
        entries = {**write(own), **write_heads(own, name)}
        try:
            again = read(check_shape({"model_type": model_type, **entries}, config, ""), Path())
        except UserError:
            return False
        heads = {field: getattr(own, field) for field in _FIELDS}
        possible = all(
            getattr(again, field) or not heads[field] for field in _FIELDS if field != "tied"
        )
        return possible and replace(again, **heads) == own

    def list_own(c: EncoderConfig) -> Iterator[Weight]:
        return list_weights(c, names)

    def adapt(sizes: EncoderConfig, weights: Mapping[str, Tensor]) -> EncoderConfig:
        return keep_present(sizes, weights, names)

    def build(sizes: EncoderConfig, border: int | None) -> Encoder:
        with Unfilled():
            return Encoder(sizes, border)

    return Family(
        model_type=model_type,
        name=name,
        config=config,
        read_config=read,
        write_config=lambda c: {**write(c), **write_heads(c, name)},
        weights=list_own,
        build=build,
        builds=builds,
        adapt=adapt,
        prefix=names.layer.split(".")[0] + ".",
        renamed=OldNorms(),
        no_weights=no_weights,
    )
