"""`fledge verify`: every claim about a gradient or an optimum, measured against enumeration; also
those of a file of your own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, create_model
from rich.table import Table
from rich.text import Text

from fledge.errors import UserError
from fledge.readable import readable
from fledge.recipes.algorithm_fields import check_setting_names
from fledge.recipes.studies.referee import hear_peers
from fledge.report.own_page import check_page, write_page
from fledge.report.verify_page import render_verify_page
from fledge.runs.show import Show
from fledge.verify.adversarial_rows import adversarial_rows
from fledge.verify.autoencoder_rows import autoencoder_rows
from fledge.verify.baselines import baseline_rows
from fledge.verify.compounding_error import imitation_rows
from fledge.verify.continuous_rows import continuous_rows
from fledge.verify.copy_rows import copy_rows
from fledge.verify.decoding_rows import decoding_rows
from fledge.verify.diffusion_rows import diffusion_rows
from fledge.verify.family import FAMILY
from fledge.verify.keeping_rows import keeping_rows
from fledge.verify.laboratory import Hardware
from fledge.verify.latent_rows import latent_rows
from fledge.verify.lesson_rows import lesson_rows
from fledge.verify.memory_rows import memory_rows
from fledge.verify.minds_rows import minds_rows
from fledge.verify.one_equation import ONE_EQUATION
from fledge.verify.own_estimators import own_rows, own_settings
from fledge.verify.picture_rows import picture_rows
from fledge.verify.planning_rows import planning_rows
from fledge.verify.policy_gradient_rows import policy_gradient_rows
from fledge.verify.preference_rows import preference_rows
from fledge.verify.process_rows import process_rows
from fledge.verify.regret_rows import regret_rows
from fledge.verify.rows import TableRow
from fledge.verify.scaling_rows import scaling_rows
from fledge.verify.search_rows import search_rows
from fledge.verify.sequence_rows import sequence_rows
from fledge.verify.text_rows import text_rows
from fledge.verify.token_search_rows import token_search_rows
from fledge.verify.value_rows import value_rows
from fledge.verify.variational_rows import variational_rows


class VerifyConfig(BaseModel):
    """Check what is claimed: is an algorithm's expected gradient the true one, up to what scale,
    how biased, how noisy?

    Without FILE: the special cases of the one equation, and every algorithm. With FILE, a .py of
    your own: each class in it with update(batch), made as Class(policy, learner, stopwatch), and
    its function loss(logp, batch), which returns a tensor [B, T]. What they claim stands in their
    attribute gradient_claim: "unbiased", "unbiased up to scale (G-1)/G" or "biased: why". Exit code
    1 where a claim does not hold. With peer, what another's installed trainer computes beside what
    it claims: a table of facts, exit code 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def compose(cls, given: Mapping[str, Any]) -> type[Self]:
        """With the settings of the algorithms in the file that is given.

        Raises UserError for a file that is wrong.
        """
        file, peer = given.get("file"), given.get("peer")
        if peer is not None and peer != "none":
            own = [name for name in given if name not in cls.model_fields]
            check_setting_names(f"peer={peer}", own, cls)
            said = Field(default=None, description="a setting of the peer's own")
            settings: dict[str, Any] = dict.fromkeys(own, (Any, said))
            return create_model(f"{cls.__name__} of the peer", __base__=cls, **settings)
        if file is None or file == "none":
            return cls
        fields: dict[str, Any] = own_settings(Path(file))
        check_setting_names(str(file), fields, cls)
        return create_model(f"{cls.__name__} of the file", __base__=cls, **fields)

    file: Path | None = Field(
        default=None,
        description=(
            "a .py file of your own with an algorithm or a loss; with peer=cleanrl:ppo its ppo.py"
        ),
    )
    peer: str | None = Field(
        default=None,
        description=(
            "another's trainer, with settings of its own: trl:grpo loss_type=dr_grpo; trl for all "
            "of a package, all for everyone (pip install 'fledge[referee]')"
        ),
    )
    out: Path = Field(default=Path("verify.html"), description="the page to write, with plots")
    device: Literal["cpu", "cuda"] = Field(
        default="cpu", description="where the algorithms under test compute"
    )
    dtype: Literal["float64", "float32"] = Field(
        default="float64",
        description="of the algorithms under test: errors up to 1e-10, or 1e-4, count as rounding",
    )
    samples: int = Field(
        default=2000,
        ge=100,
        le=1_000_000,
        description="updates drawn where there are too many batches to enumerate",
    )


