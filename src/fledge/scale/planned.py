"""A network laid out over the ranks of this process group as a plan says."""

from __future__ import annotations

from fledge.costs.work import RankLayout
from fledge.policy import TokenPolicy
from fledge.scale.layout import Layout
from fledge.scale.sharding import Sharded


def divide_as_planned(policy: TokenPolicy, planned: RankLayout) -> None:
    """In place, on the CPU; a layout whose ranks hold whole weights leaves it as it is."""
    policy.network.gradient_checkpointing = planned.gradient_checkpointing
    if planned.divides:
        layout = Layout(planned.replicas, planned.shards, planned.tensor, half=planned.half)
        Sharded(policy, "cpu", layout)
