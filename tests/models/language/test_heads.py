"""A number per position: zero before it has learned anything, float32 or better, read at the last
real token.
"""

from __future__ import annotations

import torch

from fledge.models.language.encoder_decoder import EncoderDecoder
from fledge.models.language.encoder_decoder_config import EncoderDecoderConfig
from fledge.models.language.heads import ScalarHead, ScalarModel
from fledge.trajectories import from_rows
from tests.subjects import seeded, transformer


def test_a_fresh_critic_predicts_zero_and_a_fresh_reward_model_prefers_nothing() -> None:
    model = ScalarModel(transformer(), bias=True)
    assert not model(torch.ones(2, 5, dtype=torch.long)).any()


def test_a_reward_model_has_no_bias() -> None:
    assert ScalarModel(transformer()).head.linear.bias is None
    assert ScalarModel(transformer(), bias=True).head.linear.bias is not None


def test_the_number_is_float32_or_better() -> None:
    head = ScalarHead(8)
    torch.nn.init.normal_(head.linear.weight, generator=seeded(0))
    hidden = torch.randn(3, 8, generator=seeded(1))
    with torch.autocast("cpu", torch.bfloat16):
        low = head(hidden.bfloat16())
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, head(hidden.bfloat16().float()))
    assert head.double()(hidden.double()).dtype == torch.float64


def test_a_bias_of_logits_is_no_part_of_a_score() -> None:
    """BART's `final_logits_bias`, for which hidden states have a number more."""
    config = EncoderDecoderConfig(
        20, start=1, style="bart", encoder_layers=1, decoder_layers=1, width=16, heads=2,
        context=16, gated=False,
    )  # fmt: skip
    network = EncoderDecoder(config, seeded(0))
    model = ScalarModel(network)  # pyright: ignore[reportArgumentType]
    torch.nn.init.normal_(model.head.linear.weight, generator=seeded(1))
    rows = torch.tensor([[5, 6, config.start, 7, 8, 3], [9, config.start, 4, 3, 0, 0]])
    last = torch.tensor([5, 3])
    plain = model.score(rows, last)
    network.logits_bias.normal_(generator=seeded(2))
    assert network(rows).shape[-1] == 17
    assert bool(plain.any())
    assert torch.equal(model.score(rows, last), plain)


def test_a_score_is_read_at_the_last_real_token_whatever_pads_the_row() -> None:
    model = ScalarModel(transformer())
    torch.nn.init.normal_(model.head.linear.weight, generator=seeded(0))
    rows = [[1, 5, 6, 2], [1, 7, 8, 9, 10, 3, 2], [1, 2]]
    scores = []
    for pad in (0, 2, 9):
        batch = from_rows(rows, [[False] + [True] * (len(row) - 1) for row in rows], pad)
        scores.append(model.score(batch.obs, batch.last()))
    alone = torch.stack([model(torch.tensor([row]))[0, -1] for row in rows])
    for score in scores:
        torch.testing.assert_close(score, alone)
