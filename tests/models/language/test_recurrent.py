"""Recurrent language models: their equations, step by step, and what holds for every model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.models.language.recurrent import Recurrent
from fledge.models.language.recurrent_cells import MinGRU
from fledge.models.language.recurrent_config import Cell, RecurrentConfig
from tests.subjects import seeded

CELLS: list[Cell] = ["elman", "lstm", "gru", "mingru"]
BORDER = 1


def make(cell: Cell, **fields: Any) -> Recurrent:
    config = RecurrentConfig(
        **{"vocab_size": 11, "cell": cell, "context": 24, "layers": 2, "width": 6, **fields}
    )
    network = Recurrent(config, border=BORDER, generator=seeded(3)).double()
    with torch.no_grad():  # biases of zero would hide a wrong place
        for weight in network.parameters():
            weight.add_(0.3 * torch.rand(weight.shape, dtype=torch.float64, generator=seeded(4)))
    return network


def rows(number: int = 3, length: int = 20) -> Tensor:
    return torch.randint(2, 11, (number, length), generator=seeded(5))


def say_by_the_equations(network: Recurrent, row: Tensor) -> Tensor:
    """One row, one step at a time, by products and functions alone.  [T] -> [T, W]"""
    w, said = network.config.width, []
    state = [[torch.zeros(w, dtype=torch.float64) for _ in range(2)] for _ in network.cells]
    for token in row:
        x = network.embedding.weight[token]
        for layer, own in zip(network.cells, state, strict=True):
            x = step(layer, x, own)
        said.append(scale(x, network.norm) if network.config.cell == "mingru" else x)
    return torch.stack(said)


def step(layer: Any, x: Tensor, own: list[Tensor]) -> Tensor:
    if isinstance(layer, MinGRU):
        seen = scale(x, layer.norm)
        z = torch.sigmoid(layer.gate.weight @ seen + layer.gate.bias)
        own[0] = (1 - z) * own[0] + z * (layer.candidate.weight @ seen + layer.candidate.bias)
        x = x + layer.out.weight @ own[0]
        gate, up = (layer.gate_up.weight @ scale(x, layer.mlp_norm)).chunk(2)
        return x + layer.down.weight @ (gate * torch.sigmoid(gate) * up)
    cell = layer.cell
    seen = cell.weight_ih_l0 @ x + cell.bias_ih_l0
    kept = cell.weight_hh_l0 @ own[0] + cell.bias_hh_l0
    if layer.config.cell == "elman":
        own[0] = torch.tanh(seen + kept)
    elif layer.config.cell == "gru":
        (r, z, n), (kr, kz, kn) = seen.chunk(3), kept.chunk(3)
        r, z = torch.sigmoid(r + kr), torch.sigmoid(z + kz)
        own[0] = (1 - z) * torch.tanh(n + r * kn) + z * own[0]
    else:
        i, f, g, o = (seen + kept).chunk(4)
        own[1] = torch.sigmoid(f) * own[1] + torch.sigmoid(i) * torch.tanh(g)
        own[0] = torch.sigmoid(o) * torch.tanh(own[1])
    return own[0]


def scale(x: Tensor, norm: Any) -> Tensor:
    return norm.weight * x / (x.square().mean() + 1e-5).sqrt()


@pytest.mark.parametrize("cell", CELLS)
def test_a_row_is_what_the_equations_say(cell: Cell) -> None:
    network, some = make(cell), rows()
    said = network(some)
    for i, row in enumerate(some):
        torch.testing.assert_close(said[i], say_by_the_equations(network, row))


@pytest.mark.parametrize("cell", CELLS)
def test_a_token_changes_nothing_before_it(cell: Cell) -> None:
    network, some = make(cell), rows(1)
    changed = some.clone()
    changed[0, 9] = (changed[0, 9] - 1) % 9 + 2
    one, other = network(some)[0], network(changed)[0]
    assert torch.equal(one[:9], other[:9])
    assert not torch.allclose(one[9:], other[9:])


@pytest.mark.parametrize("cell", CELLS)
def test_documents_in_one_row_are_what_each_is_alone(cell: Cell) -> None:
    network, some = make(cell), rows()
    some[0, [0, 7, 8]] = BORDER
    some[1, 19] = BORDER
    said = network(some, network.document_mask(some))
    for i, begin, end in ((0, 0, 7), (0, 7, 8), (0, 8, 20), (1, 0, 19), (1, 19, 20), (2, 0, 20)):
        torch.testing.assert_close(said[i, begin:end], network(some[i : i + 1, begin:end])[0])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("borders", [(), (4,), (0, 11), (12,), (19,)])
def test_a_row_in_two_pieces_is_the_row(cell: Cell, borders: tuple[int, ...]) -> None:
    network, some = make(cell), rows()
    some[0, list(borders)] = BORDER
    whole = network(some, network.document_mask(some))
    state = network.empty(len(some))
    for piece in some.split([12, 1, 7], dim=1):
        mask = piece == BORDER if bool((piece == BORDER).any()) else None
        said, state = network.read_on(piece, state, mask)
        torch.testing.assert_close(said, whole[:, : piece.shape[1]])
        assert not state.requires_grad
        whole = whole[:, piece.shape[1] :]


@pytest.mark.parametrize("cell", CELLS)
def test_the_state_of_rows_of_unequal_length(cell: Cell) -> None:
    network, some = make(cell), rows()
    lengths = torch.tensor([20, 3, 11])
    state = network.advance(some, lengths, network.empty(3))
    for i, n in enumerate(lengths.tolist()):
        alone = network.run(some[i : i + 1, :n], network.empty(1))[1][0]
        torch.testing.assert_close(state[i], alone)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [True, False])
def test_how_many_numbers_it_learns(cell: Cell, tied: bool) -> None:
    network = make(cell, tied=tied)
    assert network.config.parameters == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_has_one_mask_a_row_and_keeps_the_mean(cell: Cell) -> None:
    network = make(cell, dropout=0.4, width=512, layers=1).train()
    torch.manual_seed(0)
    masks = network._draw_masks(rows(4))
    assert [mask.shape for mask in masks] == [(4, 1, 512)] * 2
    kept = torch.stack(masks) > 0
    # 4,096 draws: five standard deviations of a share are 0.039
    assert abs(kept.double().mean() - 0.6) < 0.039
    assert masks[0].unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert not torch.equal(network(rows()), network(rows()))
    network.eval()
    assert torch.equal(network(rows()), network(rows()))
