"""`fledge merge`: several models of one shape made into one, without training; or the best soup of
them, by a held-out text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fledge.data_names import split_names
from fledge.errors import UserError
from fledge.evaluate.by_document import measure_documents
from fledge.hub.folder import Loaded, load_model, save_model
from fledge.hub.merged_weights import add_agreeing, add_tasks, average, go_along_circle
from fledge.next_command import write_command
from fledge.recipes.course import Summary
from fledge.recipes.inputs import choose_files
from fledge.recipes.language.text_data import read_corpus
from fledge.runs.folder import Run
from fledge.runs.show import Show
from fledge.text.documents import AnyDocument

Weights = Mapping[str, Tensor]
SOUP_CHARACTERS = 300_000  # of the held-out text that a soup is chosen by


class MergeConfig(BaseModel):
    """Merge models that have one shape and one tokenizer; an adapter is merged into its base
    first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    models: str = Field(description="runs or model folders, with commas between")
    method: Literal["average", "task_arithmetic", "ties", "slerp", "soup"] = Field(
        default="average",
        description="average; task_arithmetic and ties: of what each learned beyond `base`; slerp: "
        "of two; soup: the average of those that help on the held-out part of `data`",
    )
    weights: str | None = Field(
        default=None,
        description="of each model, with commas between, in sum 1; by default all alike",
    )
    base: Path | None = Field(
        default=None, description="task_arithmetic, ties: what the models were tuned from"
    )
    scale: float = Field(
        default=1.0, gt=0, description="task_arithmetic, ties: λ, of what is added to the base"
    )
    keep: float = Field(
        default=0.2, gt=0, le=1, description="ties: share of each weight's numbers that is kept"
    )
    data: str | None = Field(default=None, description="soup: text, as `pretrain` takes it")
    out: Path | None = Field(
        default=None, description="run folder; by default the first free of runs/merge, …"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="recorded; nothing is drawn")

    def check(self) -> list[Path]:
        """The models. Raises UserError for fields that do not go together."""
        paths = [Path(name) for name in split_names(self.models)]
        of_base = self.method in ("task_arithmetic", "ties")
        if len(paths) < (1 if of_base else 2):
            raise UserError(
                f"models={self.models} is {'one' if paths else 'no'} model: give "
                f"{'one' if of_base else 'two'} or more."
            )
        if self.method == "slerp" and len(paths) != 2:
            raise UserError(f"method=slerp goes between two models, and {len(paths)} were given.")
        if of_base != (self.base is not None):
            wants = "wants base=, the model they were tuned from" if of_base else "has no base="
            raise UserError(f"method={self.method} {wants}.")
        if (self.method == "soup") != (self.data is not None):
            raise UserError("data= is the held-out text of method=soup: give both, or neither.")
        if self.method == "soup" and self.weights is not None:
            raise UserError("method=soup chooses the weights itself: leave weights= out.")
        self.list_shares(len(paths))
        return paths

    def list_shares(self, number: int) -> list[float]:
        if self.weights is None:
            return [1 / number] * number
        try:
            shares = [float(word) for word in self.weights.split(",")]
        except ValueError:
            shares = []
        if len(shares) != number or not abs(sum(shares) - 1) <= 1e-6 or min(shares) < 0:
            raise UserError(
                f"weights={self.weights} was given for {number} models: give {number} numbers of 0 "
                "or more with commas between, in sum 1."
            )
        return shares


def merge(config: MergeConfig, show: Show, run: Run | None = None) -> Summary:
    """Raises UserError for models that differ in shape or tokenizer."""
    paths = config.check()
    if run is not None:
        return merge_in(run, config, paths, show)
    parents = [*paths, *([] if config.base is None else [config.base])]
    data = [] if config.data is None else [config.data]
    fields = config.model_dump(mode="json")
    with Run.create(
        config.out, "merge", fields, seed=config.seed, parents=parents, data=data,
        files_of=choose_files(fields),
    ) as made:  # fmt: skip
        try:
            return merge_in(made, config, paths, show)
        except UserError:
            made.take_back()
            raise


