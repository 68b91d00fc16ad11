"""A walk that is looked into action by action: its posterior as figures, tables and a film, and
what is foretold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from fledge.evaluate.judge import Figures
from fledge.plan.minds.helper import Helper, choose, read_costs
from fledge.plan.minds.inverse_planning import InversePlanning, measure, sum_by
from fledge.plan.minds.particles import ParticleFilter
from fledge.plan.minds.planned import Planned, plan_minds
from fledge.plan.minds.prediction import Prediction, predict
from fledge.plan.minds.scene_file import SceneFile
from fledge.plan.minds.walk_file import read_walk
from fledge.plan.minds.walk_scene import ACTS, TAKE, WalkScene, describe_walk
from fledge.recipes.minds.telling import Table, write_table
from fledge.report.mind_film import MindFrame, draw_mind_film
from fledge.runs.atomic import write_text

FILM = "minds.svg"
TOLD = 8  # wants that are listed, the likeliest first


class WalkFields(Protocol):
    """What is read of the verb's fields."""

    @property
    def inference(self) -> str: ...
    @property
    def particles(self) -> int: ...
    @property
    def horizon(self) -> int: ...
    @property
    def seed(self) -> int: ...


class Reading(Protocol):
    """Who reads the path action by action. steps: what was known, where they stood, what was
    done.
    """

    @property
    def steps(self) -> list[tuple[int, int, int]]: ...
    @property
    def foretold(self) -> float: ...
    @property
    def seen(self) -> int: ...
    @property
    def posterior(self) -> Tensor: ...
    def update(self, batch: Any) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class WalkInquiry:
    """The posterior after each action is kept: film and table are of all of them."""

    unfinished = None
    figure = ranks = "uncertainty"

    def __init__(self, file: SceneFile, config: WalkFields) -> None:
        self.scene: WalkScene = read_walk(file)
        self.config = config
        self.planned: Planned = plan_minds(self.scene)
        self.filter: Reading = InversePlanning(self.planned)
        if config.inference == "particles":
            self.filter = ParticleFilter(self.planned, config.particles, config.seed)
        self.total = len(self.scene.path)
        check_explained(self.planned)
        costs = read_costs(file)
        self.helper = None if costs is None else Helper(self.planned, costs)
        self.kept: list[Tensor] = [self.filter.posterior]
        self.foretold: list[float] = []

    def update(self, batch: Any, between_steps: Callable[[], None] = lambda: None) -> Figures:
        figures = self.filter.update(batch)
        self.keep()
        return figures

    def keep(self) -> None:
        self.kept.append(self.filter.posterior)
        self.foretold.append(self.filter.foretold)

    def state_dict(self) -> dict[str, Any]:
        return {
            "filter": self.filter.state_dict(), "kept": list(self.kept),
            "foretold": list(self.foretold),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.filter.load_state_dict(state["filter"])
        self.kept, self.foretold = list(state["kept"]), list(state["foretold"])

    def describe(self) -> str:
        size = describe_walk(self.scene)
        return (
            f"{len(self.planned.minds)} minds ({size['wants']} wants × {size['beliefs']} beliefs × "
            f"{size['rationality']} β) planned over {size['floor']} places × {size['knowledge']} "
            f"states of knowledge, {self.total} actions"
        )

    def judge(self) -> Figures:
        return measure(self.filter.posterior)

    def conclude(self, folder: Path) -> tuple[dict[str, Any], Sequence[str]]:
        """The film into the folder; figures and tables for its summary."""
        by = sum_by(self.planned, self.kept[-1])
        steps = self.tell_steps()
        tables = [self.tell_minds(by), steps]
        own: dict[str, Any] = {"scene": self.scene.title, "posterior": by}
        own["minds"] = len(self.planned.minds)
        own["posterior_curves"] = self.list_curves()
        if (foretold := self.foretell()) is not None:
            own["foretold"] = foretold
            tables.insert(1, tell_future(foretold))
        if self.helper is not None:
            own["helper"] = self.help()
            tables.insert(1, tell_help(own["helper"]))
        write_text(folder / FILM, self.draw())
        lines = [line for table in tables for line in write_table(table)]
        best = {group: max(names.items(), key=lambda one: one[1]) for group, names in by.items()}
        wants, believes = best["wants"], best["believes"]
        lines.append(
            f"minds: wants {wants[0]} ({wants[1]:.0%}), believes {believes[0]} ({believes[1]:.0%})"
        )
        return own | {"tables": [vars(table) for table in tables]}, lines

    def foretell(self) -> dict[str, Any] | None:
        """None where the walk is over."""
        seen = self.filter.seen
        known, place, act = self.filter.steps[seen - 1]
        if act == TAKE:
            return None
        place = int(self.scene.after[act, place])
        known = self.scene.see(known, place)
        told: Prediction = predict(
            self.planned, self.kept[-1], known, place, self.config.horizon
        )  # fmt: skip
        names = [self.name_thing(i) for i in range(len(self.scene.places))]
        return {
            "next": dict(zip(ACTS, told.acts.tolist(), strict=True)),
            "takes": dict(zip(names, told.taken.tolist(), strict=True)),
            "nothing": told.going,
            "horizon": told.horizon,
        }

    def help(self) -> list[dict[str, float]]:
        """What each thing that a helper can do is worth, before each action."""
        assert self.helper is not None
        return [
            self.helper.weigh(kept, known, place)
            for kept, (known, place, _) in zip(self.kept, self.scene.steps, strict=False)
        ]

    def name_thing(self, place: int) -> str:
        thing = int(self.scene.truth[place])
        name = "nothing" if thing == 0 else self.scene.things[thing - 1]
        return f"{name} at {self.scene.places[place]}"

    def tell_minds(self, by: Mapping[str, Mapping[str, float]]) -> Table:
        first = sum_by(self.planned, self.kept[0])
        rows = []
        for group, names in by.items():
            listed = sorted(names.items(), key=lambda one: -one[1])[:TOLD]
            rows += [
                [group, name, f"{100 * first[group][name]:.1f} %", f"{100 * chance:.1f} %"]
                for name, chance in listed
            ]
        note = "how likely before anything was seen, and after the last action"
        return Table("The mind", note, ["", "", "before", "after"], rows)

    def tell_steps(self) -> Table:
        names, _ = self.planned.favourites()
        beliefs = [belief.name for belief in self.scene.beliefs]
        rows = []
        for number, (kept, act) in enumerate(zip(self.kept[1:], self.scene.path, strict=False), 1):
            by = sum_by(self.planned, kept)
            chances = [by["wants most"][name] for name in names]
            chances += [by["believes"][name] for name in beliefs] if len(beliefs) > 1 else []
            rows.append([
                str(number), ACTS[act], f"{100 * self.foretold[number - 1]:.0f} %",
                *(f"{100 * chance:.0f} %" for chance in chances),
            ])  # fmt: skip
        columns = ["step", "did", "foretold", *names]
        columns += beliefs if len(beliefs) > 1 else []
        note = (
            "foretold: how likely the action was, given those before; then how likely each is to "
            "be wanted most, and each belief to be theirs"
        )
        return Table("Action by action", note, columns, rows)

    def list_curves(self) -> list[dict[str, Any]]:
        """Of what is wanted most, and of beliefs where there are several."""
        every = [sum_by(self.planned, kept) for kept in self.kept]
        titles = {"wants most": "What is wanted most", "believes": "What is believed"}
        return [
            {"title": title, "over": "actions seen",
             "lines": {name: [by[group][name] for by in every] for name in every[0][group]}}
            for group, title in titles.items() if len(every[0][group]) > 1
        ]  # fmt: skip

    def draw(self) -> str:
        """The film."""
        corners = self.scene.floor.nonzero().tolist()
        steps = [*self.scene.steps[: self.filter.seen]]
        frames, seen = [], len(steps)
        for number, posterior in enumerate(self.kept):
            if number < seen:
                known, place, _ = steps[number]
            else:
                known, place, act = steps[-1]
                place = place if act == TAKE else int(self.scene.after[act, place])
                known = self.scene.see(known, place)
            looked = frozenset(
                name for name, there in zip(
                    self.scene.places, self.scene.knowledge.states[known].tolist(), strict=True
                ) if there >= 0
            )  # fmt: skip
            by = sum_by(self.planned, posterior)
            shown = {group: names for group, names in by.items() if group != "wants"}
            shown = {group: names for group, names in shown.items() if len(names) > 1}
            said = "before anything is seen"
            if number:
                said = f"step {number}: {ACTS[self.scene.path[number - 1]]}"
            i, j = corners[place]
            frames.append(MindFrame((i, j), looked, shown or by, said))
        standing = {
            place: "nothing" if thing == 0 else self.scene.things[thing - 1]
            for place, thing in zip(self.scene.places, self.scene.truth.tolist(), strict=True)
        }
        return draw_mind_film(self.scene.rows, standing, frames, self.scene.title)


def check_explained(planned: Planned) -> None:
    """Raises UserError for an action that no mind would do, before there is a folder."""
    inquiry = InversePlanning(planned)
    for _ in inquiry.steps:
        inquiry.update(0)


def tell_help(values: Sequence[Mapping[str, float]]) -> Table:
    """The best of what could be done before each action."""
    rows = [
        [str(step), choose(each), *(f"{value:.2f}" for value in each.values())]
        for step, each in enumerate(values, 1)
    ]
    note = "what a helper does best before each action, and what each thing is then worth to both"
    return Table("The helper", note, ["step", "does", *values[0]], rows)


def tell_future(foretold: Mapping[str, Any]) -> Table:
    rows = [["does next", act, f"{100 * chance:.1f} %"] for act, chance in foretold["next"].items()]
    rows += [["takes", name, f"{100 * chance:.1f} %"] for name, chance in foretold["takes"].items()]
    rows.append(["takes", "none of them", f"{100 * foretold['nothing']:.1f} %"])
    note = f"over all minds, each as likely as it is now; within {foretold['horizon']} actions"
    return Table("What comes next", note, ["", "", "chance"], rows)
