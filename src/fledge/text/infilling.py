"""Fill-in-the-middle (Bavarian et al. 2022): a text whose middle stands at its end, so that a
decoder learns to write what is between two others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fledge.errors import UserError

INFILLING = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
OTHER_INFILLING = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")  # of StarCoder


class Infilling(NamedTuple):
    """The tokens before a text's beginning, its end, and the middle that is to be written."""

    prefix: int
    suffix: int
    middle: int


def find_infilling(special_tokens: Mapping[str, int]) -> Infilling:
    """Raises UserError for a tokenizer that has none."""
    for names in (INFILLING, OTHER_INFILLING):
        if all(name in special_tokens for name in names):
            return Infilling(*(special_tokens[name] for name in names))
    raise UserError(
        f"the tokenizer has no {', '.join(INFILLING)}, so that its model cannot fill in a middle: "
        "pre-train one with objective=fim."
    )


def fill_middle(
    tokens: np.ndarray, begin: int, end: int, marks: Infilling, *, suffix_first: bool
) -> np.ndarray:
    """The text with its middle, tokens[begin:end], moved to its end (Bavarian et al. 2022, §3):

    PSM  <prefix> before <suffix> after <middle> middle
    SPM  <prefix> <suffix> after <middle> before middle
    """
    before, middle, after = tokens[:begin], tokens[begin:end], tokens[end:]
    prefix, suffix, last = ([mark] for mark in marks)
    if suffix_first:
        return np.concatenate([prefix, suffix, after, last, before, middle])
    return np.concatenate([prefix, before, suffix, after, last, middle])


def draw_middle(
    tokens: np.ndarray, marks: Infilling, random: np.random.Generator, rate: float, spm_share: float
) -> np.ndarray:
    """With probability `rate` the text with a middle moved, cut at two places of which all pairs
    are as likely; in SPM order for that share of these.
    """
    transformed, spm = random.random(2)
    begin, end = np.sort(random.integers(0, len(tokens) + 1, 2))
    if transformed >= rate:
        return tokens
    return fill_middle(tokens, int(begin), int(end), marks, suffix_first=bool(spm < spm_share))
