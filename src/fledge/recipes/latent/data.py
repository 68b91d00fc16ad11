"""What `fledge fit` reads: points, sequences or votes, in their three parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fledge.algorithms.latent.sequence_settings import SequenceSettings
from fledge.algorithms.latent.settings import MixtureSettings
from fledge.algorithms.latent.weak_supervision import WeakSupervision
from fledge.errors import UserError
from fledge.recipes.latent.config import BLOCK_POINTS, FitConfig
from fledge.recipes.latent.sequence_data import read_sequence_parts
from fledge.recipes.latent.sequence_words import (
    describe_sequences,
)
from fledge.recipes.latent.weak import read_vote_parts
from fledge.rows.point_files import read_points
from fledge.rows.points import Points, split_points
from fledge.rows.sequences import Sequences
from fledge.splits import Split


def read_parts(config: FitConfig) -> tuple[Mapping[Split, Any], bool]:
    """Train, validation and test, and whether they are apart: a few points are all trained on."""
    if isinstance(config.settings, WeakSupervision.Settings):
        return read_vote_parts(config.data, config.settings)
    if isinstance(config.settings, SequenceSettings):
        for name in ("labels", "weights"):
            if getattr(config, name) is not None:
                raise UserError(f"model={config.model} knows no {name}: leave {name} out.")
        return read_sequence_parts(config.data, config.settings)
    if config.supervised and config.labels is None:
        raise UserError("supervised=true was given without labels: give labels=COLUMN.")
    points = read_points(
        config.data, labels=config.labels, weights=config.weights,
        words=getattr(config.entry.algorithm, "takes_words", False),
    )  # fmt: skip
    if not config.supervised and not getattr(config.entry.algorithm, "takes_labels", False):
        points = points.without_labels()
    parts = split_points(points)
    if parts is None:
        return {"train": points, "validation": points, "test": points}, False
    return parts, True


def choose_block(config: FitConfig) -> int | None:
    """Points of a block; None: all of them. Raises UserError for blocks that nothing is made of."""
    in_blocks = bool(getattr(config.settings, "in_blocks", False))
    if not in_blocks and config.block_points is not None:
        own = next((n for n in ("em", "inference") if hasattr(config.settings, n)), "")
        which = f"{own}={getattr(config.settings, own)}" if own else f"model={config.model}"
        others = {"em": "em=stepwise or em=incremental", "inference": "inference=svi"}
        raise UserError(
            f"block_points={config.block_points} and {which}, which takes all points a step: give "
            f"{others.get(own, 'model=gmm em=stepwise')}, or leave block_points out."
        )
    return (config.block_points or BLOCK_POINTS) if in_blocks else None


def describe(config: FitConfig, train: Points | Sequences) -> str:
    several = f", k={config.settings.k}" if isinstance(config.settings, MixtureSettings) else ""
    if isinstance(train, Sequences):
        return describe_sequences(f"{config.model}{several}", train)
    missing = ", some values missing" if train.has_missing else ""
    return f"{config.model}{several} on {len(train):,} points of {train.width} columns{missing}"
