"""An encoder–decoder in the engine: the input read once, and the words the trainer computes."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from fledge.engine.beam import beam_search
from fledge.engine.encoder_decoder_form import EncoderDecoderForm
from fledge.engine.engine import Engine
from fledge.engine.request import Request
from fledge.engine.speculative import Speculator
from fledge.log_prob import Decoding
from fledge.models.language.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from fledge.models.language.encoder_decoder_config import Style
from fledge.policy import TokenPolicy
from fledge.sample.generate import generate
from tests.engine.strangers import same
from tests.engine.test_beam import enumerated, of_network
from tests.engine.test_slow_form import agrees
from tests.subjects import seeded

STYLES: tuple[Style, ...] = ("t5", "bart")
START = {"t5": 0, "bart": 1}


def encoder_decoder(style: Style, seed: int = 0) -> TokenPolicy:
    config = EncoderDecoderConfig(
        vocab_size=11, start=START[style], style=style, context=64, encoder_layers=2,
        decoder_layers=2, width=8, heads=2, gated=style == "t5", activation="gelu", buckets=8,
        max_distance=16,
    )  # fmt: skip
    network = EncoderDecoder(config, seeded(seed)).double()
    with torch.no_grad():  # so that what it has read decides what it says
        for number, weight in enumerate(network.parameters()):
            weight += 0.4 * torch.randn(weight.shape, generator=seeded(number)).double()
        if style == "bart":
            network.logits_bias.normal_(generator=seeded(seed))
    return TokenPolicy(network, torch.arange(11) >= 2)


def requests(style: Style) -> list[Request]:
    """Inputs of unlike length, several of which begin alike, and some that are asked twice."""
    shared = [3 + i % 7 for i in range(18)]
    close = [1, 0] if style == "t5" else [1]
    return [
        Request(
            [*(shared if i % 3 else shared[:2]), 3 + i % 4, *close, *[5] * (i % 2)], 3 + i,
            sample=i, seed=5,
        )
        for i in range(12)
    ]  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("prefix_cache_rows", [0, 3])
def test_the_engine_says_what_the_trainer_computes(style: Style, prefix_cache_rows: int) -> None:
    policy = encoder_decoder(style)
    engine = Engine(policy, slots=4, prefix_cache_rows=prefix_cache_rows)
    assert isinstance(engine.batch.network, EncoderDecoderForm)
    rows = engine.run(requests(style)) + engine.run(requests(style))
    for row in rows:
        assert row.error is None
        agrees(policy, row)
    assert len({tuple(row.tokens) for row in rows}) > 5
    for row, request in zip(rows, requests(style), strict=False):
        same(row, Engine(policy, slots=1).run([request])[0], 1e-10)


@pytest.mark.parametrize("style", STYLES)
def test_beams_and_guesses_run_over_it(style: Style) -> None:
    policy, draft = encoder_decoder(style), encoder_decoder(style, seed=1)
    asked = [dataclasses.replace(one, rule=Decoding(temperature=0)) for one in requests(style)]
    greedy = Engine(policy).run(asked)
    speculator = Speculator(policy, draft=draft, slots=4)
    for row, other in zip(speculator.run(asked), greedy, strict=True):
        assert (row.tokens, row.ended) == (other.tokens, other.ended)
        agrees(policy, row)
    for row, other in zip(Speculator(policy, slots=4).run(asked), greedy, strict=True):
        assert row.tokens == other.tokens
    searched = beam_search(policy, requests(style), width=1, length_penalty=0.0)
    assert [each.tokens for [each] in searched] == [row.tokens for row in greedy]


@pytest.mark.parametrize("style", STYLES)
def test_full_width_is_exhaustive_search(style: Style) -> None:
    policy = encoder_decoder(style)
    policy = TokenPolicy(policy.network, (torch.arange(11) >= 2) & (torch.arange(11) < 6))
    close = [1, 0] if style == "t5" else [1]
    prompt, stop = [4, 9, 3, 7, *close], frozenset({2})
    exact = enumerated(
        lambda word: [
            logp if 2 <= token < 6 else -math.inf
            for token, logp in enumerate(of_network(policy, prompt)(word))
        ], 3, stop, 0.7,
    )  # fmt: skip
    exact = [each for each in exact if each[0] > -math.inf]
    [beams] = beam_search(
        policy, [Request(prompt, 3, stop=stop)], width=40, n_best=10, length_penalty=0.7
    )
    assert [tuple(one.tokens) for one in beams] == [word for _, word, _ in exact[:10]]
    assert [one.score for one in beams] == pytest.approx([score for score, *_ in exact[:10]])


def test_an_input_is_encoded_once_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, read = encoder_decoder("t5"), []
    whole = EncoderDecoder.encode

    def encode(network: EncoderDecoder, inputs: torch.Tensor, lengths: torch.Tensor) -> object:
        read.append(tuple(inputs.shape))
        return whole(network, inputs, lengths)

    monkeypatch.setattr(EncoderDecoder, "encode", encode)
    prompts = [[3, 4, 5, 1, 0], [6, 1, 0]]
    said = generate(policy, prompts, max_new_tokens=9, stop=-1, samples=4, generator=seeded(0))
    assert sum(rows for rows, _ in read) == 2
    # and by the trainer once for all rows that have it
    read.clear()
    rows = torch.tensor([row.prompt + row.tokens for row in said[:4]])
    policy.log_prob(rows, rows[:, 1:])
    assert read == [(1, 4)]


@pytest.mark.parametrize("style", STYLES)
def test_what_is_said_hangs_on_the_whole_input_and_on_nothing_later(style: Style) -> None:
    """Each token of the input moves every hidden state of the target; one of the target moves its
    own and later ones; what stands behind a row's end, and other rows, move none.
    """
    network = encoder_decoder(style).network
    close = [1, 0] if style == "t5" else [1]
    row = torch.tensor([[4, 9, 3, *close, 5, 6, 7]])
    start = row.shape[1] - 4
    said = network(row)
    assert (said[0, :start] == 0).all()
    for place in range(3):
        other = row.clone()
        other[0, place] = 8
        assert (network(other)[0, start:] != said[0, start:]).any(-1).all()
    for place in range(start + 1, row.shape[1]):
        other = row.clone()
        other[0, place] = 10
        moved = (network(other)[0] - said[0]).abs().amax(-1) > 1e-9
        assert moved.tolist() == [t >= place for t in range(row.shape[1])]
    longer = torch.tensor([[4, 9, 3, *close, 5, 6, 7, 9, 9], [9, 9, 9, 9, 9, 9, *close, 5, 5][:10]])
    torch.testing.assert_close(network(longer[:, : row.shape[1] + 2])[0, : row.shape[1]], said[0])
