"""Probes beside numpy: ridge by its normal equations with every row left out in turn, and votes
counted one by one.
"""

from __future__ import annotations

import numpy as np
import torch

from fledge.evaluate.probes import NEIGHBOURS, PENALTIES, probe_linearly, vote_of_neighbours


def clusters(rows: int, seed: int, spread: float = 1.2) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    middle = np.random.default_rng(9).normal(size=(3, 6)) * 1.5
    label = np.arange(rows) % 3
    return middle[label] + random.normal(size=(rows, 6)) * spread + 5, label


def solve(x: np.ndarray, target: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights and a bias that is not penalised."""
    middle, mean = x.mean(0), target.mean(0)
    gram = (x - middle).T @ (x - middle) + penalty * np.eye(x.shape[1])
    weight = np.linalg.solve(gram, (x - middle).T @ (target - mean))
    return weight, mean - middle @ weight


def test_the_probe_is_ridge_with_the_penalty_that_leaving_out_chooses() -> None:
    (x, label), (asked, _) = clusters(30, 0), clusters(200, 1)
    mean, spread = x.mean(0), x.std(0)
    z, target = (x - mean) / spread, np.eye(3)[label]
    errors = []
    for penalty in PENALTIES:
        error = 0.0
        for out in range(len(z)):
            kept = np.arange(len(z)) != out
            weight, bias = solve(z[kept], target[kept], penalty)
            error += ((z[out] @ weight + bias - target[out]) ** 2).sum()
        errors.append(error)
    best = PENALTIES[int(np.argmin(errors))]
    assert PENALTIES[0] < best < PENALTIES[-1]
    weight, bias = solve(z, target, best)
    wanted = ((asked - mean) / spread @ weight + bias).argmax(1)
    said = probe_linearly(torch.tensor(x), torch.tensor(label), torch.tensor(asked))
    assert np.array_equal(said.numpy(), wanted)
    other_weight, other_bias = solve(z, target, PENALTIES[-1])
    other = ((asked - mean) / spread @ other_weight + other_bias).argmax(1)
    assert not np.array_equal(wanted, other)  # another penalty would be seen


def test_a_number_that_never_changes_does_no_harm() -> None:
    (x, label), (asked, _) = clusters(30, 0), clusters(50, 1)
    more = [torch.tensor(np.pad(each, ((0, 0), (0, 2)))) for each in (x, asked)]
    plain = probe_linearly(torch.tensor(x), torch.tensor(label), torch.tensor(asked))
    assert torch.equal(plain, probe_linearly(more[0], torch.tensor(label), more[1]))


def test_neighbours_vote_by_how_alike_they_are() -> None:
    (x, label), (asked, _) = clusters(60, 2), clusters(40, 3)
    middle = x.mean(0)
    wanted = []
    for row in asked - middle:
        likeness = (x - middle) @ row / np.linalg.norm(x - middle, axis=1) / np.linalg.norm(row)
        votes = np.zeros(3)
        for place in np.argsort(-likeness)[:NEIGHBOURS]:
            votes[label[place]] += np.exp(likeness[place] / 0.07)
        wanted.append(votes.argmax())
    said = vote_of_neighbours(torch.tensor(x), torch.tensor(label), torch.tensor(asked))
    assert said.tolist() == wanted
