"""The fields of a search over tokens, of verbs that answer prompts, and the search that they ask
for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from fledge.engine.generation import Generation
from fledge.engine.request import Completion
from fledge.errors import UserError
from fledge.hub.folder import Loaded, load_reward_model
from fledge.sample.best_first import Reward, search_best_first
from fledge.sample.token_search import (
    Searched,
    SearchPlan,
    Worth,
    make_search_engine,
    search_tokens,
)
from fledge.score.reward_model import RewardModelScore
from fledge.score.verifier import Verifier
from fledge.tasks.examples import Example, Task

VERIFIED = 1.0  # what a verifier gives at the most


class SearchFields(BaseModel):
    """What is searched for, how long, and how widely."""

    search: Literal["none", "best_first", "mcts"] = Field(
        default="none",
        description="best_first: the completion of the highest log π + reward/search_beta, proved "
        "where the simulations suffice; mcts: of the highest reward",
    )
    reward: Path | None = Field(
        default=None, description="search: a reward model that says what a completion is worth"
    )
    simulations: int = Field(
        default=64, ge=1, description="search: how often a beginning is looked at, a prompt"
    )
    search_width: int = Field(
        default=8, ge=1, description="search: likeliest tokens that are tried after a beginning"
    )
    leaves: int = Field(
        default=4, ge=1, description="search: beginnings that are looked at side by side"
    )
    exploration: float = Field(
        default=1.25,
        ge=0,
        le=1e6,
        description="mcts: how much the model's probabilities count beside what came back",
    )
    leaf: Literal["answer", "likeliest", "value"] = Field(
        default="answer",
        description="mcts: a beginning is worth what an answer drawn from there is, or the answer "
        "of the likeliest tokens, or what the reward model says of it as it stands",
    )
    search_beta: float = Field(
        default=0.1, gt=0, le=1e6, description="best_first: reward that a nat of log π is worth"
    )

    def check_search(self, judge: str | None) -> None:
        """judge: a field that gives a verifier, if one was given. Raises UserError for fields that
        do not go together.
        """
        if self.search == "none":
            for name in SearchFields.model_fields:
                if getattr(self, name) != SearchFields.model_fields[name].default:
                    raise UserError(
                        f"{name} was given without a search: give search=best_first or "
                        "search=mcts, or leave it out."
                    )
            return
        if self.reward is not None and judge is not None:
            raise UserError(f"reward and {judge} were given: choose one judge of completions.")
        if self.search == "mcts" and self.reward is None and judge is None:
            raise UserError(
                "search=mcts looks for reward, and nothing says what a completion is worth: give "
                "reward=RUN, a run of `fledge reward`, or search=best_first, which can do without."
            )
        if self.leaf == "likeliest" and self.search != "mcts":
            raise UserError(
                "leaf=likeliest was given without search=mcts: best_first answers no leaf, it goes "
                "on with them."
            )
        if self.leaf == "value" and (self.search != "mcts" or self.reward is None):
            raise UserError(
                "leaf=value was given without search=mcts and reward=RUN: only a reward model says "
                "what a beginning is worth."
            )

    def search_for(
        self,
        model: Loaded,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        seed: int,
        n_best: int = 1,
        precision: Generation = "fp32",
        verifier: tuple[Task, Example] | None = None,
    ) -> tuple[list[list[Searched]], dict[str, Any]]:
        """Of each prompt the n_best, best first, and figures. verifier: who judges, and the
        question that is answered.

        Raises UserError for a reward model that reads other tokens, and a prompt without room.
        """
        worth = self._make_worth(model, verifier)
        plan = SearchPlan(
            self.simulations, self.search_width, self.leaves, self.exploration,
            rollouts=self.leaf != "value", greedy=self.leaf == "likeliest",
        )  # fmt: skip
        stop = frozenset(model.tokenizer.ends)
        engine = make_search_engine(model.policy(), prompts, max_new_tokens, self.leaves, precision)
        if self.search == "best_first":
            reward = None
            if worth is not None:
                reward = Reward(worth, self.search_beta, VERIFIED if verifier else None)
            done = search_best_first(
                engine, prompts, plan, max_new_tokens=max_new_tokens, stop=stop, n_best=n_best,
                reward=reward,
            )  # fmt: skip
            best = [one for one, _ in done]
            figures: dict[str, Any] = {"proved": sum(sure for _, sure in done) / len(done)}
        else:
            assert worth is not None
            trees = search_tokens(
                engine, prompts, worth, plan, max_new_tokens=max_new_tokens, stop=stop, seed=seed
            )
            best = [(one.best or [one.most_visited()])[:n_best] for one in trees]
            figures = {}
        cut = sum(not each[0].stopped for each in best)
        return best, figures | {
            "unfinished": cut / len(best), "tokens_read": engine.batch.tokens_read
        }  # fmt: skip

    def _make_worth(self, model: Loaded, verifier: tuple[Task, Example] | None) -> Worth | None:
        if verifier is not None:
            task, example = verifier
            judge = Verifier(task, cut_reward=0.0)

            def ask_verifier(places: Sequence[int], said: Sequence[Completion]) -> list[float]:
                texts = [model.tokenizer.decode(one.tokens) for one in said]
                return judge([example] * len(said), said, texts)["reward"]

            return ask_verifier
        if self.reward is None:
            return None
        network, loaded = load_reward_model(self.reward)
        if loaded.tokenizer.fingerprint() != model.tokenizer.fingerprint():
            raise UserError(
                f"the reward model {self.reward} has another tokenizer than the model that speaks: "
                "train it on the same base."
            )
        scale = loaded.config.get("fledge_reward") or {"mean": 0.0, "std": 1.0}
        score = RewardModelScore(network.eval(), mean=scale["mean"], std=scale["std"], truth=None)

        def ask_reward_model(places: Sequence[int], said: Sequence[Completion]) -> list[float]:
            return ((score.raw(said) - score.mean) / score.std).tolist() if said else []

        return ask_reward_model
