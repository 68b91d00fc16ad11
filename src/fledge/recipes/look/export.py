"""`fledge export`: a model for other programs: a Hugging Face folder, a GGUF file for llama.cpp and
Ollama, or the adapter alone for PEFT.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field

from fledge.errors import UserError
from fledge.hub.adapter_folder import copy_adapter, holds_adapter, read_kind
from fledge.hub.arpa import name_tokens, write_arpa
from fledge.hub.combined_adapter import combine_adapters
from fledge.hub.folder import Loaded, find_model, load_any, load_model, save_model
from fledge.hub.gguf_model import save_gguf
from fledge.hub.houlsby_files import HoulsbyConfig
from fledge.hub.ollama import write_modelfile
from fledge.hub.saved_parts import save_parts
from fledge.hub.word2vec_file import SUFFIXES, write_word2vec
from fledge.hub.word_vectors import is_of_vectors, load_vectors
from fledge.models.language.bottleneck import has_bottlenecks
from fledge.models.language.heads import ScalarModel
from fledge.models.language.ngram_network import NgramNetwork
from fledge.models.language.virtual_tokens import virtual_of
from fledge.recipes.course import LAYOUT
from fledge.recipes.family_field import FamilyField
from fledge.runs.checkpoint import CheckpointDamaged
from fledge.runs.folder import Run
from fledge.runs.lineage import verb_of
from fledge.runs.model_files import check_model
from fledge.runs.show import Show
from fledge.runs.whole_folder import find_standing

Format = Literal["hf", "merged", "peft", "gguf", "arpa", "word2vec"]
ONE_FILE = {"gguf": "gguf", "arpa": "arpa", "word2vec": "vec"}  # and how their names end
LARGE_BYTES = 100_000_000  # from which on half of a file is worth a word
_DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


class ExportConfig(FamilyField):
    """Write a model as others read it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Path = Field(
        description="a run, a model folder, an adapter's folder, a .gguf file, or a checkpoint of "
        "a run with shard=fsdp"
    )
    format: Format | None = Field(
        default=None,
        description=(
            "hf: a Hugging Face folder; merged: the same of an adapter, merged into its base; "
            "peft: the adapter alone; gguf: one file for llama.cpp and Ollama; arpa: an n-gram "
            "model as KenLM reads it; word2vec: word vectors, binary where out ends in .bin, else "
            "text. By default peft of an adapter, word2vec of vectors, else hf"
        ),
    )
    more: str = Field(
        default="",
        description="further adapters (lora) of the same base, as runs/b,runs/c: written as one",
    )
    shares: str = Field(
        default="",
        description="with more: what each counts in the sum, that of run first, as 0.5,0.3,0.2",
    )
    weights: Literal["f32", "f16", "bf16", "q8_0", "q4_0"] | None = Field(
        default=None,
        description="how matrices are written; q8_0, q4_0: gguf. By default f16 in gguf, else f32",
    )
    out: Path | None = Field(
        default=None, description="the folder or file to write; by default beside the run's name"
    )


