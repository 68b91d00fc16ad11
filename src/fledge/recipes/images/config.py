"""The fields of `fledge imagine`, beside those of the chosen model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, create_model
from pydantic.fields import FieldInfo

from fledge.algorithms.registry import Subject, find_entry, names_of
from fledge.images.augment import CHANGES, Changes
from fledge.images.binarise import Binarise
from fledge.recipes.algorithm_fields import AlgorithmFields
from fledge.recipes.training import TrainingConfig


class ImagineConfig(AlgorithmFields, TrainingConfig):
    """Learn to make what the data is like: pictures, or sentences. Everything is judged on held-out
    data in nats where it has a density, and said to be exact, a bound or an estimate.
    """

    subject: ClassVar[Subject] = "images"
    choice: ClassVar[str] = "model"
    micro_batches_from: ClassVar[int] = 2**62  # a picture is no row of tokens

    model: str = Field(
        default="vae",
        description=f"one of {', '.join(names_of('images'))}; or FILE.py:Class for one of your own",
    )
    data: str = Field(
        default="digits",
        description="digits (8 × 8, in the package), an IDX file as MNIST's, a folder or .zip of "
        "pictures with a folder a label, or an array .npy, .npz or .safetensors; films are "
        "film:gridworld, film:CartPole-v1, film:digits, or an .npz with frames [N, T, C, H, W]; of "
        "a model of sentences grammar (20,000, of a grammar in the package), or a .txt or .jsonl "
        "of them",
    )
    test: str | None = Field(
        default=None, description="what to test on, of the same kind; by default 5 % of data"
    )
    binarise: Binarise = Field(
        default="none",
        description="to two levels: hash (a pixel is 1 with its grey as probability, drawn by the "
        "picture's content: the same everywhere) or threshold (above half)",
    )
    augment: Changes = Field(
        default=(), description=f"changes by chance, of {', '.join(CHANGES)}; such as shift,turn"
    )
    rows_per_step: int = Field(
        default=64, ge=1, description="pictures, or sentences, of an optimizer step"
    )
    samples: int = Field(default=64, ge=0, description="drawn for the report; 0 draws none")
    judged_samples: int = Field(
        default=512,
        ge=0,
        description="drawn at the end and held against real pictures: Fréchet distance, precision, "
        "recall, two-sample test, nearest; 0: none",
    )

    @classmethod
    def compose(cls, given: Mapping[str, Any]) -> type[Self]:
        """With the defaults that suit the model."""
        composed = super().compose(given)
        name = str(given.get(cls.choice, cls.model_fields[cls.choice].default))
        usual: Mapping[str, Any] = getattr(find_entry(cls.subject, name).algorithm, "usual", {})
        changed: dict[str, Any] = {}
        for field, value in usual.items():
            info = composed.model_fields[field]
            changed[field] = (info.annotation, FieldInfo.merge_field_infos(info, default=value))
        again = create_model(composed.__name__, __base__=composed, **changed)
        again.chosen = composed.chosen
        return again
