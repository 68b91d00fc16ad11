"""Sentences: short texts that stand alone, one a line of a file, and as rows of tokens between what
opens and what ends each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from fledge.data_names import list_named
from fledge.errors import UserError
from fledge.splits import SPLITS, Split, divide
from fledge.text.files import is_suffixed, json_lines, read_chunks
from fledge.text.grammar import Grammar, draw_sentences, make_sentence_grammar
from fledge.text.tokenizer import Tokenizer
from fledge.trajectories import Rows

GRAMMAR = "grammar"
DRAWN = 20_000  # sentences of data=grammar


@dataclass(frozen=True)
class SentenceRows(Rows):
    """Padded on the right; masks come from `length`."""

    tokens: Tensor  # [B, T]: what opens, the sentence's tokens, the end
    length: Tensor  # [B]: of them, those two included

    @property
    def lengths(self) -> Tensor:
        return self.length[:, None]

    @property
    def said(self) -> Tensor:
        """Which of `tokens[:, 1:]` are there: the end is, padding is not.  [B, T−1] bool"""
        steps = torch.arange(self.tokens.shape[1] - 1, device=self.tokens.device)
        return steps < self.length[:, None] - 1

    def count_actions(self) -> int:
        return int(self.length.sum()) - len(self)

    def trim(self) -> Self:
        """Without steps that no row has; whatever else is of a step is cut alike."""
        longest, steps = int(self.length.max()), self.tokens.shape[1]
        if longest == steps:
            return self
        cut = {name: x[:, :longest] for name, x in self.items() if name in self.by_step()}
        return self.replace(**cut)

    @classmethod
    def by_step(cls) -> frozenset[str]:
        """The fields that are [B, T, …]."""
        return frozenset({"tokens"})


@dataclass(frozen=True)
class SentenceSet:
    """Sentences, and where they come from. grammar: which has drawn them, where one has."""

    texts: tuple[str, ...]
    source: str
    grammar: Grammar | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def split(self) -> dict[Split, SentenceSet] | None:
        """By the content of each: equal ones stay on one side. None where there are too few."""
        sides = divide(self.texts)
        if sides is None:
            return None
        own: dict[Split, list[str]] = {split: [] for split in SPLITS}
        for text in self.texts:
            own[sides[text]].append(text)
        return {split: replace(self, texts=tuple(texts)) for split, texts in own.items()}


def read_sentences(name: str | Path) -> SentenceSet:
    """name: `grammar`, or a .txt (a sentence a line) or .jsonl (its `text`), also with .gz, or a
    pattern that several fit. Blanks at the ends of a line, and blank lines, are left out.

    Raises UserError for what cannot be read, or holds no sentence.
    """
    if str(name) == GRAMMAR:
        return draw_default()
    path = Path(name).expanduser()
    if path.is_dir() and (path / "texts.jsonl").exists():  # as Python's lists are kept
        path = path / "texts.jsonl"
    lines = chain.from_iterable(map(_read_lines, list_named(path)))
    texts = tuple(text for text in map(str.strip, lines) if text)
    if not texts:
        raise UserError(f"{path} holds no sentence: give a file with one a line.")
    return SentenceSet(texts, str(path))


def _read_lines(path: Path) -> list[str]:
    if is_suffixed(path, (".jsonl",)):
        return [_text_of(path, line.number, line.row) for line in json_lines(path)]
    if is_suffixed(path, (".txt",)):
        return "".join(read_chunks(path)).splitlines()
    raise UserError(
        f"{path} is of no kind that is read: give data={GRAMMAR}, a .txt with a sentence a line, "
        "or a .jsonl with a `text` a line."
    )


def _text_of(path: Path, number: int, row: dict[str, object]) -> str:
    text = row.get("text")
    if not isinstance(text, str):
        raise UserError(f"line {number} of {path} has no `text` that is a string: give it one.")
    return text


@cache
def draw_default() -> SentenceSet:
    """The sentences of data=grammar, the same everywhere."""
    grammar = make_sentence_grammar()
    return SentenceSet(tuple(draw_sentences(grammar, DRAWN, seed=0)), GRAMMAR, grammar)


def encode_sentences(
    texts: Sequence[str], tokenizer: Tokenizer, longest: int, source: str
) -> SentenceRows:
    """longest: tokens that a sentence may have. Raises UserError for one that has more."""
    ids = [each.tolist() for each in tokenizer.encode_many(texts)]
    over = [place for place, each in enumerate(ids) if len(each) > longest]
    if over:
        first = over[0]
        raise UserError(
            f"{len(over):,} of the {len(ids):,} sentences of {source} have more than {longest} "
            f"tokens, the first of them {len(ids[first])} ({texts[first][:40]!r}…): give "
            f"longest={max(map(len, ids))}, or shorter sentences."
        )
    begin, end = tokenizer.opening[-1], tokenizer.end
    if end is None:
        raise UserError("the tokenizer has no token that ends a text: give another.")
    length = torch.tensor([len(each) + 2 for each in ids])
    tokens = torch.zeros(len(ids), int(length.max()), dtype=torch.long)
    for place, each in enumerate(ids):
        tokens[place, : len(each) + 2] = torch.tensor([begin, *each, end])
    return SentenceRows(tokens, length)
