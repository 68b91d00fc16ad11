"""`fledge control`: one agent in a world, or several algorithms side by side."""

from __future__ import annotations

from fledge import ranks
from fledge.errors import UserError
from fledge.recipes.control.agent_run import train_agent
from fledge.recipes.control.compare import compare
from fledge.recipes.control.config import ControlConfig
from fledge.recipes.course import Summary
from fledge.runs.folder import Run
from fledge.runs.show import Show


def control(config: ControlConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for an unknown algorithm or world, settings that do not go together, and a
    world that fails.
    """
    config = config.composed()
    if config.compare is not None and ranks.world() > 1:
        raise UserError(
            f"compare={config.compare} trains one agent after the other in one process: leave "
            "torchrun out, or give algorithm=."
        )
    if config.compare is not None:
        return compare(config, show, run)
    return train_agent(config, show, run)
