"""Readers that keep what they learned, held to the same sums written out picture by picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fledge.images.pictures import Pictures, PictureShape
from fledge.models.images.picture_model import save_picture_model
from fledge.models.images.reader import load_reader
from fledge.models.images.remembering_readers import (
    NEIGHBOURS,
    PENALTIES,
    WIDTHS,
    KernelReader,
    NeighbourReader,
)

SHAPE = PictureShape(1, 4, 4, 17, ("a", "b", "c"))
N = 30


@pytest.fixture
def rows() -> Pictures:
    """Three kinds of picture, each a bright row of its own and noise."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(N) % 3
    x = torch.randint(8, (N, 1, 4, 4), generator=generator)
    x[torch.arange(N), 0, label] += 8
    return Pictures(x.byte(), label)


@pytest.fixture
def asked() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(17, (5, 1, 4, 4), generator=generator).byte()


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return ((x[:, None] - y[None]) ** 2).sum(2)


def test_neighbours_vote_as_they_do_one_by_one(rows: Pictures, asked: torch.Tensor) -> None:
    def blur(x: torch.Tensor) -> np.ndarray:
        """Over a border as dark as level 0."""
        grey = np.pad(x[:, 0].double().numpy() / 8 - 1, ((0, 0), (1, 1), (1, 1)), "constant",
                      constant_values=-1)  # fmt: skip
        out = np.zeros((len(x), 4, 4))
        for down, v in ((0, 0.25), (1, 0.5), (2, 0.25)):
            for right, w in ((0, 0.25), (1, 0.5), (2, 0.25)):
                out += v * w * grey[:, down : down + 4, right : right + 4]
        return out.reshape(len(x), 16)

    known, new = blur(rows.x), blur(asked)
    among = squared_distances(known, known) + np.diag(np.full(N, np.inf))
    scale = np.sort(among.min(1))[(N - 1) // 2]  # torch's median: the lower of the two
    reader = NeighbourReader(SHAPE, {"rows": N})
    reader.learn(rows)
    said = reader(asked).exp().numpy()
    for picture, shares in zip(new, said, strict=True):
        distance = squared_distances(picture[None], known)[0]
        near = np.argsort(distance)[:NEIGHBOURS]
        weight = np.exp(-distance[near] / scale)
        vote = [weight[rows.label.numpy()[near] == k].sum() / weight.sum() for k in range(3)]
        np.testing.assert_allclose(shares, vote, atol=1e-4)


def test_the_kernel_is_the_one_that_foretells_best_who_is_left_out(
    rows: Pictures, asked: torch.Tensor
) -> None:
    """Leaving out is done by leaving out and solving anew, N times for every choice."""
    x, y = rows.x.double().flatten(1).numpy() / 8 - 1, np.eye(3)[rows.label.numpy()]
    distance = squared_distances(x, x)
    median = np.sort(np.sqrt(distance).ravel())[(N * N - 1) // 2]
    errors = {}
    for width in WIDTHS:
        kernel = np.exp(-distance / (2 * (width * median) ** 2))
        for penalty in PENALTIES:
            error = 0.0
            for out in range(N):
                rest = np.delete(np.arange(N), out)
                block = kernel[np.ix_(rest, rest)] + penalty * np.eye(N - 1)
                error += ((y[out] - kernel[out, rest] @ np.linalg.solve(block, y[rest])) ** 2).sum()
            errors[width, penalty] = error
    width, penalty = min(errors, key=lambda each: errors[each])
    scale = 2 * (width * median) ** 2
    weight = np.linalg.solve(np.exp(-distance / scale) + penalty * np.eye(N), y)
    new = asked.double().flatten(1).numpy() / 8 - 1
    wanted = torch.from_numpy(np.exp(-squared_distances(new, x) / scale) @ weight).softmax(1)
    reader = KernelReader(SHAPE, {"rows": N})
    reader.learn(rows)
    np.testing.assert_allclose(reader(asked).exp().numpy(), wanted.numpy(), atol=1e-4)
    assert float(reader.scale) == pytest.approx(scale, rel=1e-4)


@pytest.mark.parametrize("kind", [NeighbourReader, KernelReader])
def test_they_are_read_as_they_were_written(
    kind: type[NeighbourReader] | type[KernelReader],
    rows: Pictures, asked: torch.Tensor, tmp_path: Path,
) -> None:  # fmt: skip
    reader = kind(SHAPE, {"rows": N})
    reader.learn(rows)
    save_picture_model(tmp_path, reader)
    again = load_reader(tmp_path)
    assert torch.equal(again(asked), reader(asked))
    assert again(rows.x).argmax(1).tolist() == rows.label.tolist()
