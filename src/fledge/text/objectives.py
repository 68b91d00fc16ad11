"""What a model learns to write from raw text: of a text an input and a target, by the objectives
that Raffel et al. 2020, Table 3, compare, for encoder–decoders.

Of "Thank you for inviting me to your party last week", with <X>, <Y>, <Z> the sentinels:

    prefix     Thank you for inviting                 -> me to your party last week
    bert       Thank you <X> <X> me to your party     -> the whole text
               apple week
    deshuffle  party me for your to last ...          -> the whole text
    mass       Thank you <X> <X> <X> <X> your ...     -> for inviting me to
    replace    Thank you <X> me to your party         -> <X> for inviting <Y> last <Z>
               <Y> week
    drop       Thank you me to your party week        -> for inviting last
    spans      Thank you <X> to <Y> week              -> <X> for inviting me <Y> your party last <Z>

Noise is a mask of tokens: drawn by one function, made an input and a target by another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from fledge.errors import UserError

PairedObjective = Literal["spans", "prefix", "bert", "deshuffle", "mass", "replace", "drop"]
PAIRED: tuple[PairedObjective, ...] = get_args(PairedObjective)
NOISE = 0.15  # the share of tokens that are noise (Raffel et al. 2020, §3.1.4)
MEAN_SPAN = 3.0  # tokens a span
RANDOM_SHARE = 0.1  # of noise tokens that become others, not the mask (§3.2.1)
MASS_SHARE = 0.5  # of a text that is one span (Song et al. 2019, §4.1)
SENTINEL = "<extra_id_"
SENTINELS = tuple(f"{SENTINEL}{n}>" for n in range(100))  # as many as T5 has


class Pair(NamedTuple):
    given: np.ndarray  # the input
    target: np.ndarray


@dataclass(frozen=True)
class Marks:
    """What stands for parts of a text, by id. ordinary: the ids that a token may become in its
    place.
    """

    sentinels: np.ndarray
    ordinary: np.ndarray


def find_marks(special_tokens: Mapping[str, int], ordinary: np.ndarray) -> Marks:
    """Raises UserError for a tokenizer without sentinels."""
    sentinels = [special_tokens[name] for name in SENTINELS if name in special_tokens]
    if len(sentinels) < 2:
        raise UserError(
            f"the tokenizer has no sentinels ({SENTINELS[0]}, …), which stand for what the target "
            "has: take one that was trained for an encoder–decoder, or objective=prefix."
        )
    return Marks(np.array(sentinels), ordinary)


def count_noise(
    length: int, density: float = NOISE, mean_span: float = MEAN_SPAN
) -> tuple[int, int]:
    """How many tokens of a text are noise, and in how many spans: round(length · density), one at
    least and one less than all; that over the mean span, rounded (T5's random_spans_noise_mask).
    """
    if length < 2:
        return 0, 0
    noise = min(max(round(length * density), 1), length - 1)
    spans = min(max(round(noise / mean_span), 1), length - noise)
    return noise, spans


def draw_spans(
    length: int, random: np.random.Generator, density: float = NOISE, mean_span: float = MEAN_SPAN
) -> np.ndarray:
    """Noise in spans of random length, between texts of random length, the first of which opens the
    whole. Every way to cut both into so many pieces is as likely.  -> bool [length]
    """
    noise, spans = count_noise(length, density, mean_span)
    mask = np.zeros(length, dtype=bool)
    if not noise:
        return mask
    kept_sizes = _cut(length - noise, spans, random)
    noise_sizes = _cut(noise, spans, random)
    place = 0
    for kept, own in zip(kept_sizes, noise_sizes, strict=True):
        mask[place + kept : place + kept + own] = True
        place += kept + own
    return mask


def _cut(length: int, pieces: int, random: np.random.Generator) -> np.ndarray:
    """Sizes of so many pieces, none empty.  -> [pieces]"""
    borders = np.sort(random.choice(length - 1, pieces - 1, replace=False)) + 1
    return np.diff([0, *borders, length])


def draw_each(length: int, random: np.random.Generator, density: float = NOISE) -> np.ndarray:
    """Each token is noise by itself; one at least is, and one is not.  -> bool [length]"""
    mask = random.random(length) < density
    if length > 1 and (mask.all() or not mask.any()):
        mask[random.integers(length)] ^= True
    return mask


def find_spans(noise: np.ndarray) -> np.ndarray:
    """Where spans of noise begin and end.  bool [n] -> [spans, 2]"""
    edges = np.diff(np.concatenate([[0], noise.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], 1)


def replace_spans(tokens: np.ndarray, noise: np.ndarray, sentinels: np.ndarray) -> Pair:
    """Each span of noise becomes one sentinel of its own; the target has each sentinel with its
    span, and one more at the end. Spans beyond the last sentinel but one stay as they are.
    """
    given, target, place = [], [], 0
    spans = find_spans(noise)[: len(sentinels) - 1]
    for number, (begin, end) in enumerate(spans):
        given += [tokens[place:begin], sentinels[number : number + 1]]
        target += [sentinels[number : number + 1], tokens[begin:end]]
        place = end
    target.append(sentinels[len(spans) : len(spans) + 1])
    return Pair(np.concatenate([*given, tokens[place:]]), np.concatenate(target))


def drop_noise(tokens: np.ndarray, noise: np.ndarray) -> Pair:
    """What is left, and what was taken out."""
    return Pair(tokens[~noise], tokens[noise])


def mask_noise(
    tokens: np.ndarray, noise: np.ndarray, mask: int, others: np.ndarray | None = None
) -> Pair:
    """Noise becomes the mask, token by token; the target is the whole text. others [n]: what a
    token becomes in its place, −1 for the mask.
    """
    instead = np.full(len(tokens), mask) if others is None else np.where(others < 0, mask, others)
    return Pair(np.where(noise, instead, tokens), tokens)


def split_prefix(tokens: np.ndarray, place: int) -> Pair:
    """The first `place` tokens, and the others."""
    return Pair(tokens[:place], tokens[place:])


def shuffle(tokens: np.ndarray, order: np.ndarray) -> Pair:
    """The tokens in another order, and as they were."""
    return Pair(tokens[order], tokens)


def mask_span(tokens: np.ndarray, begin: int, end: int, mask: int) -> Pair:
    """One span becomes masks, and is the target (Song et al. 2019, §3.1)."""
    noise = np.zeros(len(tokens), dtype=bool)
    noise[begin:end] = True
    return Pair(np.where(noise, mask, tokens), tokens[begin:end])


def make_pair(
    objective: PairedObjective,
    tokens: np.ndarray,
    marks: Marks | None,
    random: np.random.Generator,
    density: float = NOISE,
    mean_span: float = MEAN_SPAN,
) -> Pair:
    """The input and target of a text of two tokens or more, by an objective. marks: of those that
    mark noise.
    """
    n = len(tokens)
    if objective == "prefix":
        return split_prefix(tokens, int(random.integers(1, n)))
    if objective == "deshuffle":
        return shuffle(tokens, random.permutation(n))
    if objective == "drop":
        return drop_noise(tokens, draw_each(n, random, density))
    assert marks is not None
    if objective == "spans":
        return replace_spans(tokens, draw_spans(n, random, density, mean_span), marks.sentinels)
    if objective == "replace":
        return replace_spans(tokens, draw_each(n, random, density), marks.sentinels)
    mask = int(marks.sentinels[0])
    if objective == "mass":
        size = max(1, round(MASS_SHARE * n))
        begin = int(random.integers(0, n - size + 1))
        return mask_span(tokens, begin, begin + size, mask)
    noise = draw_each(n, random, density)
    others = random.choice(marks.ordinary, n)
    others = np.where(random.random(n) < RANDOM_SHARE, others, -1)
    return mask_noise(tokens, noise, mask, others)


def needs_marks(objective: PairedObjective) -> bool:
    return objective not in ("prefix", "deshuffle", "drop")


def count_longest(objective: PairedObjective, length: int, density: float, mean_span: float) -> int:
    """The most tokens that input and target of a text of this length have together."""
    most_spans = min(len(SENTINELS) - 1, (length + 1) // 2)
    return {
        "prefix": length,
        "bert": 2 * length,
        "deshuffle": 2 * length,
        "mass": length + max(1, round(MASS_SHARE * length)),
        "replace": length + 2 * most_spans + 1,
        "drop": length,
        "spans": length + 2 * count_noise(length, density, mean_span)[1] + 1,
    }[objective]


def fit_length(objective: PairedObjective, room: int, density: float, mean_span: float) -> int:
    """The longest text whose input and target have room for so many tokens. Raises UserError where
    not even two tokens have.
    """
    for length in range(room, 1, -1):
        if count_longest(objective, length, density, mean_span) <= room:
            return length
    raise UserError(
        f"a row has room for {room} tokens of input and target, too few for objective={objective}: "
        "give a longer context."
    )
