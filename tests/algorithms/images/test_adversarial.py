"""Two players: the same numbers in any pieces, and after a stop; labels, averages and collapse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.algorithms.images.energy_gan import EnergyGAN, energy_loss, repelling_share
from fledge.algorithms.images.gan import GAN
from fledge.errors import UserError
from fledge.runs.checkpoint import load_state, save_state
from tests.pictures import make_algorithm, some_digits, weights_of
from tests.subjects import seeded

SMALL = {"width": 16, "latents": 4, "layers": 1}
CASES: dict[str, tuple[Any, Any]] = {
    "r1": (GAN, GAN.Settings(**SMALL)),
    "wgan": (
        GAN,
        GAN.Settings(
            **SMALL, loss="wasserstein", penalty="gradient", penalty_weight=10, critic_steps=3
        ),
    ),
    "hinge": (
        GAN, GAN.Settings(**SMALL, loss="hinge", penalty="none", spectral=True, by_label=True)
    ),
    "energy": (EnergyGAN, EnergyGAN.Settings(**SMALL, code=4, repel=0.7, noise=0.1)),
}  # fmt: skip


def train(name: str, steps: int, micro: int | None = None) -> tuple[Any, list[dict[str, float]]]:
    kind, settings = CASES[name]
    given = some_digits(48)
    algorithm = make_algorithm(kind, settings, given, micro=micro, plain=True)
    said = [algorithm.update(given.rows[slice(8 * n, 8 * n + 12)]) for n in range(steps)]
    return algorithm, said


@pytest.mark.parametrize("name", list(CASES))
def test_the_same_in_any_pieces(name: str) -> None:
    whole, said = train(name, 3)
    for micro in (1, 5):
        pieces, also = train(name, 3, micro)
        for a, b in zip(said, also, strict=True):
            assert b == pytest.approx(a, rel=1e-4, abs=1e-5)
        for key, weight in weights_of(whole).items():
            torch.testing.assert_close(pieces.model.state_dict()[key], weight, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", list(CASES))
def test_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    kind, settings = CASES[name]
    given = some_digits(48)

    def go(algorithm: Any, steps: range) -> None:
        for n in steps:
            algorithm.update(given.rows[slice(6 * n, 6 * n + 12)])

    whole = make_algorithm(kind, settings, given)
    go(whole, range(5))
    first = make_algorithm(kind, settings, given)
    go(first, range(2))
    save_state(tmp_path / "state", first.state_dict())
    second = make_algorithm(kind, settings, given)
    second.update(given.rows[:12])  # whatever it was before
    second.load_state_dict(load_state(tmp_path / "state"))
    go(second, range(2, 5))
    for key, weight in weights_of(whole).items():
        assert torch.equal(second.model.state_dict()[key], weight), key
    trained = whole.players.generator.state_dict()
    for key, weight in second.players.generator.state_dict().items():
        assert torch.equal(weight, trained[key]), key


def test_the_critic_is_not_moved_by_the_generators_step() -> None:
    given = some_digits(16)
    algorithm = make_algorithm(GAN, GAN.Settings(**SMALL), given)
    players = algorithm.players
    (rows,) = players.deal(given.rows, 1)
    with players.critic_held():
        share, _ = algorithm.weigh_generator(rows, torch.tensor(16.0))
        share.backward()
    assert all(p.grad is None for p in players.critic.parameters())
    assert all(p.grad is not None for p in players.generator.parameters())


def test_averaged_weights_are_a_mean_over_steps() -> None:
    """θ⁻ after t steps, by hand: (1 − r)·θ⁻ + r·θ with r = 1 − min(average, t / (t + 10))."""
    given = some_digits(24)
    algorithm = make_algorithm(GAN, GAN.Settings(**SMALL, average=0.25), given)
    name = "body.0.weight"
    mean = algorithm.players.generator.state_dict()[name].clone()
    for t in range(1, 7):
        algorithm.update(given.rows)
        kept = min(0.25, t / (t + 10))
        mean = kept * mean + (1 - kept) * algorithm.players.generator.state_dict()[name]
    torch.testing.assert_close(algorithm.model.state_dict()["generator." + name], mean)


def test_what_is_drawn_by_label_depends_on_it() -> None:
    algorithm, _ = train("hinge", 1)
    model = algorithm.model.eval()
    assert model.by_label
    zeros, ones = (model.generator(torch.ones(2, 4), torch.full((2,), label)) for label in (0, 1))
    assert not torch.allclose(zeros, ones)
    x = torch.zeros(1, 1, 8, 8)
    scores = [float(model.critic(x, torch.tensor([label])).detach()) for label in (0, 1)]
    assert scores[0] != scores[1]


def test_too_few_pictures_for_the_critics_steps_and_missing_labels_are_said() -> None:
    given = some_digits(8)
    algorithm = make_algorithm(GAN, GAN.Settings(**SMALL, critic_steps=9), given)
    with pytest.raises(UserError, match="critic_steps=9 was given, and a step has 8 pictures"):
        algorithm.update(given.rows)
    plain = make_algorithm(GAN, GAN.Settings(**SMALL, by_label=True), given)
    rows = given.rows.replace(label=torch.full((8,), -1))
    with pytest.raises(UserError, match="a picture has no label"):
        plain.update(rows)


def test_the_repelling_term_is_the_mean_squared_cosine_of_pairs() -> None:
    """Value and gradient against all pairs by loops, in one piece and in two."""
    code = torch.randn(5, 3, generator=seeded(1), dtype=torch.float64).requires_grad_(True)

    def by_loops() -> torch.Tensor:
        pairs = [
            torch.nn.functional.cosine_similarity(code[i], code[j], dim=0) ** 2
            for i in range(5) for j in range(5) if i != j
        ]  # fmt: skip
        return torch.stack(pairs).mean()

    (exact,) = torch.autograd.grad(by_loops(), code)
    held = code.detach()
    for cuts in ([slice(0, 5)], [slice(0, 2), slice(2, 5)]):
        parts = [repelling_share(code[own], held) for own in cuts]
        total = torch.stack(parts).sum()
        assert float(total.detach()) == pytest.approx(float(by_loops().detach()), rel=1e-9)
        (gradient,) = torch.autograd.grad(total, code)
        torch.testing.assert_close(gradient, exact, rtol=1e-9, atol=1e-12)


def test_the_energy_loss_by_hand() -> None:
    real, drawn = torch.tensor([0.1, 0.4]), torch.tensor([0.05, 0.9])
    assert energy_loss(real, drawn, 0.3).tolist() == pytest.approx([0.1 + 0.25, 0.4])