def verify(config: VerifyConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a device or folder that is not there, a file that is wrong, and a claim
    of no known form.
    """
    if config.peer is not None:
        return _hear(config, config.peer, show)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda was given, but torch finds no GPU here: give device=cpu.")
    if not config.out.parent.is_dir():
        raise UserError(
            f"out={config.out} cannot be written: there is no folder {config.out.parent}. Make it, "
            "or choose another."
        )
    check_page(config.out, "verify")
    told = {name: getattr(config, name) for name in config.model_fields_set}
    hardware = Hardware(config.device, getattr(torch, config.dtype))
    began = time.perf_counter()
    if config.file is None:
        work = list_package_rows(hardware, config.samples)
    else:
        work = [
            (name, lambda row=row: [row()])
            for name, row in own_rows(
                config.file,
                hardware,
                config.samples,
                told,
            )
        ]
    rows: list[TableRow] = []
    with use_one_thread(), show.progress("verify", len(work), "worst") as watch:
        for step, (_, measure) in enumerate(work, 1):
            rows += measure()
            watch.step(step, {})
    broken = [row for row in rows if not row.holds]
    show.print(draw_rows_table(rows))
    for row in broken:
        show.line(f"✗ {row.subject} claims “{row.claim}”, but is {row.statement}")
    told = f"{len(rows) - len(broken)} of {len(rows)} rows hold"
    write_page(
        config.out,
        render_verify_page(rows, config.file, hardware, time.perf_counter() - began),
        "verify",
    )
    show.line(f"{told}, {time.perf_counter() - began:.0f} s. Page: {config.out}")
    return {"holds": not broken, "rows": [row.as_json() for row in rows]}


def _hear(config: VerifyConfig, peer: str, show: Show) -> dict[str, Any]:
    """Another's trainer computes where and how it does: our fields say nothing to it."""
    ours = config.model_fields_set & VerifyConfig.model_fields.keys() - {"peer", "file"}
    if ours:
        raise UserError(
            f"{min(ours)} says nothing to peer={peer}: give the peer and settings of its own."
        )
    own = type(config).model_fields.keys() - VerifyConfig.model_fields.keys()
    # In the order of the command line, as the row is named.
    setting = {name: getattr(config, name) for name in type(config).model_fields if name in own}
    with use_one_thread():
        return hear_peers(peer, setting, show, config.file)


@contextmanager
def use_one_thread() -> Iterator[None]:
    """For tensors of a few dozen numbers: handing them to other threads takes longer than the sums,
    and slows other programs.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def list_package_rows(
    hardware: Hardware, updates: int
) -> list[tuple[str, Callable[[], list[TableRow]]]]:
    """What is measured without a file: one equation, baselines, worlds, data of preferences,
    memories, decoding, and the estimators.
    """
    one_equation = [(row.__name__, lambda row=row: [row(hardware)]) for row in ONE_EQUATION]
    family = [
        (
            entry.subject,
            lambda entry=entry, number=number: [entry.row(f"A{number}", hardware, updates)],
        )
        for number, entry in enumerate(FAMILY, 1)
    ]
    worlds = [
        ("baselines", partial(baseline_rows, 100)),
        ("policy gradients", partial(policy_gradient_rows, 100)),
        ("imitation", imitation_rows),
        ("updates on a process", process_rows),
        ("values", value_rows),
        ("real actions", continuous_rows),
        ("replay", memory_rows),
        ("hidden information", regret_rows),
        ("search in games", search_rows),
        ("learned worlds and planning", planning_rows),
        ("other minds, rewards and labels", minds_rows),
    ]
    language = [
        ("preferences", partial(preference_rows, hardware)),
        ("scores and teachers", partial(lesson_rows, hardware)),
        ("decoding", partial(decoding_rows, hardware)),
        ("searches over tokens", token_search_rows),
        ("counts, words and experts", text_rows),
        ("copies", copy_rows),
        ("scaling laws", scaling_rows),
        ("keeping and merging", keeping_rows),
    ]
    return [
        *one_equation,
        *worlds,
        *language,
        ("what is not seen", latent_rows),
        ("pictures", picture_rows),
        ("sequences", sequence_rows),
        ("posteriors", variational_rows),
        ("adversaries", adversarial_rows),
        ("diffusion", diffusion_rows),
        ("autoencoders of pictures", autoencoder_rows),
        *family,
    ]


def draw_rows_table(rows: list[TableRow]) -> Table:
    """What a terminal shows."""
    shown = Table(header_style="bold", pad_edge=False, box=None, padding=(0, 2, 0, 0))
    shown.add_column("", no_wrap=True)
    shown.add_column("id", no_wrap=True)
    shown.add_column("subject, and what it claims", ratio=4, overflow="fold")
    shown.add_column("measured", ratio=5, overflow="fold")
    shown.add_column("figure ≤ bound", no_wrap=True)
    noisy = any(row.noise for row in rows)
    if noisy:
        shown.add_column("noise", no_wrap=True, justify="right")
    for row in rows:
        mark = Text("✓", "green") if row.holds else Text("✗", "bold red")
        bound = f" ≤ {row.bound:.0e}" if row.bound is not None else ""
        cells = [
            mark,
            row.id,
            Text.assemble(row.subject, "\n", (row.claim, "dim")),
            row.statement,
            f"{row.figure:.1e}{bound}",
        ]
        cells += ([f"{row.noise.variance:.2f}" if row.noise else ""]) if noisy else []
        shown.add_row(*(said if isinstance(said, Text) else Text(readable(said)) for said in cells))
    if noisy:
        shown.caption = (
            "noise: total variance of one update, as a multiple of plain REINFORCE's with as many "
            "samples"
        )
        shown.caption_justify = "left"
    return shown
