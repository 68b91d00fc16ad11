"""Pictures that a run has made of itself, as its page shows them: one film, and sheets."""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fledge.json_file import read_bytes


@dataclass(frozen=True)
class Film:
    """A picture of the run's own, which may move: what it shows, how, and its data as a URL has
    them.
    """

    title: str
    note: str
    alt: str
    url: str
    wide: bool = False  # of the whole page


_FILMS = {
    "agent.png": Film(
        "The trained agent",
        "one episode, as it is judged",
        "The trained agent in its world, moving",
        "image/png",
    ),
    "film.svg": Film(
        "Step by step",
        "components as ellipses of two deviations, points in the colours of those that answer for "
        "them; of a sequence its states, or the smoother's band of two deviations",
        "What was inferred, moving from step to step",
        "image/svg+xml",
    ),
    "minds.svg": Film(
        "Action by action",
        "what was done, and bars of how likely each want and belief then is; figures are those at "
        "the end, and a place is pale until it is looked at",
        "A walk on a map, and beside it bars that move with each action",
        "image/svg+xml",
        wide=True,
    ),
    "rewards.svg": Film(
        "What pays",
        "blue more than the mean of all places, orange less; arrows are the first step of the best "
        "policy",
        "A map with the inferred reward of each place",
        "image/svg+xml",
        wide=True,
    ),
    "map.svg": Film(
        "A map of words",
        "frequent words of four letters or more, by the direction of their vectors; names where "
        "there is room",
        "Words as points, near each other where their vectors are",
        "image/svg+xml",
    ),
}


def read_film(folder: Path) -> Film | None:
    """The film that the run made, if it made one."""
    for name, film in _FILMS.items():
        with suppress(FileNotFoundError):
            data = base64.b64encode(read_bytes(folder / name)).decode("ascii")
            return replace(film, url=f"data:{film.url};base64,{data}")
    return None


def read_sheets(folder: Path, summary: dict[str, Any]) -> list[Film]:
    """Those that the summary lists, each {file, title, note}, in its order; without those that are
    gone.
    """
    sheets: list[Film] = []
    listed = summary.get("sheets")
    for each in listed if isinstance(listed, list) else []:
        name = Path(str(each["file"])).name  # of the run's own folder, and of no other
        with suppress(FileNotFoundError):
            data = base64.b64encode(read_bytes(folder / name)).decode("ascii")
            title, note = str(each["title"]), str(each["note"])
            url, wide = f"data:image/png;base64,{data}", bool(each.get("wide"))
            sheets.append(Film(title, note, f"{title}: {note}", url, wide))
    return sheets
