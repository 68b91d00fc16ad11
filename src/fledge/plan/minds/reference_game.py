"""Rational speech acts: what is meant by a word that fits several things, since a speaker would
have said something else of the others (Frank & Goodman 2012, eqs. 1 and 2; the prior in L0 too, as
in Goodman & Frank 2016).

L0(thing | word) ∝ [word is true of thing] P(thing);  S1(word | thing) ∝ (L0(thing | word)
e^−cost)^α;  L1(thing | word) ∝ S1(word | thing) P(thing); and so on upwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.evidence import Evidence, single
from fledge.plan.minds.scene_file import SceneFile, is_finite

FIELDS = ("things", "words", "said", "prior", "cost", "alpha", "depth")


def scale_rows(table: Tensor) -> Tensor:
    """Rows that add up to 1; one of zeros, of whom nothing can be said, stays one."""
    total = table.sum(-1, keepdim=True)
    return torch.where(total > 0, table / total.clamp(min=1e-300), 0.0)


def listen_literally(true: Tensor, prior: Tensor) -> Tensor:
    """[W, T] bool, [T] -> L0 [W, T]"""
    return scale_rows(true.double() * prior)


def speak(listener: Tensor, cost: Tensor, alpha: float) -> Tensor:
    """[W, T], [W] -> S [T, W]"""
    useful = alpha * (listener.log() - cost[:, None])  # in logs: a power of 1,000 is none too large
    return torch.where(listener.T > 0, useful.T.softmax(-1), 0.0)  # no word fits: none is said


def listen(speaker: Tensor, prior: Tensor) -> Tensor:
    """[T, W], [T] -> L [W, T]"""
    return scale_rows(speaker.T * prior)


def list_levels(
    true: Tensor, prior: Tensor, cost: Tensor, alpha: float, depth: int
) -> list[tuple[str, Tensor]]:
    """L0, S1, L1, … L of `depth`."""
    listener = listen_literally(true, prior)
    levels = [("L0", listener)]
    for k in range(1, depth + 1):
        speaker = speak(listener, cost, alpha)
        listener = listen(speaker, prior)
        levels += [(f"S{k}", speaker), (f"L{k}", listener)]
    return levels


def read_reference(file: SceneFile) -> Evidence:
    """Which thing is meant, out of the words that were said?  Raises UserError."""
    file.check_names(FIELDS)
    things, words = file.names("things"), file.table("words")
    for word, fits in words.items():
        if not isinstance(fits, list) or not fits or any(each not in things for each in fits):
            raise UserError(
                f"the word {word!r} of {file.name} is {fits!r}: list the things of which it is "
                f"true, of {', '.join(things)}."
            )
    if not words:
        raise file.wrong("words", f'a table [words], such as hat = ["{things[0]}"]')
    said = file.fields.get("said", [])
    said = [said] if isinstance(said, str) else said
    if not isinstance(said, list) or not said or any(each not in words for each in said):
        raise file.wrong("said", f"one or more of {', '.join(words)}")
    prior = read_numbers(file, "prior", things, 1.0)
    if not bool((prior >= 0).all()) or not float(prior.sum()) > 0:
        raise file.wrong("prior", "numbers of 0 or more, some above 0")
    prior = prior / prior.sum()
    cost = read_numbers(file, "cost", list(words), 0.0)
    alpha, depth = file.number("alpha", 1.0, 1e-9), file.whole("depth", 1, 1, 20)
    true = torch.tensor([[thing in fits for thing in things] for fits in words.values()])
    levels = list_levels(true, prior, cost, alpha, depth)
    tables = []
    for name, table in levels:
        listener = name.startswith("L")
        heads = list(words) if listener else things
        columns = things if listener else list(words)
        lines = [
            [head, *(f"{100 * p:.1f} %" for p in row.tolist())]
            for head, row in zip(heads, table, strict=True)
        ]
        note = "what is meant by each word" if listener else "what would be said of each thing"
        tables.append((name, note, ["", *columns], lines))
    speaker = levels[-2][1]  # a listener is Bayes over the speaker below
    steps = speaker.log().T[[list(words).index(each) for each in said]]
    about = f"{len(words)} words for {len(things)} things, listener L{depth}"
    return Evidence(prior, said, steps, {"meant": single(things)}, about, tables)


def read_numbers(file: SceneFile, name: str, names: Sequence[str], otherwise: float) -> Tensor:
    table = file.table(name)
    if not table.keys() <= set(names) or not all(map(is_finite, table.values())):
        raise file.wrong(name, f"a table of numbers for some of {', '.join(names)}")
    return torch.tensor([float(table.get(x, otherwise)) for x in names], dtype=torch.float64)
