"""A token sees what came before it in its own document, and nothing else; and sees the same through
the cache.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.models.language.transformer import Transformer, TransformerConfig
from tests.subjects import seeded, transformer

KINDS: list[dict[str, Any]] = [
    {"kv_heads": 4},
    {"kv_heads": 1},
    {"kv_heads": 2, "qk_norm": True},
    {"kv_heads": 2, "tied": False, "head_width": 6},
]


def tokens(rows: int, length: int, seed: int = 0, low: int = 2) -> Tensor:
    return torch.randint(low, 11, (rows, length), generator=seeded(seed))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("t", [1, 5, 11])
def test_changing_a_token_never_changes_what_comes_before(kind: dict[str, Any], t: int) -> None:
    network = transformer(**kind)
    row, other = tokens(3, 12), tokens(3, 12)
    other[:, t] = (other[:, t] + 1) % 11
    before, after = network(row), network(other)
    assert torch.equal(before[:, :t], after[:, :t])
    assert (
        (before[:, t:] - after[:, t:]).abs().amax(-1) > 1e-6
    ).all()  # and everything from there on sees it


def test_the_gradient_of_a_position_reaches_itself_and_the_past_only() -> None:
    network = transformer()
    embedded = network.embedding(tokens(1, 8)).detach().requires_grad_(True)
    network.embedding.forward = lambda input: embedded
    network(tokens(1, 8))[0, 4].sum().backward()
    assert embedded.grad is not None
    assert (embedded.grad[0].abs().sum(-1) > 0).tolist() == [True] * 5 + [False] * 3


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_attention_never_crosses_the_border_of_a_document(kind: dict[str, Any]) -> None:
    network = transformer(border=1, **kind)
    row = tokens(2, 14)
    row[0, 5] = row[0, 9] = row[1, 0] = row[1, 12] = 1
    hidden = network(row, network.document_mask(row))
    for r, starts in ((0, (0, 5, 9, 14)), (1, (0, 12, 14))):
        for a, b in pairwise(starts):
            other = tokens(2, 14, seed=5)
            other[r, a:b] = row[r, a:b]
            if b < 14:
                other[r, b] = 1
            if a > 0:
                other[r, a] = 1
            assert torch.equal(network(other, network.document_mask(other))[r, a:b], hidden[r, a:b])


def test_a_packed_document_says_what_it_says_alone_up_to_its_shifted_positions() -> None:
    """Rotary attention depends on distances only, so a document in the middle of a row reads as at
    its start.
    """
    network = transformer(border=1, dtype=torch.float64)
    row = tokens(1, 16)
    row[0, 0] = row[0, 7] = 1
    packed = network(row, network.document_mask(row))[:, 7:]
    # the rotary table is float32
    torch.testing.assert_close(packed, network(row[:, 7:]), rtol=1e-5, atol=1e-5)


def test_rows_of_one_document_need_no_mask() -> None:
    network = transformer(border=1)
    row = tokens(3, 6)
    row[:, 0] = 1
    assert network.document_mask(row) is None
    assert transformer().document_mask(torch.ones(2, 4, dtype=torch.long)) is None


def test_what_pads_a_row_changes_nothing_before_it() -> None:
    network = transformer()
    row = tokens(2, 12)
    alone = network(row[:1, :7])
    padded = row.clone()
    padded[0, 7:] = 0
    for other in (padded, row):
        torch.testing.assert_close(network(other)[:1, :7], alone)


def test_a_window_hides_what_lies_further_back_and_nothing_else() -> None:
    """One layer, so that nothing travels further: token t sees t−2, t−1 and itself."""
    network = transformer(layers=1, window=3)
    row = tokens(1, 12)
    other = row.clone()
    other[0, 5] = (row[0, 5] + 1) % 11
    changed = (network(row) != network(other)).any(-1)[0]
    assert changed.nonzero().flatten().tolist() == [5, 6, 7]


def test_a_tied_network_has_one_matrix_for_reading_and_writing() -> None:
    tied, untied = transformer(), transformer(tied=False)
    assert tied.unembedding is tied.embedding.weight
    assert untied.unembedding is not untied.embedding.weight
    assert (
        sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters())
        == 11 * 16
    )


def test_a_fresh_network_depends_on_its_generator_alone_and_is_unsure_of_everything() -> None:
    config = TransformerConfig(vocab_size=300)
    a, b = (Transformer(config, generator=seeded(7)) for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    row = torch.randint(0, 300, (4, 50), generator=seeded(0))
    logits = a(row) @ a.unembedding.T
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), row[:, 1:].flatten())
    assert loss.item() == pytest.approx(torch.tensor(300.0).log().item(), rel=0.1)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 18}, "width=18.*heads=4"),
        ({"kv_heads": 3}, "heads=4.*kv_heads=3"),
        ({"width": 12, "heads": 4}, "pairs to rotate"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        transformer(**sizes)


def test_a_row_longer_than_the_context_is_refused() -> None:
    network = transformer(context=8)
    network(tokens(1, 8))
    with pytest.raises(UserError, match=r"9 tokens.*context 8"):
        network(tokens(1, 9))
