"""Remedies against collapse, one by one; gradients in any number of pieces; a run that goes on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from fledge.algorithms.texts.text_vae import TextVAE, anneal
from fledge.errors import UserError
from fledge.learner import Learner
from fledge.models.language.text_vae import TextVAE as Model
from fledge.models.normal_codes import kl_to_standard
from fledge.stopwatch import Stopwatch
from fledge.text.sentences import SentenceRows
from tests.models.language.sentences import rows_of, tokenizer
from tests.subjects import learner

TEXTS = ("a", "ab", "bbba", "", "ba", "aab", "b")
QUICK: dict[str, Any] = {"latents": 3, "width": 8, "longest": 8}
PLAIN: dict[str, Any] = {"anneal_steps": 0, "free_bits": 0.0, "word_dropout": 0.0}


def make(seed: int = 0, rows_per_micro_batch: int | None = None, **given: Any) -> TextVAE:
    settings = TextVAE.Settings(**{**QUICK, **given})
    torch.manual_seed(seed)
    model = TextVAE.build(settings, tokenizer()).double()

    def make_learner(module: torch.nn.Module) -> Learner:
        return learner(module, rows_per_micro_batch=rows_per_micro_batch)

    return TextVAE(settings, model, make_learner, 3, Stopwatch())


def weights(model: Model) -> torch.Tensor:
    return torch.cat([x.detach().flatten() for x in model.parameters()])


def test_beta_rises_once_or_in_cycles() -> None:
    assert [anneal(t, 4, 1) for t in (0, 1, 2, 3, 4, 5, 8, 100)] == [
        0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0,
    ]  # fmt: skip
    twice = [anneal(t, 2, 2) for t in range(10)]
    assert twice == [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0]
    assert anneal(0, 0, 3) == 1.0


def test_the_loss_is_the_distortion_and_what_beta_and_free_nats_leave_of_the_kl() -> None:
    rows = rows_of(*TEXTS)
    for given, step in (({}, 0), ({"free_bits": 0.0}, 0), ({"free_bits": 0.01, "beta": 2.0}, 3)):
        algorithm = make(**{**PLAIN, "anneal_steps": 6, **given})
        for _ in range(step):
            algorithm.update(rows)
        with torch.no_grad():
            kl = kl_to_standard(*algorithm.model.posterior(rows))  # [B, Z]
        free, beta = algorithm.settings.free_bits, algorithm.settings.beta * step / 6
        said = algorithm.update(rows)
        assert said["rate"] == pytest.approx(float(kl.sum()) / len(rows))
        free_rate = sum(max(free, float(each)) for each in kl.flatten()) / len(rows)
        assert said["loss"] == pytest.approx(said["distortion"] + beta * free_rate)


def test_free_nats_take_the_kls_gradient_away() -> None:
    rows = rows_of(*TEXTS)
    ends = [
        make(**{**PLAIN, "free_bits": free, "beta": beta})
        for free, beta in ((100.0, 1.0), (0.0, 0.0), (0.0, 1.0))
    ]
    for algorithm in ends:
        algorithm.update(rows)
    free, none, counted = (weights(each.model) for each in ends)
    assert torch.equal(free, none)
    assert not torch.equal(free, counted)


def test_the_twin_is_what_a_run_without_remedies_is() -> None:
    rows = rows_of(*TEXTS)
    both, plain = make(twin=True, anneal_steps=3), make(**PLAIN)
    for _ in range(3):
        said, alone = both.update(rows), plain.update(rows)
        assert said["twin_rate"] == alone["rate"]
    assert both.twin is not None
    assert torch.equal(weights(both.twin), weights(plain.model))
    assert not torch.equal(weights(both.model), weights(plain.model))
    assert list(both.list_models()) == ["", "twin_"]


@pytest.mark.parametrize("size", [1, 3])
def test_a_step_is_the_same_in_any_number_of_pieces(size: int) -> None:
    rows = rows_of(*TEXTS)
    ends = []
    for pieces in (None, size):
        algorithm = make(rows_per_micro_batch=pieces, word_dropout=0.5, anneal_steps=2)
        said = [algorithm.update(rows) for _ in range(3)]
        ends.append((weights(algorithm.model), [one["loss"] for one in said]))
    torch.testing.assert_close(ends[0][0], ends[1][0], rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(torch.tensor(ends[0][1]), torch.tensor(ends[1][1]))


def test_a_run_goes_on_to_the_same_bits() -> None:
    rows = rows_of(*TEXTS)
    whole, begun, resumed = (make(twin=True, cycles=2, anneal_steps=2) for _ in range(3))
    for _ in range(5):
        whole.update(rows)
    for _ in range(2):
        begun.update(rows)
    resumed.load_state_dict(begun.state_dict())
    for _ in range(3):
        resumed.update(rows)
    for one, other in zip(
        whole.list_models().values(), resumed.list_models().values(), strict=True
    ):
        assert torch.equal(weights(one), weights(other))


def test_what_is_hidden_is_a_share_of_the_words_and_never_what_opens() -> None:
    """Within 5 deviations."""
    from fledge.algorithms.texts.protocol import draw_dropped

    tokens = torch.zeros(500, 9, dtype=torch.long)
    rows = SentenceRows(tokens, torch.full((500,), 9))
    dropped = draw_dropped(rows, 0.3, torch.Generator().manual_seed(0))
    assert not dropped[:, 0].any()
    assert abs(float(dropped[:, 1:].double().mean()) - 0.3) < 5 * (0.21 / 4000) ** 0.5


def test_settings_that_cannot_be() -> None:
    mistakes: list[dict[str, Any]] = [{"word_dropout": 1.0}, {"latents": 0}, {"cycles": 0}]
    for wrong in mistakes:
        with pytest.raises((ValidationError, UserError)):
            TextVAE.Settings(**wrong)
