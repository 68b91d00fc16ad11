"""Domain-adversarial training: the reversed gradient against finite differences, the same in any
pieces and after a stop, and what is said of targets that cannot be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fledge.algorithms.images.domain_adversary import DomainAdversary, domain_loss, read_target
from fledge.errors import UserError
from fledge.images.fitting import fit_to
from fledge.images.pictures import PictureShape, make_set
from fledge.runs.checkpoint import load_state, save_state
from tests.pictures import make_algorithm, some_digits, weights_of
from tests.subjects import seeded


@pytest.fixture
def target(tmp_path: Path) -> str:
    """Digits turned dark to bright, of twice the size."""
    x = 16 - some_digits(120).rows.x[:, 0].numpy().repeat(2, 1).repeat(2, 2)
    np.savez(tmp_path / "target.npz", x=x, y=some_digits(120).rows.label.numpy())
    return str(tmp_path / "target.npz")


def settings(target: str) -> Any:
    return DomainAdversary.Settings(target=target, width=1, features=6, rise=2)


def test_the_reader_descends_and_the_features_climb() -> None:
    reader = nn.Linear(3, 1).double()
    ours, theirs = (
        torch.randn(4, 3, generator=seeded(n), dtype=torch.float64).requires_grad_(True)
        for n in (1, 2)
    )
    weight = 0.7
    total = domain_loss(reader, ours, theirs, weight).sum()
    gradients = torch.autograd.grad(total, [ours, theirs, reader.weight])

    def value() -> float:
        return float(domain_loss(reader, ours, theirs, weight).sum().detach())

    for tensor, gradient, sign in zip(
        (ours, theirs, reader.weight), gradients, (-weight, -weight, 1.0), strict=True
    ):
        for place in range(3):
            with torch.no_grad():
                tensor[0, place] += 1e-6
                up = value()
                tensor[0, place] -= 2e-6
                down = value()
                tensor[0, place] += 1e-6
            numeric = (up - down) / 2e-6
            assert float(gradient[0, place]) == pytest.approx(sign * numeric, rel=1e-5, abs=1e-8)


def test_the_domains_loss_is_log_two_where_nothing_tells_them_apart() -> None:
    reader = nn.Linear(3, 1)
    nn.init.zeros_(reader.weight)
    nn.init.zeros_(reader.bias)
    x = torch.randn(5, 3, generator=seeded(3))
    loss = domain_loss(reader, x, x + 9, 1.0)
    torch.testing.assert_close(loss, torch.full((5,), 2.0).log())


@pytest.mark.parametrize("micro", [1, 5])
def test_the_same_in_any_pieces(target: str, micro: int) -> None:
    given = some_digits(24)
    whole, pieces = (
        make_algorithm(DomainAdversary, settings(target), given, micro=cut, plain=True)
        for cut in (None, micro)
    )
    for _ in range(3):
        a, b = whole.update(given.rows[:12]), pieces.update(given.rows[:12])
        assert b == pytest.approx(a, rel=1e-4, abs=1e-5)
    for key, weight in weights_of(whole).items():
        torch.testing.assert_close(pieces.model.state_dict()[key], weight, rtol=1e-4, atol=1e-5)


def test_goes_on_bit_for_bit(target: str, tmp_path: Path) -> None:
    given = some_digits(24)
    whole, first, second = (
        make_algorithm(DomainAdversary, settings(target), given) for _ in range(3)
    )
    for _ in range(5):
        whole.update(given.rows)
    for _ in range(2):
        first.update(given.rows)
    save_state(tmp_path / "state", first.state_dict())
    second.load_state_dict(load_state(tmp_path / "state"))
    for _ in range(3):
        second.update(given.rows)
    for key, weight in weights_of(whole).items():
        assert torch.equal(second.model.state_dict()[key], weight), key
    for ours, theirs in zip(second.domains.parameters(), whole.domains.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_without_an_adversary_features_do_not_hear_of_the_target(target: str) -> None:
    given = some_digits(24)
    ways = [settings(target).replace(adversary=0.0, target=name) for name in (target, "digits")]
    ended = []
    for own in ways:
        algorithm = make_algorithm(DomainAdversary, own, given, plain=True)
        for _ in range(3):
            algorithm.update(given.rows)
        ended.append(weights_of(algorithm))
    for key, weight in ended[0].items():
        torch.testing.assert_close(ended[1][key], weight, rtol=1e-6, atol=1e-7)


def test_another_size_is_the_mean_of_what_it_covers() -> None:
    x = torch.randint(0, 256, (7, 1, 4, 6), generator=seeded(4), dtype=torch.uint8)
    given = make_set(x, torch.arange(7) % 2, 256, ["b", "z"], "x")
    fitted = fit_to(given, PictureShape(1, 2, 3, 17, ("a", "b")))
    means = x.numpy().reshape(7, 1, 2, 2, 3, 2).mean((3, 5))
    assert np.array_equal(fitted.rows.x.numpy(), np.rint(means / 255 * 16).astype(np.uint8))
    assert fitted.rows.label.tolist() == [1, -1, 1, -1, 1, -1, 1]  # by name; z is unknown here


def test_what_is_no_target_is_said() -> None:
    shape = some_digits(30).shape
    with pytest.raises(UserError, match="dann needs target="):
        read_target(None, shape)
    x = torch.zeros(30, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(UserError, match="pictures of 3 channels, and the others have 1"):
        fit_to(make_set(x, None, 256, (), "colour.npy"), shape)
