"""The rows of packing=best_fit, and what a curriculum orders documents by."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fledge import ranks
from fledge.curate.quality import QualityModel
from fledge.data_names import split_sources
from fledge.evaluate.by_document import measure_documents
from fledge.hub.folder import load_model
from fledge.recipes.language.packing_fields import Curriculum
from fledge.sample.best_fit import PackedDocuments
from fledge.sample.documents import DocumentRows, Tokens
from fledge.sample.mixture import MixedRows
from fledge.text.documents import Document
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import Tokenizer

AT_A_TIME = 256  # documents that are measured together


def measure_difficulty(
    path: Path, curriculum: Curriculum, model: Path | None, stream: TokenStream,
    tokenizer: Tokenizer,
) -> NDArray[np.float64] | None:  # fmt: skip
    """Of each document, the easiest the least; None without a curriculum. Kept in a file of the
    run, which is read when it goes on.  [D]
    """
    if curriculum == "none":
        return None
    if not path.exists():
        beside = path.with_suffix(".part")
        with beside.open("wb") as file:
            np.save(file, np.array(list(_measure_each(curriculum, model, stream, tokenizer))))
        os.replace(beside, path)
    return np.load(path, allow_pickle=False)


def _measure_each(
    curriculum: Curriculum, model: Path | None, stream: TokenStream, tokenizer: Tokenizer
) -> Iterator[float]:
    starts = np.append(stream.documents, len(stream))
    if curriculum == "length":
        yield from np.diff(starts).astype(float)
        return
    assert model is not None  # `check_packing` asks for one
    texts = (tokenizer.decode(stream[a:b]) for a, b in pairwise(starts.tolist()))
    if curriculum == "quality":
        quality = QualityModel.load(model)
        yield from (-quality.score(text) for text in texts)
        return
    loaded: Any = load_model(model).merged()
    policy, context = loaded.policy(), loaded.network.config.context
    while some := [Document(text, "") for text in islice(texts, AT_A_TIME)]:
        for one in measure_documents(policy, some, loaded.tokenizer, context):
            yield one.bits_per_byte


class Packed(Protocol):
    """The fields that are read here."""

    data: str
    steps: int
    seed: int
    curriculum: Curriculum
    curriculum_model: Path | None


def make_packed_rows(
    config: Packed, folder: Path, stream: TokenStream, tokenizer: Tokenizer, *, rows_per_step: int,
    context: int, say: Callable[[str], None],
) -> DocumentRows | MixedRows:  # fmt: skip
    """Rows of whole documents, or of those of each source its share. folder: of the run. say: told
    how well each source packs.
    """
    begin = tokenizer.begin
    assert begin is not None  # `check_packing` asks for one
    path = folder / "curriculum.npy"
    measure = lambda: measure_difficulty(  # noqa: E731
        path, config.curriculum, config.curriculum_model, stream, tokenizer
    )
    ranks.first_then_others(measure)
    difficulty = measure()
    sources = split_sources(config.data)
    ends, starts = np.cumsum([0, *stream.sources]), stream.documents
    parts = stream.of_sources()
    rows_of_run = config.steps * rows_per_step

    def pack(number: int, part: Tokens) -> PackedDocuments:
        own = (starts >= ends[number]) & (starts < ends[number + 1])
        text = PackedDocuments(
            part, starts[own] - ends[number], begin, context=context, seed=config.seed,
            index=f"packed {number}", difficulty=None if difficulty is None else difficulty[own],
            rows_of_run=max(1, round(rows_of_run * sources[number].share)),
        )  # fmt: skip
        name = f"{sources[number].names[0]}: " if len(parts) > 1 else ""
        say(f"{name}{text.packing.describe()}")
        return text

    sizes: dict[str, int] = {
        "rows_per_step": rows_per_step, "context": context, "seed": config.seed,
    }  # fmt: skip
    if len(parts) == 1:
        return DocumentRows(stream, begin, text=pack(0, parts[0]), **sizes)
    names, shares = zip(*((each.names[0], each.share) for each in sources), strict=True)
    return MixedRows(parts, names, shares, begin, make=pack, **sizes)
