"""From features that were learned without labels, labels are read better than off pixels and off
the same network untrained, whatever the seed.

Films and their splits follow from a seed, so that the same machine always finds the same shares;
the held-out part has more than 1,000 frames. Six to forty seconds of one core a seed.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import pytest
import torch

from fledge.algorithms.images.pretext import make_seeded
from fledge.algorithms.registry import find_entry
from fledge.images.pictures import centre
from fledge.learner import Learner
from fledge.recipes.images.probing import measure_features, read_all
from fledge.sample.pictures import PictureBatches
from fledge.schedule import Schedule
from fledge.seeds import seed_for
from fledge.stopwatch import Stopwatch
from fledge.worlds.filmed import film_world

LABELS, TRAINED = 500, 0.7  # labels that the probe sees; the share of films that is trained on

# data, steps, rows of a step, learning rate, settings
TASKS: dict[str, tuple[str, int, int, float, dict[str, Any]]] = {
    "arrow_of_time": ("film:CartPole-v1", 160, 64, 1e-3, {}),
    "relative_position": ("film:digits", 60, 64, 3e-3, {}),
    "frame_order": ("film:CartPole-v1", 120, 64, 1e-3, {}),
    "colourisation": ("film:digits", 240, 24, 3e-3, {}),
    "colour_tracking": ("film:digits", 250, 16, 4e-3, {}),
    "mae": ("film:CartPole-v1", 150, 64, 3e-3, {}),
    "simclr": ("film:digits", 150, 64, 3e-3, {"patch": 6}),
    "dino": ("film:digits", 300, 64, 3e-3, {"patch": 6}),
}


@cache
def parts_of(data: str, films: bool) -> Any:
    given = film_world(data)
    cut = int(TRAINED * len(given))
    parts: Any = {"train": given.take(slice(cut)), "test": given.take(slice(cut, None))}
    return parts if films else {name: each.as_pictures() for name, each in parts.items()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TASKS)
def test_labels_are_read_better_than_off_pixels_and_off_chance(name: str, seed: int) -> None:
    data, steps, rows, rate, given = TASKS[name]
    entry = find_entry("images", name)
    parts = parts_of(data, getattr(entry.algorithm, "reads", "") == "films")
    shape, default = parts["train"].shape, entry.settings("images")
    settings = type(default)(**(default.model_dump() | given))

    def build() -> Any:
        return entry.algorithm.build(settings, shape)

    torch.manual_seed(seed_for(seed, "weights"))
    schedule = Schedule(rate, steps, warmup_steps=20, shape="cosine")
    algorithm = entry.algorithm(
        settings, build(), partial(Learner, schedule=schedule), seed, Stopwatch()
    )
    batches = PictureBatches(parts["train"], rows, seed)
    for _ in range(steps):
        algorithm.update(next(batches))

    def share(features: Any) -> float:
        return measure_features(features, parts, "test", LABELS)["probe_accuracy"]

    learned = share(read_all(algorithm.model))
    untrained = share(read_all(make_seeded(seed, "untrained", build)))
    pixels = share(lambda x: centre(x, shape.levels).flatten(1))
    assert learned > pixels + 0.02, (learned, pixels, untrained)
    assert learned > untrained + 0.02, (learned, pixels, untrained)
