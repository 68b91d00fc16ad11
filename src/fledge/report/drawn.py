"""One chart of a page, with what is said about it."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Drawn:
    """One chart of the page. `legend` is empty for a single line, whose name the title already
    says.
    """

    title: str
    unit: str
    svg: Markup
    legend: list[str]
    caption: str