def export(config: ExportConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a model that has not what the format asks for, and an `out` that is
    taken.
    """
    config.use_family()
    if is_of_vectors(config.run):
        return export_vectors(config, show)
    checkpoint = find_checkpoint(config.run)
    if checkpoint is not None:
        return export_checkpoint(config, *checkpoint, show)
    source = find_model(config.run)
    alone = config.format in (None, "peft") and not (config.more or config.shares)
    if alone and source.is_dir() and holds_adapter(source):
        return export_adapter(config, source, show)
    loaded, scalar = load_any(config.run)
    if config.more or config.shares:
        loaded = add_up(config, loaded, scalar)
    form: Format = config.format or ("hf" if loaded.base is None else "peft")
    check(config, form, loaded, scalar)
    out = choose_place(config, form)
    written = [out]
    if form == "peft":
        loaded.save(out, scalar, **kept_notes(loaded))
    elif form == "arpa":
        write_arpa(out, loaded.network.model, name_tokens(loaded.tokenizer))
    elif form == "gguf":
        whole = loaded.merged()
        kind = (config.weights or "f16").upper()
        save_gguf(out, whole.network, whole.tokenizer, kind, name_model(config.run))
        written.append(write_modelfile(out, whole.tokenizer, whole.network.config.context))
    else:
        whole = loaded.merged()
        whole.network.to(_DTYPES[config.weights or "f32"])
        save_model(out, whole.network, whole.tokenizer, scalar=scalar, **kept_notes(loaded))
    return tell(config, form, written, show)


def export_vectors(config: ExportConfig, show: Show) -> dict[str, Any]:
    """A file that readers of word2vec's take. Raises UserError."""
    if config.format not in (None, "word2vec") or config.weights or config.more or config.shares:
        raise UserError(
            f"{config.run} has word vectors, which are written as word2vec's: leave out all but "
            "run and out."
        )
    out = choose_place(config, "word2vec")
    write_word2vec(out, load_vectors(config.run))
    return tell(config, "word2vec", [out], show)


def export_adapter(config: ExportConfig, source: Path, show: Show) -> dict[str, Any]:
    """The adapter as it lies there: its base, which may be large, is not read. Raises UserError."""
    check_model(source)
    check_weights(config, "peft")
    if isinstance(read_kind(source), HoulsbyConfig):
        raise refuse_houlsby(config, source)
    out = choose_place(config, "peft")
    copy_adapter(source, out)
    return tell(config, "peft", [out], show)


def tell(config: ExportConfig, form: Format, written: list[Path], show: Show) -> dict[str, Any]:
    """What was written, in a line and as the result."""
    out = written[0]
    size = sum(file.stat().st_size for file in ([out] if out.is_file() else out.iterdir()))
    usual = {"gguf": "f16", "arpa": "decimals"}.get(form, "f32")
    held = "f32" if form == "peft" else config.weights or usual
    half = size // 2 if form in ("hf", "merged") and held == "f32" else 0
    less = f"; weights=bf16 would take {half / 1e6:,.1f}" if half > LARGE_BYTES else ""
    show.line(f"export: {config.run} as {form} in {held} → {out} ({size / 1e6:,.1f} MB{less})")
    if form == "gguf":
        show.line(f"export: `ollama create NAME -f {written[1]}` takes it into Ollama")
    return {"format": form, "out": str(out), "bytes": size, "written": [str(w) for w in written]}


def find_checkpoint(path: Path) -> tuple[Run, int | None] | None:
    """The run and the step of a checkpoint that a user means: its folder; or of a run that ranks
    divide and that has no model yet, None for the newest. None for anything else.
    """
    if path.name.isdigit() and path.parent.name == "checkpoints" and path.is_dir():
        return Run.open(path.parent.parent), int(path.name)
    if (path / LAYOUT).is_dir() and not find_standing(path / "model").is_dir():
        return Run.open(path), None
    return None


def export_checkpoint(
    config: ExportConfig, run: Run, step: int | None, show: Show
) -> dict[str, Any]:
    """Raises UserError for a checkpoint that is damaged, or holds no whole model."""
    layout = run.folder / LAYOUT
    if not layout.is_dir():
        raise UserError(
            f"{config.run} is no model by itself: only those of a run with shard=fsdp can be "
            "exported. Let `fledge resume` finish the run, which then has one."
        )
    if config.format not in (None, "hf") or config.weights in ("q8_0", "q4_0") or config.more:
        raise UserError(
            "of a checkpoint a Hugging Face folder is written, in weights=f32, f16 or bf16: leave "
            "out format, more and shares."
        )
    if step is None:
        newest = run.checkpoints.latest(show.line)
        if newest is None:
            raise UserError(f"{run.folder} has no whole checkpoint and no model to export.")
        step, state = newest
    else:
        try:
            state = run.checkpoints.load(step)
        except CheckpointDamaged as error:
            raise UserError(f"{config.run} is damaged ({error}): give another one.") from error
    out = config.out or Path(f"{run.folder.resolve().name}-{step}-hf")
    out = choose_place(config.model_copy(update={"out": out}), "hf")
    save_parts(out, layout, state, _DTYPES[config.weights or "f32"])
    size = sum(file.stat().st_size for file in out.iterdir())
    held = config.weights or "f32"
    where = f"checkpoint {step} of {run.folder}"
    show.line(f"export: {where} as hf in {held} → {out} ({size / 1e6:,.1f} MB)")
    return {"format": "hf", "out": str(out), "bytes": size, "written": [str(out)]}


def check(config: ExportConfig, form: Format, loaded: Loaded, scalar: ScalarModel | None) -> None:
    """Raises UserError."""
    if form in ("peft", "merged") and loaded.base is None:
        raise UserError(
            f"{config.run} has no adapter: all of it was trained. Give format=hf or format=gguf."
        )
    if form == "word2vec":
        raise UserError(
            f"format=word2vec is of a run of `fledge vectors`, and {config.run} is none."
        )
    if form == "arpa" and not isinstance(loaded.network, NgramNetwork):
        raise UserError(
            f"format=arpa is of n-gram models, and {config.run} is a "
            f"{type(loaded.network).__name__}: give format=hf."
        )
    if has_bottlenecks(loaded.network):
        raise refuse_houlsby(config, loaded.folder)
    if form != "peft" and virtual_of(loaded.network) is not None:
        raise UserError(
            f"{config.run} has virtual tokens (adapter=prefix or prompt), which cannot be merged "
            f"into the base and have no place in format={form}: give format=peft."
        )
    if form == "gguf" and scalar is not None:
        raise UserError(
            f"{config.run} is a reward model, which llama.cpp has no network for: give format=hf."
        )
    check_weights(config, form)


def check_weights(config: ExportConfig, form: Format) -> None:
    """Raises UserError for a precision that the format has not."""
    if form != "gguf" and config.weights in ("q8_0", "q4_0"):
        raise UserError(
            f"weights={config.weights} is of format=gguf: give f32, f16 or bf16 with {form}."
        )
    if form == "arpa" and config.weights is not None:
        raise UserError("an ARPA file holds decimal numbers: leave out weights.")
    if form == "peft" and config.weights not in (None, "f32"):
        raise UserError("an adapter is written in f32, as it learned: leave out weights.")


def refuse_houlsby(config: ExportConfig, folder: Path) -> UserError:
    return UserError(
        f"{config.run} has layers of its own (adapter=houlsby), for which PEFT has no class "
        f"and no format a place: fledge alone reads them, from {folder}."
    )


def add_up(config: ExportConfig, first: Loaded, scalar: ScalarModel | None) -> Loaded:
    """The adapter of `run` and those of `more`, as one. Raises UserError."""
    paths = [Path(name.strip()) for name in config.more.split(",") if name.strip()]
    try:
        shares = [float(number) for number in config.shares.split(",")]
    except ValueError:
        shares = []
    if len(shares) != 1 + len(paths) or not paths or not all(map(math.isfinite, shares)):
        raise UserError(
            f"more={config.more!r} and shares={config.shares!r} were given: name the adapters to "
            "be added to that of run in more, and in shares one number for run and one for each "
            "of them."
        )
    if scalar is not None:
        raise UserError(f"{config.run} is a reward model, whose scores cannot be added up.")
    return combine_adapters([first, *map(load_model, paths)], shares)


def choose_place(config: ExportConfig, form: Format) -> Path:
    """Raises UserError for a place where something is that was not exported."""
    end = f".{ONE_FILE[form]}" if form in ONE_FILE else f"-{form}"
    out = config.out or Path(f"{name_model(config.run)}{end}")
    if form == "gguf":
        if out.suffix != ".gguf":
            raise UserError(f"out={out} must be the name of a .gguf file.")
        for place in (out, out.with_suffix(".Modelfile")):
            if place.exists():
                raise UserError(f"{place} is there already: give another out, or remove it.")
        out.parent.mkdir(parents=True, exist_ok=True)
    elif form in ONE_FILE:
        if form == "word2vec" and out.suffix not in SUFFIXES:
            raise UserError(f"out={out} must be the name of a {', '.join(SUFFIXES)} file.")
        if out.exists():
            raise UserError(f"{out} is there already: give another out, or remove it.")
        out.parent.mkdir(parents=True, exist_ok=True)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already, and not empty: give another out, or remove it.")
    return out


def name_model(path: Path) -> str:
    """runs/tune -> tune; runs/tune/model -> tune; a/b.gguf -> b"""
    whole = path.resolve()
    if whole.suffix == ".gguf":
        return whole.stem
    run = whole.parent if verb_of(whole.parent) is not None else whole
    return run.name or "model"


def kept_notes(loaded: Loaded) -> dict[str, Any]:
    """What fledge's own readers want to find again."""
    names = ("fledge_reward",)
    return {name: loaded.config[name] for name in names if name in loaded.config}
