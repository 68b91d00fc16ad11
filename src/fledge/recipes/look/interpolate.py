"""`fledge evaluate interpolate=`: several models as one on a text, weighed by a part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from fledge.errors import UserError
from fledge.evaluate.interpolation import describe_weights, measure_interpolated
from fledge.evaluate.likelihood import read_documents
from fledge.hub.folder import Loaded
from fledge.recipes.look.sound_model import load_sound_model
from fledge.runs.show import Show
from fledge.text.corpus import Corpus
from fledge.text.paired import PairedTokenizer


class Asked(Protocol):
    """The fields that are read here."""

    @property
    def base(self) -> Path: ...
    @property
    def interpolate(self) -> str: ...
    @property
    def data(self) -> str | None: ...
    @property
    def whole(self) -> bool: ...


def check_interpolated(config: Asked) -> None:
    """Raises UserError where there is no text to weigh by, and another to measure on."""
    if config.interpolate and (config.data is None or config.whole):
        raise UserError(
            "interpolate= weighs models by the validation part of a text and measures on its test "
            "part: give data=, and leave out whole=true."
        )


def interpolate(config: Asked, model: Loaded, corpus: Corpus, show: Show) -> dict[str, Any]:
    """Raises UserError for models that cut text into other tokens."""
    names = [str(config.base), *map(str.strip, config.interpolate.split(","))]
    models = [model, *(load_sound_model(Path(name)) for name in names[1:])]
    for name, other in zip(names, models, strict=True):
        if isinstance(other.tokenizer, PairedTokenizer):
            raise UserError(
                f"interpolate= weighs what models say of running text, and {name} is an "
                "encoder–decoder: leave it out."
            )
        if other.tokenizer.fingerprint() != model.tokenizer.fingerprint():
            raise UserError(
                f"{name} has another tokenizer than {config.base}: what two models say of a token "
                "is weighed where it is one token to both."
            )
    context = min(each.network.config.context for each in models)
    steering, test = (
        read_documents((document for _, document in corpus.split(part)), model.tokenizer, context)
        for part in ("validation", "test")
    )
    policies = [each.policy() for each in models]
    both = measure_interpolated(policies, model.tokenizer, steering, test)
    together = both.together
    show.line(
        f"together {together.bits_per_byte:.3f} bits per byte: {describe_weights(both, names)}"
    )
    return {
        "bits_per_byte": together.bits_per_byte,
        "nats_per_token": together.nats_per_token,
        "weights": dict(zip(names, both.weights, strict=True)),
    }
