"""`fledge verify peer=…`: other people's trainers, their own installed code, before the oracles
that ours are held to.
"""

from __future__ import annotations

import ast
import contextlib
import io
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from fledge.errors import UserError
from fledge.readable import readable
from fledge.runs.show import Show
from fledge.verify.referee.hear import hear
from fledge.verify.referee.page import write_figure, write_second
from fledge.verify.referee.peers import select_hearings
from fledge.verify.referee.ruling import Ruling
from fledge.verify.referee.world_ruling import WorldRuling


def hear_peers(
    peer: str, setting: Mapping[str, Any], show: Show, file: Path | None = None
) -> dict[str, Any]:
    """Every row of a peer, of a package or of all; what they compute, beside what they claim. Of
    all, those whose package is not installed are said and left out: no environment has every one.
    file: the user's, of a trainer that is a file.

    Raises UserError for a peer or a setting that there is not, or a package that is asked for by
    its name and is not installed.
    """
    told = {name: read_value(value) for name, value in setting.items()}
    hearings = select_hearings(peer, told, file)
    began = time.perf_counter()
    rulings: list[Ruling | WorldRuling] = []
    left_out: dict[str, str] = {}
    with show.progress("verify", len(hearings), "bias") as watch:
        for step, hearing in enumerate(hearings, 1):
            if hearing.peer in left_out:
                continue
            try:
                with quiet():
                    rulings.append(hear(hearing))
            except UserError as error:
                if peer != "all":
                    raise
                left_out[hearing.peer] = str(error)
                continue
            watch.step(step, {"bias": rulings[-1].bias or 0.0})
    show.print(draw_rulings(rulings))
    for said in left_out.values():
        show.line(f"left out: {said}")
    differ = sum(bool(ruling.faults) for ruling in rulings)
    show.line(
        f"{differ} of {len(rulings)} rows differ from what is claimed, "
        f"{time.perf_counter() - began:.0f} s."
    )
    return {"rows": [ruling.as_json() for ruling in rulings]}


def read_value(word: Any) -> Any:
    """A number, None, True or False as Python writes them (or as TOML does), else the word."""
    if not isinstance(word, str):
        return word
    if word in ("true", "false"):
        return word == "true"
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return word


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What a trainer prints and warns of while it is built is no part of the table."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def draw_rulings(rulings: Sequence[Ruling | WorldRuling]) -> Table:
    """What a terminal shows."""
    shown = Table(header_style="bold", pad_edge=False, box=None, padding=(0, 2, 0, 0))
    shown.add_column("peer, setting, what it claims", ratio=5, overflow="fold")
    shown.add_column("measured", ratio=6, overflow="fold")
    shown.add_column("cosine", no_wrap=True, justify="right")
    shown.add_column("scale", no_wrap=True, justify="right")
    shown.add_column("bias", no_wrap=True, justify="right")
    shown.add_column("noise", no_wrap=True, justify="right")
    shown.add_column("second way", ratio=2)
    for ruling in rulings:
        peer = Text.assemble(
            f"{ruling.peer} {ruling.version}\n",
            readable(ruling.setting),
            "\n",
            (readable(ruling.claim), "dim"),
        )
        measured = Text(readable(ruling.equation or "none of the equations"))
        for fault in ruling.faults:
            measured.append(f"\n{readable(fault)}", "yellow")
        shown.add_row(
            peer,
            measured,
            write_figure(ruling.cosine, ".4f"),
            write_figure(ruling.scale, ".4f"),
            write_figure(ruling.bias, ".1%"),
            write_figure(ruling.variance if isinstance(ruling, Ruling) else None, ".2f"),
            write_second(ruling.second.as_json()),
        )
    shown.caption = (
        "cosine, scale c and bias ‖E ĝ − c·g‖/‖c·g‖ of the expected gradient beside the exact one; "
        "noise: its variance as a multiple of plain REINFORCE's; second way: how far finite "
        "differences of the trainer's own loss lie from the gradient, or an interval of the scale"
    )
    shown.caption_justify = "left"
    return shown
