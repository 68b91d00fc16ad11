"""Model-predictive control with a learned world: it does not fit `weigh`, because nothing is
weighed: a world is fitted to what was seen, and every action is planned in it.

sample: by planning, into a memory, and out of it.  score, weigh: –.  fit: nats of an ensemble's
next observation, reward and end (Chua et al. 2018, algorithm 1); squared error of a value of what
lies beyond the horizon, by fitted value iteration in that world (imagined_value.py) or by n steps
that were done (Sutton & Barto 2018, eq. 7.1); what is new (random_distillation.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fledge.algorithms.parts.replayed import MemorySettings, Replayed
from fledge.algorithms.parts.target_network import TargetNetwork
from fledge.algorithms.value.imagined_value import AimedRows, imagine_best
from fledge.algorithms.value.sequence_kernel import weigh_sequences
from fledge.learner import Learner
from fledge.models.control.foresight import Foresight
from fledge.models.control.world_ensemble import MemberSteps, disagreement, judge_foretold
from fledge.plan.curious import Curious
from fledge.plan.looking_ahead import LookingAhead
from fledge.plan.proposals import draw_anything
from fledge.plan.rolling_out import Dynamics
from fledge.plan.shooting import CrossEntropy, PathIntegral, Search, Slope
from fledge.sample.replay import Replay, Transitions
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.world import Space

IMAGINED = 16  # sequences from each situation


class ModelPredictive:
    """Acts at random until `learning_starts`, but where the true world is looked ahead in.

    State: what was learned and its optimizer, the memory, the slow value, and the plans under way.
    """

    gradient_claim = "no policy gradient: there is no policy, every action is planned"

    class Settings(MemorySettings):
        """Of model-predictive control."""

        model: Literal["ensemble", "true"] = Field(
            default="ensemble",
            description="what is looked ahead in: a learned world, or copies of the true one",
        )
        planner: Literal["cem", "mppi", "gradient", "shooting"] = Field(
            default="cem", description="how a good sequence of actions is looked for"
        )
        horizon: int = Field(default=15, ge=1, description="steps that are looked ahead")
        # A thousand, which other memories wait for, is half of a run's own default.
        learning_starts: int = Field(
            default=200, ge=0, description="world steps at random, before anything is learned"
        )
        candidates: int = Field(default=64, ge=2, description="sequences tried in a round")
        kept: int = Field(
            default=8,
            ge=1,
            description="cem: best ones that the next round follows; gradient: all that climb",
        )
        rounds: int = Field(
            default=2,
            ge=1,
            description="cem, mppi: of candidates; gradient: ten steps up the slope each",
        )
        members: int = Field(default=5, ge=1, description="networks of the ensemble; 1: no doubt")
        terminal_value: bool = Field(
            default=True, description="learn what is still to come where looking ahead stops"
        )
        n_step: int = Field(
            default=10, ge=1, description="rewards before that value's own bootstrap"
        )
        value_candidates: int | None = Field(
            default=None,
            ge=0,
            description="sequences of n_step actions imagined for that value, of which it learns "
            "the best; 0: what was done; none: 16, with model=true 0",
        )
        target_rate: float = Field(
            default=0.02, gt=0, le=1, description="by which the slow value follows, an update"
        )
        novelty: Literal["none", "disagreement", "rnd"] = Field(
            default="none", description="what pays beside the reward while it learns"
        )
        novelty_weight: float = Field(
            default=0.1, ge=0, description="reward for a novelty of 1, a step"
        )

        def search(self) -> Search:
            if self.planner == "mppi":
                return PathIntegral(self.candidates, self.rounds)
            if self.planner == "gradient":
                return Slope(min(self.kept, self.candidates), 10 * self.rounds)
            rounds = 1 if self.planner == "shooting" else self.rounds
            return CrossEntropy(self.candidates, min(self.kept, self.candidates), rounds, 0.1)

    def __init__(
        self,
        foresight: Foresight,
        learner: Learner | None,
        stopwatch: Stopwatch,
        settings: Settings | None = None,
        *,
        action: Space,
        replay: Replay,
        true_world: Dynamics | None = None,
        begins_trained: bool = False,
    ) -> None:
        """learner: None where nothing is learned. true_world: looked ahead in where nothing was
        learned of it.
        """
        self.foresight, self.learner, self.stopwatch = foresight, learner, stopwatch
        self.settings = s = settings or ModelPredictive.Settings()
        dynamics = foresight.world or true_world
        assert dynamics is not None
        self.action, self.dynamics = action, dynamics
        self.begins_trained = begins_trained or foresight.world is None
        self.steps = Replayed(replay, s)
        self.target_value = None if foresight.value is None else TargetNetwork(foresight.value)
        self.curious = self._make_curious()
        self.looking = self._look_in(self.curious)
        self.foretold: dict[str, float] = {}  # of the batch that an update is in the middle of

    def _make_curious(self) -> Dynamics:
        s, world, network = self.settings, self.foresight.world, self.foresight.novelty
        if s.novelty == "disagreement" and world is not None:
            new = lambda state: disagreement(world, state)  # noqa: E731
        elif network is not None:
            new = lambda state: network(  # noqa: E731
                self.foresight.scale(self.dynamics.observe(state))
            )
        else:
            return self.dynamics
        return Curious(self.dynamics, new, s.novelty_weight)

    def _look_in(self, dynamics: Dynamics) -> LookingAhead:
        s, known, value = self.settings, self.foresight, self.foresight.value
        final = None if value is None else lambda seen: value(known.scale(seen))

        def worth(obs: Tensor, sequences: Tensor, generator: torch.Generator) -> Tensor:
            return weigh_sequences(dynamics, obs, sequences, s.gamma, generator, final)

        return LookingAhead(self.action, s.search(), worth, s.horizon)

    @property
    def unfinished(self) -> Trajectories | None:
        return self.steps.batch

    @property
    def best(self) -> Callable[[Tensor], Tensor]:
        """A player that plans without looking for what is new, with a memory of its own plans.
        [n, *O] -> [n, *A]
        """
        looking, generator = self._look_in(self.dynamics), torch.Generator().manual_seed(0)
        return lambda obs: looking.act(obs, generator)

    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, None]:
        """[n, *O] -> [n, *A]"""
        if self.steps.started or self.begins_trained:
            return self.looking.act(obs, generator), None
        return draw_anything(self.action, len(obs), generator), None

    def begin_anew(self, which: Tensor) -> None:
        """The copies [n] bool whose next observation is the first of an episode."""
        self.looking.begin_anew(which)

    def update(
        self, batch: Trajectories, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Remember the batch, then the optimizer steps it pays for. `between_steps` is called after
        each.
        """
        with self.stopwatch.phase("fit"):
            if self.unfinished is None:
                self.foretold = self._watch(batch)
                self.steps.begin(batch)
            if self.learner is None:
                self.steps.batch = None
                return {"remembered": float(len(self.steps.replay))}
            figures = self.steps.run(self.fit, between_steps) | self.foretold
            self.foretold = {}
            return figures

    @torch.no_grad()
    def _watch(self, batch: Trajectories) -> dict[str, float]:
        """How well steps were foretold that nothing has been learned from yet; then they are
        counted in.
        """
        chosen = batch.chosen
        obs, after = batch.obs[:, :-1][chosen], batch.obs[:, 1:][chosen]
        reward, figures, world = batch.reward[chosen], {}, self.foresight.world
        if world is not None and self.steps.started and len(obs):
            figures = judge_foretold(world, obs, batch.action[chosen], reward, after)
        self.foresight.watch(obs, reward, after)
        return figures

    def fit(self) -> dict[str, float]:
        """One optimizer step of all that is learned; the slow value follows."""
        s, replay, parts = self.settings, self.steps.replay, self.foresight
        several = replay.draw(s.rows_per_update, s.gamma, s.n_step)
        losses: list[tuple[Any, Any]] = []
        if parts.world is not None:
            members = parts.world.members
            drawn = replay.draw(s.rows_per_update * members, s.gamma)
            rows = MemberSteps(*(
                getattr(drawn, name).unflatten(0, (-1, members))
                for name in ("obs", "action", "reward", "next_obs", "terminated")
            ))  # fmt: skip
            losses.append((self._world_loss(rows), rows))
        if parts.value is not None or parts.novelty is not None:
            aimed = AimedRows(several.obs, self.target(several))  # before the rows are cut
            losses.append((self._value_loss(aimed), aimed))
        assert self.learner is not None
        figures = self.learner.step(*losses[0], also=losses[1:])
        if self.target_value is not None:
            self.target_value.follow(s.target_rate)
        if parts.novelty is not None:
            with torch.no_grad():
                parts.novelty.settle(parts.novelty.error(parts.scale(several.obs)))
        return figures

    def _world_loss(self, rows: MemberSteps) -> Callable[[MemberSteps], Any]:
        world, learner = self.foresight.world, self.learner
        assert world is not None
        assert learner is not None
        count = learner.count_rows(rows)

        def loss(some: MemberSteps) -> tuple[Tensor, Mapping[str, Tensor]]:
            nats, ends = world.losses(some)
            share = nats.sum() / count + ends.sum() / count
            bounds = world.cost_of_bounds() * len(some) / count
            said = {"world_nats": nats.sum(), "end_nats": ends.sum()}
            return share + bounds, {
                name: value / (count * world.members) for name, value in said.items()
            }

        return loss

    def _value_loss(self, rows: AimedRows) -> Callable[[AimedRows], Any]:
        learner, value, novelty = self.learner, self.foresight.value, self.foresight.novelty
        assert learner is not None
        count = learner.count_rows(rows)

        def loss(some: AimedRows) -> tuple[Tensor, Mapping[str, Tensor]]:
            share, said = torch.zeros(()), {}
            if value is not None:
                error = value(self.foresight.scale(some.obs)) - some.target
                share = share + 0.5 * error.square().sum() / count
                said["value_error"] = error.detach().abs().sum() / count
            if novelty is not None:
                strange = novelty.error(self.foresight.scale(some.obs))
                share = share + strange.sum() / count
            return share, said

        return loss

    @torch.no_grad()
    def target(self, rows: Transitions) -> Tensor:
        """What is best from where each row begins, in the imagined world; or, of what was done, R +
        γ^k V⁻(s′), only R where the world ended. Where no value is learned, 0.  -> [N]
        """
        if self.target_value is None:
            return torch.zeros(len(rows))
        s, known, value = self.settings, self.foresight, self.target_value.network
        final = lambda seen: value(known.scale(seen))  # noqa: E731
        usual = 0 if known.world is None else IMAGINED  # a copy's step costs what the world's does
        if candidates := usual if s.value_candidates is None else s.value_candidates:
            return imagine_best(
                self.dynamics, self.action, rows.obs, steps=s.n_step, candidates=candidates,
                gamma=s.gamma, generator=self.steps.replay.generator, final=final,
            )  # fmt: skip
        future = rows.discount * final(rows.next_obs)
        return rows.reward + torch.where(rows.terminated, 0.0, future)

    def state_dict(self) -> dict[str, Any]:
        parts = {"learner": self.learner, "target_value": self.target_value}
        return {
            "steps": self.steps.state_dict(),
            "looking": self.looking.state_dict(),
            "foretold": self.foretold,
            **{name: part.state_dict() for name, part in parts.items() if part is not None},
            # buffers that no optimizer step made
            "foresight": self.foresight.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps.load_state_dict(state["steps"])
        self.looking.load_state_dict(state["looking"])
        self.foretold = dict(state["foretold"])
        for part, name in ((self.learner, "learner"), (self.target_value, "target_value")):
            if part is not None:
                part.load_state_dict(state[name])
        self.foresight.load_state_dict(state["foresight"])
