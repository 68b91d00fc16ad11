"""The rows of diffusion hold, and a fault that is planted breaks those that it is of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fledge.models.images import denoising, diffusion_bound, samplers
from fledge.verify import diffusion_rows as room
from fledge.verify.diffusion_rows import diffusion_rows


def broken() -> set[str]:
    return {row.id.removeprefix("G12.") for row in diffusion_rows() if not row.holds}


def test_every_row_holds() -> None:
    rows = diffusion_rows()
    assert all(row.holds for row in rows), [row for row in rows if not row.holds]
    assert len({row.id for row in rows}) == len(rows) == 11


def a_tenth_more(true: Callable[..., Any]) -> Callable[..., Any]:
    """Of the variance that a step adds."""

    def posterior(t: Any, s: Any) -> Any:
        a, b, small, large = true(t, s)
        return a, b, 1.1 * small, 1.1 * large

    return posterior


@pytest.mark.parametrize(
    ("fault", "ids"),
    [
        ("variance of a step", {"1"}),
        ("term of the bound", {"2"}),
        ("decoder", {"3"}),
        ("grid of the solver", {"5"}),
        ("noise of DDIM", {"8"}),
        ("noise of the solver", {"11"}),
        ("guidance", {"9"}),
        ("sign of v", {"10"}),
    ],
)
def test_a_fault_is_noticed(fault: str, ids: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "variance of a step":
        monkeypatch.setattr(room, "posterior", a_tenth_more(samplers.posterior))
    elif fault == "term of the bound":
        true = diffusion_bound.step_nats
        monkeypatch.setattr(room, "step_nats", lambda *given: 1.01 * true(*given))
    elif fault == "decoder":
        levels = diffusion_bound.level_nats
        monkeypatch.setattr(room, "level_nats", lambda *given: levels(*given) + 1e-3)
    elif fault == "grid of the solver":  # its history left out: first order
        monkeypatch.setattr(samplers, "walk_dpm", samplers.walk_ddim)
    elif fault == "noise of DDIM":
        ddim = samplers.walk_ddim
        monkeypatch.setattr(room, "walk_ddim", lambda *given, eta: ddim(*given, eta=0.9))
    elif fault == "noise of the solver":
        dpm = samplers.walk_dpm
        monkeypatch.setattr(room, "walk_dpm", lambda *given, eta: dpm(*given, eta=0.9))
    elif fault == "guidance":
        guess = denoising.Denoising.guess

        def heavier(self: Any, z: Any, at: Any, label: Any = None, guidance: float = 1.0) -> Any:
            return guess(self, z, at, label, guidance * 1.01 if guidance > 1 else guidance)

        monkeypatch.setattr(denoising.Denoising, "guess", heavier)
    else:
        target = denoising.Denoising.target
        monkeypatch.setattr(
            denoising.Denoising,
            "target",
            lambda self, x, epsilon, at: (
                (-1 if self.prediction == "v" else 1) * target(self, x, epsilon, at)
            ),
        )
    assert broken() == ids
