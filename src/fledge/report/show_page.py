"""The page of `fledge show`: one subject in a few chapters, each a sentence or two, pictures, a
table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup

from fledge import __version__
from fledge.errors import UserError
from fledge.report.own_page import check_page, write_page
from fledge.report.page import Picture, render_page


@dataclass(frozen=True)
class ShowChapter:
    """rows: of a table, under `heads`; what is Markup in them stays as it is. layout: how many
    pictures stand in a row.
    """

    title: str
    text: str
    pictures: Sequence[Picture] = ()
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    formula: str = ""
    layout: Literal["usual", "wide", "small"] = "usual"


@dataclass(frozen=True)
class Page:
    """What `fledge show SUBJECT` writes: lead is the sentence under the title."""

    subject: str
    lead: str
    tiles: Sequence[tuple[str, str]]
    chapters: Sequence[ShowChapter] = field(default=())


def render_show_page(page: Page) -> str:
    content = {
        "title": page.subject,
        "lead": page.lead,
        "tiles": [*page.tiles, ("fledge", __version__)],
        "chapters": page.chapters,
    }
    return render_page("fledge.report", "show.html.jinja", content)


def check_show_page(out: Path) -> None:
    """Raises UserError where the page cannot be written, before anything is computed for it."""
    if not out.parent.is_dir():
        raise UserError(
            f"out={out} cannot be written: there is no folder {out.parent}. Make it, or choose "
            "another."
        )
    check_page(out, "show")


def write_show_page(out: Path, page: Page) -> None:
    """Write beside, then rename. Raises UserError as `check_show_page` does, and OSError."""
    write_page(out, render_show_page(page), "show")


def mark(text: str, name: str) -> Markup:
    """The text in a span of the style sheet's class `name`."""
    return Markup('<span class="{}">{}</span>').format(name, text)
