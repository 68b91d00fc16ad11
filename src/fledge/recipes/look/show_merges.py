"""`fledge show merges`: byte-level BPE as it learns on a text, and how the merges cut a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fledge.errors import UserError
from fledge.report.show_merges import draw_merges
from fledge.report.show_page import check_show_page, write_show_page
from fledge.runs.show import Show
from fledge.text.bpe import Merge, count_words, learn_merges, trace_word, word_pattern
from fledge.text.corpus import Corpus
from fledge.text.merge_steps import MergeStep, split_bytes, trace_learning
from fledge.text.spelling import spell_token
from fledge.text.tokenizer import load_tokenizer

TEXT = (
    "she sells sea shells by the sea shore. the shells that she sells are sea shells for sure. so "
    "if she sells shells on the sea shore, the shells are sea shore shells."
)
MOST_CHARACTERS = 200_000  # every merge goes over all words of the text


class ShowMergesConfig(BaseModel):
    """Draw byte-pair encoding: which pair is merged at each step and why, the text after some of
    the steps, and how a word is cut.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str | None = Field(
        default=None, description="what the merges are learned on; none: three short sentences"
    )
    data: str | None = Field(
        default=None, description="in place of text: a .txt, .md, .jsonl (or .gz), or a folder"
    )
    tokenizer: Path | None = Field(
        default=None,
        description="a tokenizer's folder or a run: its first merges are replayed on the text",
    )
    merges: int = Field(default=20, ge=1, le=500, description="how many steps")
    word: str = Field(
        default="seashells", min_length=1, max_length=200, description="the word to cut"
    )
    out: Path = Field(default=Path("merges.html"), description="the page to write")


def show_merges(config: ShowMergesConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a text that cannot be read, and a tokenizer without merges."""
    check_show_page(config.out)
    text = read_text(config, show)
    words = count_words([text])
    if not words:
        raise UserError("the text is empty, and has no pairs to merge: give text= or data=.")
    known: list[Merge] = read_merges(config.tokenizer) if config.tokenizer else []
    merges = known[: config.merges] or learn_merges(words, config.merges)
    steps = list(trace_learning(words, merges))
    every = known or merges  # a tokenizer cuts by all of its merges, not by those that are drawn
    cuts = cut_words(config.word, every)
    source = str(config.tokenizer or config.data or "the text")
    page = draw_merges(source, text, steps, config.word, cuts, learned=not known)
    write_show_page(config.out, page)
    tell(steps, config.word, cuts, show)
    show.line(f"Page: {config.out}")
    return {
        "bytes": len(text.encode("utf-8")),
        "steps": [
            {
                "merge": [spell_token(part) for part in step.merge],
                "count": step.count,
                "tokens": step.tokens,
            }
            for step in steps
        ],
        "word": config.word,
        "cuts": [[number, [spell_token(piece) for piece in pieces]] for number, pieces in cuts],
        "page": str(config.out),
    }


def read_text(config: ShowMergesConfig, show: Show) -> str:
    """What is learned on, its first 200,000 characters."""
    if config.text is not None and config.data is not None:
        raise UserError("text and data were given: choose one of them.")
    if config.data is None:
        text = TEXT if config.text is None else config.text
    else:
        text = ""
        for document in Corpus(config.data).documents():
            for chunk in document.chunks():
                text += chunk
                if len(text) > MOST_CHARACTERS:
                    break
            if len(text) > MOST_CHARACTERS:
                break
    if len(text) > MOST_CHARACTERS:
        show.line(f"The first {MOST_CHARACTERS:,} characters are read.")
    return text[:MOST_CHARACTERS]


def read_merges(folder: Path) -> list[Merge]:
    """Raises UserError for a tokenizer without any."""
    merges = load_tokenizer(folder).merges
    if not merges:
        raise UserError(
            f"the tokenizer of {folder} has no merges of bytes to draw: give one of kind bpe."
        )
    return merges


def cut_words(word: str, merges: list[Merge]) -> list[tuple[int, list[bytes]]]:
    """The pieces of the word before any merge, with number 0, and after each one that applies."""
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    done: list[bytes] = []
    parts = word_pattern().findall(word)
    cuts = [(0, [piece for part in parts for piece in split_bytes(part)])]
    for number, part in enumerate(parts):
        left = [piece for later in parts[number + 1 :] for piece in split_bytes(later)]
        pieces = split_bytes(part)
        for merge, pieces in trace_word(part.encode("utf-8"), ranks):
            cuts.append((ranks[merge] + 1, [*done, *pieces, *left]))
        done += pieces
    return cuts


def tell(
    steps: list[MergeStep], word: str, cuts: list[tuple[int, list[bytes]]], show: Show
) -> None:
    """The first merges, and what becomes of the word."""
    for step in steps[:10]:
        left, right = (spell_token(part) for part in step.merge)
        show.line(
            f"{step.number:6}  {left!r} + {right!r} stood {step.count:,} times; the text is now "
            f"{step.tokens:,} tokens"
        )
    if len(steps) > 10:
        show.line(f"        and {len(steps) - 10:,} more")
    last = [spell_token(piece) for piece in cuts[-1][1]]
    show.line(f"{word!r} is {len(last)} tokens: {' '.join(map(repr, last))}")
