"""Who helps and who hinders, and whose good counts, beside plain numbers."""

from __future__ import annotations

import math

import torch

from fledge.exact.social_mind import EnumeratedPair
from fledge.plan.minds.evidence import Weighing
from fledge.plan.minds.scene_file import parse_scene
from fledge.plan.minds.social_scene import read_social
from fledge.plan.minds.welfare import read_welfare
from fledge.verify.rows import TableRow


def social_row() -> TableRow:
    """Two on six places, a gate between them; every mind's walk in plain numbers."""
    rows, path, other_path = ["S_#", ".T|"], ["right", "stay", "up"], ["left", "up", "stay"]
    drawn = "\n".join(rows).replace(".", "a")
    text = (
        f"kind = 'social'\nmap = '''\n{drawn}\n'''\npath = '{' '.join(path)}'\n"
        f"other_path = '{' '.join(other_path)}'\nweights = [-1, 0.5]\ngoals = ['nothing']\n"
        "rationality = [1.5]\ngamma = 0.5"
    )
    weighing = Weighing(read_social(parse_scene(text, "two")))
    for _ in path:
        weighing.update(0)
    pair = EnumeratedPair(drawn.splitlines(), 1.0, 0.1, 0.5, depth=42)
    joint = [
        pair.likelihood(("nothing", weight, "a", 1.5), path, other_path) for weight in (-1, 0.5)
    ]
    exact = torch.tensor(joint, dtype=torch.float64) / sum(joint)
    error = float((weighing.posterior - exact).abs().max())
    return TableRow(
        "R16.7", "helping and hindering", "the posterior of a relationship is Bayes over all minds",
        error, 1e-10, f"the weight of the other's pay after {len(path)} turns to {error:.1e}",
    )  # fmt: skip


def welfare_row() -> TableRow:
    """What somebody's good is worth, 0 or 1, when 2 was given away for 1 of one's own."""
    text = """
kind = "welfare"
people = ["self", "Ann"]
weights = [0, 1]
rationality = 1
[chances]
self = [0, 1]
[[choices]]
chose = "give"
between.give = { Ann = 2 }
between.keep = { self = 1 }
"""
    weighing = Weighing(read_welfare(parse_scene(text, "give")))
    weighing.update(0)
    cares, not_ = 1 / (1 + math.exp(1 - 2)), 1 / (1 + math.exp(1))
    said = weighing.evidence.tell(weighing.posterior)["expected weight"]["Ann"]
    error = abs(said - cares / (cares + not_))
    return TableRow(
        "R16.8", "moral weights", "two weights are told apart as worked out by hand", error, 1e-12,
        f"σ(1) / (σ(1) + σ(−1)) to {error:.1e}",
    )  # fmt: skip


def social_rows() -> list[TableRow]:
    return [social_row(), welfare_row()]
