"""`fledge compress`: a smaller model of a model: matrices in 8 or 4 bits, weights set to 0, or
whole channels and heads left out; and what it lost, measured and bounded.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from fledge.evaluate.fidelity import Fidelity, measure_fidelity
from fledge.hub.folder import load_model
from fledge.next_command import write_command
from fledge.policy import TokenPolicy
from fledge.recipes.course import Course, Start, Summary
from fledge.recipes.language.held_against import (
    Material,
    is_of_conversations,
    read_conversation_material,
    read_text_material,
)
from fledge.recipes.language.smaller import SmallerFields, make_smaller, measure_size
from fledge.recipes.training import choose_device
from fledge.report.figures import format_size, format_value
from fledge.runs.folder import Run
from fledge.runs.show import Show


class CompressConfig(SmallerFields):
    """Make a smaller model of a model, and measure what it lost."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    base: Path = Field(description="the run, model folder or .gguf file to make smaller")
    out: Path | None = Field(
        default=None,
        description="run folder; by default the first free of runs/compress, runs/compress-2, …",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: a GPU if there is one"
    )

    # What `Course` asks of every run: this one makes a single step, and saves when it is made.
    @property
    def steps(self) -> int:
        return 1

    @property
    def evaluate_every(self) -> int:
        return 0

    @property
    def save_every_s(self) -> float:
        return 0.0


def compress(config: CompressConfig, show: Show, run: Run | None = None) -> Summary:
    """A run that was stopped begins again: it takes minutes at the most.

    Raises UserError for a model, data or settings that do not go together.
    """
    start = Start("compress", show, run)
    if start.new:
        config.check()
    base = load_model(config.base)
    before, base = measure_size(base), base.merged()
    network = base.network.to(choose_device(config.device))
    config.check_network(network)
    material, read, copied = None, list[str](), list[str]()
    if config.data is not None and is_of_conversations(config.data):
        material = read_conversation_material(config, network, base.tokenizer, show)
        read = [config.data]
    elif config.data is not None:
        copied = [config.data]
    with start.begin(config, parents=[base.source], data=read, copied=copied) as course:
        if run is not None and (kept := run.set_aside()):
            show.line(f"{run.folder} begins again; what was there is kept as {', '.join(kept)}")
        if copied:
            material = read_text_material(config, network, base.tokenizer, course.run, show)
        course.say(
            f"{config.base} ({network.config.parameters / 1e6:.2f} M parameters, "
            f"{format_size(before)}) by {config.describe()}"
        )
        if material is None:
            _, own = make_smaller(config, base, network, None, course.run.model_folder, show)
            return finish(config, course, before, own)
        whole = copy.deepcopy(network)
        smaller, own = make_smaller(
            config, base, network, material.calibration.to(network), course.run.model_folder, show
        )
        policy, smaller_policy = (
            TokenPolicy(each, base.policy().allowed).to(each.unembedding.device)
            for each in (whole, smaller)
        )
        fidelity = measure_fidelity(policy, smaller_policy, material.held_out, base.tokenizer)
        return finish(config, course, before, own, fidelity, material)


def finish(
    config: CompressConfig,
    course: Course,
    before: int,
    own: Mapping[str, Any],
    fidelity: Fidelity | None = None,
    material: Material | None = None,
) -> Summary:
    """Log what was before and what is after, and say what came of it. before: bytes."""
    model = load_model(course.run.folder)
    after, parameters = measure_size(model), model.network.config.parameters
    bits = 8 * after / parameters
    rows: list[dict[str, float]] = [{"file_bytes": before}, {"file_bytes": after}]
    own = {**own, "parameters": parameters, "bits_per_weight": bits}
    lines = [f"compress: {format_size(before)} → {format_size(after)}, {bits:.2f} bits a weight"]
    if config.method == "magnitude":
        lines.append(
            "compress: zeros are stored like all numbers, so the file is no smaller for them: they "
            "are for programs that leave them out"
        )
    if config.method == "structured":
        again = write_command(
            "distill", teacher=config.base, student=course.run.folder, data=config.data
        )
        lines.append(f"compress: what the rest can learn of what was cut, `{again}` teaches it")
    if fidelity is not None and material is not None:
        for row, figures in zip(rows, fidelity.list_figures(), strict=True):
            row |= figures
        bounds = fidelity.list_bounds()
        own |= bounds
        lines.append(describe_loss(rows, bounds, material))
    for step, row in enumerate(rows):
        course.run.metrics.write({"step": step, **row})
    course.last = {"step": 1, **rows[1]}
    return course.finish(
        own, then=write_command("chat", base=course.run.folder), lines=lines,
        held_out=None if material is None else {"test": material.rows},
        censuses=() if material is None else material.censuses,
    )  # fmt: skip


def describe_loss(
    rows: list[dict[str, float]], bounds: Mapping[str, float], material: Material
) -> str:
    name = "bits_per_byte" if "bits_per_byte" in rows[0] else "loss"
    change = " → ".join(format_value(name, row[name]) for row in rows)
    kl, most = (format_value(each, bounds[each]) for each in ("base_kl", "loss_rise_bound"))
    return (
        f"compress: {name.replace('_', ' ')} {change} on {material.rows} {material.what}s of the "
        f"test part; KL from the base {kl} nats a token; whatever had followed there, the loss "
        f"would have risen by {most} nats a token at the most"
    )
