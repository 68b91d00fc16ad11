"""Every model of something unseen goes on from its state as if it had never stopped, and what is
saved of it is read again.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fledge.algorithms.latent.choice_of_k import ChoiceOfK
from fledge.algorithms.registry import find_entry, names_of
from fledge.models.latent.latent_model import load_latent, save_latent
from fledge.rows.points import as_levels, from_array
from fledge.rows.sequences import Sequences
from fledge.rows.votes import Votes
from fledge.runs.state import flatten, unflatten
from fledge.sample.points import PointBlocks

VARIANTS = [(name, {}) for name in names_of("latent")]
VARIANTS += [
    ("gmm", {"em": "incremental"}),
    ("gmm", {"em": "stepwise"}),
    ("gmm", {"precision": "mixed", "start": "random"}),
    ("gmm", {"k": "1..3", "tolerance": 0.05}),
    ("gmm", {"split_merge": 2, "tolerance": 0.01}),
    ("bayes_gmm", {"inference": "svi"}),
    ("bayes_gmm", {"prior": "process", "covariance": "diagonal"}),
    ("bayes_gmm", {"precision": "mixed"}),
    ("bbvi", {"family": "flow", "gradients": 3}),
    ("bbvi", {"family": "mixture", "gradients": 3}),
    ("weak", {"method": "constraints"}),
]


def some_points(name: str) -> Any:
    random = np.random.default_rng(0)
    if name in ("categorical", "bernoulli"):
        return as_levels(
            from_array(torch.from_numpy(random.integers(0, 2, (120, 4)).astype(float)))
        )
    if name == "weak":
        votes = torch.from_numpy(random.integers(0, 2, (120, 4)).astype(float))
        votes[torch.from_numpy(random.random((120, 4))) < 0.4] = torch.nan
        texts = tuple(map(str, range(120)))
        columns = tuple("abcd")
        return Votes(votes, columns, None, None, ("n", "y"), texts=texts, expected=(None,) * 4)
    centre = 3 * random.normal(size=(3, 4))
    x = centre[np.arange(120) % 3] + random.normal(size=(120, 4))
    if name in ("hmm", "kalman"):
        return Sequences(torch.from_numpy(x), (40, 1, 79), tuple("abcd"))
    points = from_array(torch.from_numpy(x))
    if name == "bbvi":
        return replace(points, label=torch.arange(120) % 2, names=("n", "y"))
    return points


def make(name: str, fields: dict[str, Any], points: Any) -> Any:
    entry: Any = find_entry("latent", name)
    given = entry.settings("latent").replace(**fields)
    build = partial(entry.algorithm, seed=5)
    if ".." not in fields.get("k", ""):
        return build(given)
    return ChoiceOfK(lambda k: build(given.replace(k=str(k))), given.every_k, 50, points, points)


@pytest.mark.parametrize(("name", "fields"), VARIANTS)
def test_it_goes_on_from_its_state(name: str, fields: dict[str, Any], tmp_path: Path) -> None:
    points = some_points(name)
    blocks = 30 if "em" in fields or "inference" in fields else None
    whole, sampler = make(name, fields, points), PointBlocks(points, blocks, 1)
    straight = [whole.update(next(sampler)) for _ in range(9)]
    first, before = make(name, fields, points), PointBlocks(points, blocks, 1)
    figures = [first.update(next(before)) for _ in range(4)]
    state = unflatten(*flatten({"a": first.state_dict(), "s": before.state_dict()}))
    second, after = make(name, fields, points), PointBlocks(points, blocks, 1)
    if name == "bbvi":
        second.begin(points)
    second.load_state_dict(state["a"])
    after.load_state_dict(state["s"])
    figures += [second.update(next(after)) for _ in range(5)]
    assert figures == straight
    assert second.done == whole.done
    model = second.model
    save_latent(tmp_path, model, points.columns)
    again, columns = load_latent(tmp_path)
    assert columns == list(points.columns)
    x = torch.zeros(3, 5, dtype=torch.float64) if name == "bbvi" else points.x  # or of z
    assert torch.equal(again.log_prob(x), model.log_prob(x))
    assert again.count_parameters() == model.count_parameters() > 0
