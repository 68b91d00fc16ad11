"""An autoencoder and its diffusion in one loss: who feels which gradient, in any number of pieces,
and a run that goes on.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fledge.algorithms.texts.text_diffusion import TextDiffusion
from fledge.learner import Learner
from fledge.models.language.text_diffusion import TextDiffusion as Model
from fledge.stopwatch import Stopwatch
from tests.models.language.sentences import rows_of, tokenizer
from tests.subjects import Gradients, learner

TEXTS = ("a", "ab", "bbba", "", "ba", "aab", "b")
QUICK: dict[str, Any] = {
    "latents": 3, "width": 8, "longest": 8, "denoiser_width": 8, "denoiser_layers": 1,
}  # fmt: skip


def make(rows_per_micro_batch: int | None = None, **given: Any) -> TextDiffusion:
    settings = TextDiffusion.Settings(**{**QUICK, **given})
    torch.manual_seed(0)
    model = TextDiffusion.build(settings, tokenizer()).double()
    torch.nn.init.normal_(model.prior.leave.weight)  # fresh, it has no gradient for what is below

    def make_learner(module: torch.nn.Module) -> Learner:
        return learner(module, rows_per_micro_batch=rows_per_micro_batch)

    return TextDiffusion(settings, model, make_learner, 3, Stopwatch())


def weights(model: Model) -> torch.Tensor:
    return torch.cat([x.detach().flatten() for x in model.parameters()])


def gradient_of(weight: float) -> dict[str, torch.Tensor]:
    algorithm = make(prior_weight=weight, word_dropout=0.0)
    taken = Gradients(algorithm.learner)
    algorithm.update(rows_of(*TEXTS))
    names = [name for name, _ in algorithm.model.named_parameters()]
    return dict(zip(names, taken.taken[0], strict=True))


def test_the_reader_feels_a_share_of_the_diffusion_and_the_others_all_or_none() -> None:
    """Linear in the share for the reader; the same for the diffusion and for the writer."""
    none, half, all_ = map(gradient_of, (0.0, 0.5, 1.0))
    moved = 0
    for name in none:
        if name.startswith(("coder.reader", "to_vector")):
            torch.testing.assert_close(half[name], (none[name] + all_[name]) / 2)
            moved += int(not torch.allclose(none[name], all_[name]))
        else:
            assert torch.equal(none[name], all_[name]), name
        if name.startswith("prior"):
            assert bool(none[name].any()), name
    assert moved >= 3


@pytest.mark.parametrize("size", [1, 3])
def test_a_step_is_the_same_in_any_number_of_pieces(size: int) -> None:
    rows = rows_of(*TEXTS)
    ends = []
    for pieces in (None, size):
        algorithm = make(pieces, word_dropout=0.5)
        said = [algorithm.update(rows) for _ in range(3)]
        ends.append((weights(algorithm.model), [one["loss"] for one in said]))
        for one in said:
            assert one["loss"] == pytest.approx(one["distortion"] + one["rate"])
    torch.testing.assert_close(ends[0][0], ends[1][0], rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(torch.tensor(ends[0][1]), torch.tensor(ends[1][1]))


def test_a_run_goes_on_to_the_same_bits() -> None:
    rows = rows_of(*TEXTS)
    whole, begun, resumed = make(), make(), make()
    for _ in range(5):
        whole.update(rows)
    for _ in range(2):
        begun.update(rows)
    resumed.load_state_dict(begun.state_dict())
    for _ in range(3):
        resumed.update(rows)
    assert torch.equal(weights(whole.model), weights(resumed.model))