def merge_in(run: Run, config: MergeConfig, paths: Sequence[Path], show: Show) -> Summary:
    """The merged model, in the run's folder as any run's model."""
    first = load_model(paths[0]).merged()
    models = [read_weights(first)]
    for path in paths[1:]:
        models.append(read_weights(check_alike(load_model(path).merged(), first, path, paths[0])))
    shares, bits = config.list_shares(len(paths)), None
    if config.method == "soup":
        shares, bits = choose_soup(first, models, paths, str(config.data), show)
    first.network.load_state_dict(mix(config, first, models, shares))
    save_model(run.model_folder, first.network, first.tokenizer)
    summary: Summary = {
        "verb": "merge",
        "run": str(run.folder),
        "steps": len(paths),
        "seconds": run.seconds,
        "method": config.method,
        "weights": {str(path): share for path, share in zip(paths, shares, strict=True)},
        **({} if bits is None else {"held_out_bits_per_byte": bits}),
    }
    run.finish(summary)
    parts = ", ".join(f"{share:.3g} {path}" for path, share in zip(paths, shares, strict=True))
    show.line(f"merge: {config.method} of {parts} → {run.folder}")
    show.line(f"Next: {write_command('sample', base=run.folder, prompt='The')}")
    return summary


def mix(
    config: MergeConfig, first: Loaded, models: Sequence[Weights], shares: Sequence[float]
) -> dict[str, Tensor]:
    if config.method == "slerp":
        return go_along_circle(models[0], models[1], shares[1])
    if config.base is None:
        return average(models, shares)
    base = read_weights(check_alike(load_model(config.base).merged(), first, config.base, None))
    if config.method == "ties":
        return add_agreeing(base, models, shares, config.scale, config.keep)
    return add_tasks(base, models, shares, config.scale)


def read_weights(loaded: Loaded) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in loaded.network.state_dict().items()}


def check_alike(loaded: Loaded, first: Loaded, path: Path, other: Path | None) -> Loaded:
    """Raises UserError."""
    ours, theirs = ({n: w.shape for n, w in each.network.state_dict().items()}
                    for each in (first, loaded))  # fmt: skip
    what = None
    if type(loaded.network) is not type(first.network) or ours != theirs:
        what = "another shape"
    elif loaded.tokenizer.fingerprint() != first.tokenizer.fingerprint():
        what = "another tokenizer"
    if what is not None:
        raise UserError(
            f"{path} has {what} than {other or 'the models'}: weights are merged one by one, so "
            "give models that came from one base."
        )
    return loaded


def choose_soup(
    loaded: Loaded, models: Sequence[Weights], paths: Sequence[Path], data: str, show: Show
) -> tuple[list[float], float]:
    """Greedily, the best alone first: each that makes the average of those before it no worse on
    the validation part (Wortsman et al. 2022, algorithm 1). The share of each, and bits per byte.
    """
    documents, size = list[AnyDocument](), 0
    for _, document in read_corpus(data, show.line).split("validation"):
        if size < SOUP_CHARACTERS:
            documents.append(document)
            size += sum(map(len, document.chunks()))
    if not documents:
        raise UserError(f"{data} is too short to hold out a part: give more text.")

    def measure(weights: Weights) -> float:
        loaded.network.load_state_dict(dict(weights))
        context = loaded.network.config.context
        with torch.no_grad():
            each = measure_documents(loaded.policy(), documents, loaded.tokenizer, context)
        return sum(one.bits_per_byte * one.bytes for one in each) / sum(one.bytes for one in each)

    alone = [measure(weights) for weights in models]
    for path, bits in zip(paths, alone, strict=True):
        show.line(f"merge: {path} alone: {bits:.4f} bits per byte")
    order = sorted(range(len(models)), key=lambda number: alone[number])
    chosen, best = order[:1], alone[order[0]]
    for number in order[1:]:
        tried = [*chosen, number]
        bits = measure(average([models[i] for i in tried], [1 / len(tried)] * len(tried)))
        if bits <= best:
            chosen, best = tried, bits
    show.line(f"merge: a soup of {len(chosen)}: {best:.4f} bits per byte")
    return [1 / len(chosen) if i in chosen else 0.0 for i in range(len(models))], best
