"""A page that opens anywhere without a network: a template filled, with the style and the script of
the reports inside it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from fledge.next_command import write_command
from fledge.readable import READABLE
from fledge.report.figures import format_size


@dataclass(frozen=True)
class Picture:
    """A chart with its heading; legend: the names of its lines, none where there is but one."""

    title: str
    unit: str
    svg: Markup
    legend: Sequence[str] = ()
    caption: str = ""


def render_page(package: str, template: str, content: dict[str, Any]) -> str:
    """The page as text. The template lies in `package`; beside the content it is given `style`,
    `script` and `script_digest`.
    """
    script = _read("fledge.report", "report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["size"] = format_size
    environment.globals["command"] = write_command
    page = environment.from_string(_read(package, template))
    style = Markup(_read("fledge.report", "report.css"))
    return page.render(content, style=style, script=Markup(script), script_digest=digest).translate(
        READABLE
    )


def _read(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
