"""What GAIL and AIRL are made of: episodes that the expert plays in a world of its own, and a
discriminator beside policy and critic.
"""

from __future__ import annotations

from contextlib import closing

import torch
from torch import Tensor

from fledge.algorithms.policy.adversarial_imitation import AdversarialImitation
from fledge.models.control.discriminator import PlainDiscriminator, RewardDiscriminator
from fledge.recipes.control.builders import Built, Making, Player
from fledge.sample.whole_episodes import WholeEpisodes
from fledge.seeds import generator_for, seed_for
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.make import make_world


class Demonstrator:
    """Who always does what the expert thinks best."""

    def __init__(self, expert: Player) -> None:
        self.expert = expert

    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, None]:
        """[n, *O] -> action [n, *A], and no log-probability"""
        return self.expert.best(obs), None


def record_expert(m: Making, expert: Player, episodes: int) -> Trajectories:
    """So many whole episodes, [episodes, T]. Raises UserError for one that does not end."""
    with closing(make_world(m.run.world, episodes)) as world:
        seed = seed_for(m.run.seed, "worlds", "expert")
        return next(WholeEpisodes(world, Demonstrator(expert), Stopwatch(), seed=seed))


def build_adversarial_imitation(m: Making, s: AdversarialImitation.Settings) -> Built:
    """Raises ValueError without an expert."""
    if m.expert is None:
        raise ValueError("to imitate takes an expert: give Making one.")
    policy, (updates, _) = m.actor_critic(), s.count_updates()
    generator, action = generator_for(m.run.seed, "weights", "discriminator"), m.world.action
    discriminator = (
        PlainDiscriminator(policy.encoder, action, generator=generator, widths=m.run.widths)
        if s.form == "gail"
        else RewardDiscriminator(
            policy.encoder, action, generator=generator, widths=m.run.widths, gamma=s.gamma,
            state_only=s.state_only,
        )
    ).to(m.device)  # fmt: skip
    learner = m.learner(policy, updates)
    other = m.learner(discriminator, s.discriminator_updates, times=s.discriminator_rate)
    algorithm = AdversarialImitation(
        policy, discriminator, record_expert(m, m.expert, s.expert_episodes), learner, other,
        m.stopwatch, s, generator=m.random,
    )  # fmt: skip
    return Built(algorithm, policy, policy, policy, policy.encoder)
