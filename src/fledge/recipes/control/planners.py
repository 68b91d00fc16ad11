"""What the algorithms of `fledge control` that look ahead are made of: worlds that are counted or
learned, planners, memory, out of the fields of a run.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fledge.algorithms.parts.action_table import ActionTable
from fledge.algorithms.parts.counted_table import PlanningSettings
from fledge.algorithms.value.dreamer import Dreamer
from fledge.algorithms.value.dyna import Dyna
from fledge.algorithms.value.model_predictive import ModelPredictive
from fledge.algorithms.value.posterior_sampling import PosteriorSampling
from fledge.algorithms.value.prioritised_sweeping import PrioritisedSweeping
from fledge.errors import UserError
from fledge.models.control.actor_critic import ActorCritic
from fledge.models.control.foresight import Foresight
from fledge.models.control.recurrent_world import RecurrentWorld
from fledge.models.control.world_ensemble import WorldEnsemble
from fledge.plan.rolling_out import Dynamics
from fledge.plan.world_copies import TableDynamics, WorldCopies
from fledge.recipes.control.builders import Built, Making, TableModule, explore
from fledge.sample.replay import Replay
from fledge.seeds import generator_for
from fledge.worlds.make import make_world
from fledge.worlds.mdp_world import MDPWorld
from fledge.worlds.set_to import can_be_set
from fledge.worlds.world import Box, Choices, World


def build_counted(m: Making, s: PlanningSettings) -> Built:
    """Dyna or prioritised sweeping, whichever the settings are of."""
    table = ActionTable(
        m.world.observation, m.world.action, exploration=explore(m, s), initial=s.initial_value
    )
    algorithm: Any
    if isinstance(s, Dyna.Settings):
        algorithm = Dyna(table, m.stopwatch, s, generator=m.random)
    else:
        assert isinstance(s, PrioritisedSweeping.Settings)
        algorithm = PrioritisedSweeping(table, m.stopwatch, s)
    return Built(algorithm, table, table, TableModule(table))


def build_posterior_sampling(m: Making, s: PosteriorSampling.Settings) -> Built:
    table = ActionTable(m.world.observation, m.world.action)
    drawing = generator_for(m.run.seed, "actor", "drawn worlds")
    algorithm = PosteriorSampling(table, m.stopwatch, s, generator=drawing)
    return Built(algorithm, algorithm, algorithm, TableModule(table))


def look_ahead_in(world: World, given: Any) -> Dynamics:
    """The true world, for a planner. given: what copies of it are made from.

    Raises UserError for a world that cannot be set to what was seen in it.
    """
    if not can_be_set(world):
        raise UserError(
            f"model=true looks ahead in copies of the world, and {world.name} cannot be set to "
            "what was seen in it: leave model=true out, and every planner (cem, mppi, gradient, "
            "shooting) works in the world that is learned."
        )
    if isinstance(world, MDPWorld):
        return TableDynamics(world.mdp)
    return WorldCopies(lambda copies: make_world(given, copies))


def build_model_predictive(m: Making, s: ModelPredictive.Settings) -> Built:
    """Raises UserError for a world of states that can be counted and is to be learned, a planner
    that the world does not go with, and a world that cannot be looked ahead in.
    """
    run, world = m.run, m.world
    if s.model == "ensemble" and isinstance(world.observation, Choices):
        raise UserError(
            f"{world.name} has states that can be counted, and algorithm=mpc learns worlds of "
            "numbers: give dyna, prioritised_sweeping or psrl, or model=true to look ahead in the "
            "world itself."
        )
    if s.planner == "gradient" and (s.model == "true" or isinstance(world.action, Choices)):
        what = "copies of the world have" if s.model == "true" else "one choice of several has"
        raise UserError(
            f"planner=gradient climbs a slope, which {what} not: give planner=cem, mppi or "
            "shooting."
        )
    if s.model == "true" and s.novelty != "none":
        raise UserError(
            f"novelty={s.novelty} pays for what a learned world does not know, and model=true "
            "learns none: leave one of them out."
        )
    random = generator_for(run.seed, "weights")
    ensemble, true_world = None, None
    if s.model == "ensemble":
        ensemble = WorldEnsemble(
            world.observation, world.action, generator=random, members=s.members,
            widths=run.widths, sampled=s.novelty != "disagreement",
        )  # fmt: skip
    else:
        true_world = look_ahead_in(world, run.world)
    foresight = Foresight(
        world.observation, ensemble, generator=random, widths=run.widths,
        terminal_value=s.terminal_value, distilled=s.novelty == "rnd",
    )  # fmt: skip
    learns = any(p.requires_grad for p in foresight.parameters())
    algorithm = ModelPredictive(
        foresight, m.learner(foresight, s.updates_per_step, after=s.learning_starts)
        if learns else None, m.stopwatch, s, action=world.action,
        replay=Replay(s.buffer, generator=m.random), true_world=true_world,
        begins_trained=run.base is not None,
    )  # fmt: skip
    return Built(algorithm, algorithm, algorithm, foresight, learned_world=ensemble)


def build_dreamer(m: Making, s: Dreamer.Settings) -> Built:
    """Raises UserError for observations that are neither numbers nor small square pictures."""
    random = generator_for(m.run.seed, "weights")
    world = RecurrentWorld(
        m.world.observation, m.world.action, generator=random, free_nats=s.free_nats
    )
    far = torch.full((world.width,), torch.inf)
    policy = ActorCritic(
        Box(-far, far), m.world.action, generator=random, widths=m.run.widths, log_std=-0.5
    )
    world_learner = m.learner(world, s.updates_per_step, after=s.learning_starts)
    policy_learner = m.learner(
        policy, s.updates_per_step, after=s.learning_starts, times=s.policy_rate
    )
    algorithm = Dreamer(
        world, policy, world_learner, policy_learner, m.stopwatch, s, action=m.world.action,
        replay=Replay(s.buffer, generator=m.random), generator=generator_for(m.run.seed, "noise"),
        begins_trained=m.run.base is not None,
    )  # fmt: skip
    both = nn.ModuleDict({"world": world, "policy": policy})
    return Built(algorithm, algorithm, algorithm, both, learned_world=world)
