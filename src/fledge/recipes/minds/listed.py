"""A scene whose possibilities can be listed, looked into step by step: games, words, teams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fledge.evaluate.judge import Figures
from fledge.plan.minds.evidence import Evidence, Stage, Weighing
from fledge.plan.minds.inverse_planning import measure
from fledge.plan.minds.scene_file import SceneFile
from fledge.recipes.minds.telling import Table, write_table
from fledge.report.mind_film import MindFrame, draw_mind_film
from fledge.runs.atomic import write_text

FILM = "minds.svg"


class ListedInquiry(Weighing):
    """Keeps what each step comes to, for the tables."""

    figure = ranks = "uncertainty"

    def __init__(self, file: SceneFile, evidence: Evidence) -> None:
        check_explained(evidence)
        super().__init__(evidence)
        self.file, self.total = file, len(evidence.seen)
        self.kept: list[Tensor] = [self.posterior]
        self.chances: list[float] = []

    def update(self, batch: int, between_steps: Any = None) -> Any:
        figures = super().update(batch)
        self.kept.append(self.posterior)
        self.chances.append(self.foretold)
        return figures

    def state_dict(self) -> dict[str, Any]:
        own = {"kept": list(self.kept), "chances": list(self.chances)}
        return super().state_dict() | own

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.kept, self.chances = list(state["kept"]), list(state["chances"])

    def describe(self) -> str:
        return self.evidence.about

    def judge(self) -> Figures:
        return measure(self.posterior)

    def conclude(self, folder: Path) -> tuple[dict[str, Any], Sequence[str]]:
        every = [self.evidence.tell(kept) for kept in self.kept]
        own: dict[str, Any] = {
            "scene": self.file.title, "posterior": every[-1], "minds": len(self.posterior),
        }  # fmt: skip
        tables, curves, said = [], [], []
        for title, names in every[0].items():
            share = not title.startswith("expected")
            write = (lambda x: f"{100 * x:.1f} %") if share else (lambda x: f"{x:.2f}")
            rows = [
                [str(step), seen, f"{100 * chance:.0f} %", *(write(by[title][x]) for x in names)]
                for step, (seen, chance, by) in enumerate(
                    zip(self.evidence.seen, self.chances, every[1:], strict=False), 1
                )
            ]
            rows.insert(0, ["0", "nothing yet", "", *(write(every[0][title][x]) for x in names)])
            note = "step by step; foretold: how likely what was seen was, given all before"
            tables.append(
                Table(begin_large(title), note, ["step", "seen", "foretold", *names], rows)
            )
            if share:
                lines = {name: [by[title][name] for by in every] for name in names}
                curves.append({"title": begin_large(title), "over": "things seen", "lines": lines})
            best = max(names, key=every[-1][title].__getitem__)
            said.append(f"{title} {best} ({write(every[-1][title][best])})")
        if self.evidence.asked:
            foretold = {name: float(self.posterior @ p) for name, p in self.evidence.asked.items()}
            own["foretold"] = foretold
            rows = [[name, f"{100 * chance:.1f} %"] for name, chance in foretold.items()]
            tables.append(Table("What comes next", "over all minds, each as likely as it is now",
                                ["", "chance"], rows))  # fmt: skip
        tables += [Table(*each) for each in self.evidence.tables]
        if self.evidence.stage is not None:
            write_text(folder / FILM, self.draw(self.evidence.stage, every))
        lines = [line for table in tables for line in write_table(table)]
        own |= {"tables": [vars(table) for table in tables], "posterior_curves": curves}
        return own, [*lines, f"minds: {', '.join(said)}"]

    def draw(self, stage: Stage, every: Sequence[Mapping[str, Mapping[str, float]]]) -> str:
        """The film: two on a map, and the chances after each step."""
        places = {sign: sign for row in stage.rows for sign in row if sign.islower()}
        said = ["before anything is seen"]
        said += [f"step {n}: {seen}" for n, seen in enumerate(self.evidence.seen, 1)]
        frames = [
            MindFrame(
                first, frozenset(places), {
                    title: names for title, names in by.items() if not title.startswith("expected")
                }, text, other,
            )
            for (first, other), by, text in zip(stage.at, every, said, strict=False)
        ]  # fmt: skip
        return draw_mind_film(stage.rows, places, frames, self.file.title)


def begin_large(title: str) -> str:
    """Names of people in it stay as they are."""
    return title[:1].upper() + title[1:]


def check_explained(evidence: Evidence) -> None:
    """Raises UserError for what no possibility explains, before there is a folder."""
    weighing = Weighing(evidence)
    for _ in evidence.seen:
        weighing.update(0)
