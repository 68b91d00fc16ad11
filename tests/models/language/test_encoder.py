"""An encoder's rows do not see each other, nor what is behind their ends, however they are laid;
and the gradient of a row is its own. What it computes is held to `transformers` in
tests/hub/test_encoders.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.models.language.encoder import Encoder, EncoderConfig, with_classifier
from fledge.models.language.encoder_config import make_modern
from fledge.models.language.sentence_vectors import Pooling, embed_rows, pool
from tests.subjects import seeded

BORDER = 1
SIZES: dict[str, Any] = {"width": 16, "layers": 3, "heads": 2, "context": 24}
KINDS = {
    "bert": EncoderConfig(12, **SIZES, transform=True, masked=True, pooler=True),
    "modern": make_modern(12, **SIZES, window=2, transform=True, masked=True),
}


def make(kind: str) -> Encoder:
    network = Encoder(KINDS[kind], border=BORDER, generator=seeded(3)).double()
    with torch.no_grad():
        network.embedding.weight.mul_(3)
    return network


def rows() -> tuple[Tensor, Tensor]:
    """Five rows, two of one length; what is behind their ends is garbage."""
    return torch.randint(2, 12, (5, 14), generator=seeded(1)), torch.tensor([14, 5, 9, 5, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_reads_the_same_alone_beside_others_and_in_a_packed_row(kind: str) -> None:
    network = make(kind)
    tokens, lengths = rows()
    hidden = network(tokens, lengths)
    for i, size in enumerate(lengths.tolist()):
        alone = network(tokens[i : i + 1, :size])[0]
        torch.testing.assert_close(hidden[i, :size], alone, atol=1e-12, rtol=1e-12)
        assert not bool(hidden[i, size:].any())
    packed = torch.cat([torch.tensor([BORDER]), tokens[0, :6], torch.tensor([BORDER]), tokens[1]])
    packed = packed[None].repeat(2, 1)
    packed[1, 3] = BORDER  # three documents
    size = torch.tensor([22, 20])
    read = network.read_documents(packed, size)
    for row, begin, end in ((0, 0, 7), (0, 7, 22), (1, 0, 3), (1, 3, 7), (1, 7, 20)):
        alone = network(packed[row : row + 1, begin:end])[0]
        torch.testing.assert_close(read[row, begin:end], alone, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_sees_before_and_behind_it(kind: str) -> None:
    """And in a local layer no farther than its window."""
    network = make(kind)
    tokens, _ = rows()
    other = tokens[:1].clone()
    other[0, 7] = 2 if int(other[0, 7]) != 2 else 3
    moved = (network(other) - network(tokens[:1])).abs().amax(-1)[0]
    assert bool((moved > 1e-9).all())
    if kind == "modern":
        from dataclasses import replace

        config = replace(network.config, layers=1, local_layers=(0,))
        near = Encoder(config, generator=seeded(3)).double()
        moved = (near(other) - near(tokens[:1])).abs().amax(-1)[0]
        assert (moved > 1e-12).nonzero()[:, 0].tolist() == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_rows_that_are_read_one_by_one(kind: str) -> None:
    network = make(kind)
    tokens, lengths = rows()
    weight = torch.randn(5, 14, 16, dtype=torch.float64, generator=seeded(4))

    def take(loss: Tensor) -> Tensor:
        network.zero_grad()
        loss.backward()
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    together = take((network(tokens, lengths) * weight).sum())
    network.gradient_checkpointing = True
    again = take((network(tokens, lengths) * weight).sum())
    apart = take(
        torch.stack([
            (network(tokens[i : i + 1, :size])[0] * weight[i, :size]).sum()
            for i, size in enumerate(lengths.tolist())
        ]).sum()
    )  # fmt: skip
    torch.testing.assert_close(together, apart, atol=1e-11, rtol=1e-9)
    assert torch.equal(together, again)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_label_is_the_same_where_the_last_block_reads_first_tokens_alone(
    kind: str, checkpointing: bool
) -> None:
    """And so is its gradient; the modern one's last layer is local, and looks two tokens far."""
    network = with_classifier(make(kind), "sequence", ("no", "yes", "perhaps"), seeded(5)).double()
    tokens, lengths = rows()
    types = torch.randint(0, 2, tokens.shape, generator=seeded(6)) if kind == "bert" else None
    weight = torch.randn(5, 3, dtype=torch.float64, generator=seeded(7))
    assert kind == "bert" or network.blocks[-1].window == 2
    seen: list[int] = []
    network.blocks[-1].mlp_norm.register_forward_hook(lambda _, x, y: seen.append(len(x[0])))
    gradients: list[list[Tensor]] = []
    for ask in ("whole", "first"):
        network.gradient_checkpointing = checkpointing and ask == "first"
        if ask == "whole":
            logits = network.class_logits(network(tokens, lengths, types), lengths)
        else:
            logits = network.classify(tokens, lengths, types)
        network.zero_grad()
        (logits * weight).sum().backward()
        own = [p.grad for p in network.parameters() if p.grad is not None]
        gradients.append([logits.detach(), *(x.clone() for x in own)])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)
    assert seen[:2] == [int(lengths.sum()), len(lengths)]


def test_a_classifier_stands_on_the_same_trunk() -> None:
    network = make("bert")
    tokens, lengths = rows()
    told = with_classifier(network, "sequence", ("no", "yes"), seeded(5))
    assert torch.equal(told(tokens, lengths), network(tokens, lengths))
    assert torch.equal(told.pooler.weight, network.pooler.weight)
    assert told.class_logits(told(tokens, lengths), lengths).shape == (5, 2)
    assert told.config.parameters == sum(p.numel() for p in told.parameters())
    other = with_classifier(told, "token", ("a", "b", "c"), seeded(6))
    assert other.tag_logits(other(tokens, lengths)).shape == (5, 14, 3)


def test_a_text_becomes_the_mean_the_first_or_the_largest() -> None:
    network = make("bert")
    tokens, lengths = rows()
    hidden = network(tokens, lengths)
    own = [hidden[i, :size] for i, size in enumerate(lengths.tolist())]
    by_hand = {
        "mean": torch.stack([h.mean(0) for h in own]),
        "first": torch.stack([h[0] for h in own]),
        "max": torch.stack([h.amax(0) for h in own]),
    }
    for kind, expected in by_hand.items():
        torch.testing.assert_close(pool(hidden, lengths, Pooling(kind)), expected)  # pyright: ignore[reportArgumentType]
    listed = [tokens[i, :size].tolist() for i, size in enumerate(lengths.tolist())]
    vectors = embed_rows(network, listed, Pooling("mean", normalise=True))
    unit = by_hand["mean"] / by_hand["mean"].norm(dim=1, keepdim=True)
    torch.testing.assert_close(vectors.double(), unit, atol=1e-6, rtol=1e-5)


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(UserError, match="a row of 25 tokens was given to an encoder with context"):
        make("bert")(torch.full((1, 25), 3))
