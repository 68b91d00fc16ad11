"""However ranks stand to each other, in copies, in parts of a copy, in parts of a product, they
take the steps of one process, in float64, and its state goes in and out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from fledge import ranks
from fledge.algorithms.likelihood.supervised import Supervised
from fledge.errors import UserError
from fledge.models.language.mixture import Experts
from fledge.policy import TokenPolicy
from fledge.scale.layout import Layout
from fledge.scale.sharding import Sharded
from fledge.scale.tensor_parallel import check_can_be_divided
from fledge.sharded import held_whole
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from tests.every_rank import on_ranks
from tests.scale.test_sharding import check_states, learn, make, make_sharded
from tests.subjects import learner, policy_of, rollouts, transformer

# Of other families: biases, a plain feed-forward network, both norms, parallel residuals.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen 3": {"qk_norm": True},
    "gpt 2": {
        "qkv_bias": True, "out_bias": True, "mlp_bias": True, "gated": False, "kv_heads": 4,
        "norm": "layer", "learned_positions": True, "activation": "gelu_tanh",
    },
    "gemma 3": {
        "norm": "rms_from_one", "norm_places": "around", "qk_norm": True, "windows": (3, 0),
        "local_rope_theta": 100.0, "score_scale": 0.3, "embedding_scale": 4.0,
    },
    "neox": {"residual": "parallel", "norm": "layer", "qkv_bias": True, "rotary_width": 2},
}  # fmt: skip
LAYOUTS = {
    2: [(family, Layout(1, 1, 2)) for family in FAMILIES],
    4: [
        ("llama", Layout(2, 2)),
        ("gpt 2", Layout(2, 1, 2)),
        ("qwen 3", Layout(1, 2, 2, reshard=False)),
    ],
}


def learn_each(cases: list[tuple[str, Layout]], state: dict[str, Any]) -> list[Any]:
    """Of each case: the state after some updates, their figures, and what a network that is whole
    for a while says on one rank and on all. Clipped, activations computed again, from a state that
    one process saved.
    """
    results = []
    batch = rollouts(policy_of(transformer(0, dtype=torch.float64), chunk=7))
    for family, layout in cases:
        made = make_sharded(5, family != "neox", layout, **FAMILIES[family])
        actor, fit, _ = made
        actor.network.gradient_checkpointing = family != "gemma 3"
        after, figures = learn(made, slice(None), state[family][0])

        def say(rows: Trajectories, actor: TokenPolicy = actor) -> list[torch.Tensor]:
            return [actor.log_prob(rows.obs, rows.action, rows.chosen)]

        with torch.no_grad():
            (mapped,) = fit.map(say, batch)
            with held_whole(actor):
                (alone,) = say(batch)
        results.append((after, figures, alone, mapped))
        ranks.share_rows(1)
    return results


def learn_in_half(layout: Layout | None) -> tuple[float, float, set[torch.dtype]]:
    """The loss of a first and a second step, and the types of the weights, in float32."""
    actor = policy_of(transformer(layers=3))
    if layout is not None:
        Sharded(actor, "cpu", layout)
    supervised = Supervised(actor, learner(actor), Stopwatch())
    batch = rollouts(policy_of(transformer()))
    first, second = (supervised.update(batch)["loss"] for _ in range(2))
    return first, second, {p.dtype for p in actor.parameters()}


def test_weights_that_travel_in_half_precision_are_learned_in_single(tmp_path: Path) -> None:
    """bfloat16 has 8 bits: the loss is that of one process to about 1 %, and not to 1e-6."""
    first, second, kept = learn_in_half(None)
    layout = Layout(1, 2, half=True)
    for mine, after, held in on_ranks(2, partial(learn_in_half, layout), tmp_path / "ranks"):
        assert held == kept == {torch.float32}
        assert mine == pytest.approx(first, rel=0.02)
        assert mine != pytest.approx(first, rel=1e-6)
        assert mine - after == pytest.approx(first - second, rel=0.2)


def test_every_layout_takes_the_steps_of_one_process(tmp_path: Path) -> None:
    expected: dict[str, Any] = {}
    for family, sizes in FAMILIES.items():
        made = make(5, family != "neox", **sizes)
        begun, _ = learn(made, slice(0, 4))
        after, figures = learn(made, slice(None), begun)
        assert figures["grad_norm"] > 0.05
        expected[family] = begun, after, figures
    for world, cases in LAYOUTS.items():
        each = on_ranks(world, partial(learn_each, cases, expected), tmp_path / f"{world}")
        for rank, told in enumerate(each):
            for case, (after, figures, alone, mapped) in zip(cases, told, strict=True):
                _, state, said = expected[case[0]]
                try:
                    check_states(after, state)
                    assert figures == pytest.approx(said, rel=1e-7)
                    torch.testing.assert_close(mapped, alone, rtol=1e-7, atol=1e-10)
                except AssertionError as error:
                    raise AssertionError(f"{case}, rank {rank}: {error}") from error


@pytest.mark.parametrize(
    ("sizes", "part"),
    [
        ({"kv_heads": 1}, "a model with kv_heads=1: it must divide"),
        ({"mlp_width": 33}, "mlp_width=33"),
        ({"qk_norm": True, "qk_norm_whole": True}, "norms over all heads together"),
        ({"experts": Experts(4, 2, 8)}, "a mixture of experts"),
    ],
)
def test_products_that_cannot_be_divided_are_told(sizes: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError, match=part):
        check_can_be_divided(transformer(**sizes), 2)
