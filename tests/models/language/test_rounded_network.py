"""A whole network in few bits: what is rounded, to what, and with which inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fledge.models.language.mixture import Experts
from fledge.models.language.quantisation import INT4, INT8, round_to_nearest
from fledge.models.language.rounded_network import Rows, list_seen, round_network
from tests.subjects import seeded, transformer

WIDE: dict[str, Any] = {"width": 64, "mlp_width": 96, "layers": 2}


def draw_rows() -> Rows:
    tokens = torch.randint(11, (6, 20), generator=seeded(1))
    real = torch.arange(20) < torch.tensor([20, 20, 12, 9, 20, 5])[:, None]
    return Rows(tokens, real)


def watch(network: Any, name: str, rows: Rows) -> Tensor:
    """What a matrix of the network is given to read.  [N, I]"""
    seen: list[Tensor] = []
    part: nn.Module = network.get_submodule(name)
    hook = part.register_forward_hook(lambda module, given, answer: seen.append(given[0]))
    with torch.no_grad():
        network(rows.tokens)
    hook.remove()
    return seen[0][rows.real]


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
def test_each_matrix_is_rounded_for_the_inputs_that_rounded_ones_give(rounding: Any) -> None:
    network, whole, rows = transformer(**WIDE), transformer(**WIDE), draw_rows()
    done = round_network(network, INT4, rows, rounding)
    assert list(done.errors) == list_seen(network)
    assert len(done.errors) == 8
    for name, error in done.errors.items():
        before, after = (each.get_parameter(name) for each in (whole, network))
        x = watch(network, name.removesuffix(".weight"), rows)
        with torch.no_grad():
            lost = (x @ (before - after).T).square().sum() / (x @ before.T).square().sum()
        assert error == pytest.approx(float(lost), rel=1e-3)
        assert torch.equal(after, done.matrices[name].restore())


def test_by_inputs_the_whole_network_says_nearer_what_it_said() -> None:
    rows = Rows(torch.randint(11, (32, 32), generator=seeded(2)), torch.ones(32, 32).bool())
    whole = transformer(**WIDE)
    away = {}
    for rounding in ("nearest", "gptq"):
        network = transformer(**WIDE)
        round_network(network, INT4, rows, rounding)
        with torch.no_grad():
            away[rounding] = float((network(rows.tokens) - whole(rows.tokens)).square().mean())
    assert away["gptq"] < 0.8 * away["nearest"]


def test_what_is_not_seen_is_rounded_to_the_nearest_and_the_rest_stays() -> None:
    experts = Experts(4, 2, 32)
    network, whole = (transformer(**WIDE, experts=experts, tied=False) for _ in range(2))
    done = round_network(network, INT4, draw_rows(), "gptq")
    kinds = {name: each.grid for name, each in done.matrices.items()}
    assert kinds.pop("embedding.weight") is kinds.pop("head.weight") is INT8
    assert set(kinds.values()) == {INT4}
    for name, weight in whole.named_parameters():
        now = network.get_parameter(name)
        if name not in done.matrices:
            assert weight.ndim == 1 or name.endswith("router.weight")
            assert torch.equal(now, weight)
        elif name not in done.errors:
            grid = INT8 if name in ("embedding.weight", "head.weight") else INT4
            assert torch.equal(now, round_to_nearest(weight, grid).restore())


def test_rows_that_are_no_whole_blocks_become_float16() -> None:
    network, whole = transformer(), transformer()  # of width 16
    done = round_network(network, INT8, draw_rows(), "gptq")
    assert not done.errors
    for name, weight in whole.named_parameters():
        wanted = weight.half().float() if weight.ndim > 1 else weight
        assert torch.equal(network.get_parameter(name), wanted), name
