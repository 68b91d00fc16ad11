"""The page of `fledge show merges`: the text in pieces after some of the steps, the steps, and how
a word is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from fledge.report.charts import Series, draw_line_chart
from fledge.report.page import Picture
from fledge.report.show_page import Page, ShowChapter, mark
from fledge.text.bpe import Merge, merge_word, word_pattern
from fledge.text.merge_steps import MergeStep, split_bytes
from fledge.text.spelling import mark_spaces, spell_token

_SHOWN = 240  # characters of the text that are drawn in pieces
_STEPS = 60  # rows of the table


def draw_merges(
    source: str,
    text: str,
    steps: Sequence[MergeStep],
    word: str,
    cuts: Sequence[tuple[int, Sequence[bytes]]],
    *,
    learned: bool,
) -> Page:
    """cuts: the number of each merge that applies to the word, and its pieces after it. learned: on
    this text, not by a tokenizer that was there before.
    """
    size = len(text.encode("utf-8"))
    how = "learned on this text" if learned else f"of {source}, replayed on this text"
    last = steps[-1].tokens if steps else size
    return Page(
        "byte-pair encoding",
        "A text begins as bytes. Again and again the pair that stands most often becomes one "
        f"token; here are {len(steps)} merges {how}.",
        (
            ("bytes", f"{size:,}"),
            ("merges", str(len(steps))),
            ("tokens", f"{size:,} → {last:,}"),
            ("bytes a token", f"{size / last:.2f}"),
        ),
        (
            ShowChapter(
                "The text, step by step",
                "Each box is a token; the newest are coloured. Spaces are seen as ␣, and belong to "
                "the word that follows: no merge crosses from one word to the next.",
                heads=("after", "pieces"),
                rows=_list_texts(text[:_SHOWN], steps),
            ),
            ShowChapter(
                "Every step",
                "Which pair was merged, how often it stood in the text then, and how many tokens "
                "the text is afterwards. On equal counts the greater pair, byte by byte."
                if learned
                else "Which pair is merged, how often it stands in this text then, and how many "
                "tokens the text is afterwards.",
                [_draw_tokens(size, steps)] if steps else (),
                ("step", "pair", "new token", "stood", "tokens"),
                _list_steps(steps),
            ),
            ShowChapter(
                f"How “{word}” is cut",
                "From its bytes, always the merge that was learned first, until none applies.",
                heads=("merge", "pieces"),
                rows=[
                    (number or "bytes", _draw_pieces(pieces, before[1] if before else pieces))
                    for before, (number, pieces) in zip([None, *cuts], cuts, strict=False)
                ],
            ),
        ),
    )


def _list_texts(text: str, steps: Sequence[MergeStep]) -> list[tuple[str, Markup]]:
    """The text in pieces before the first merge and after a quarter, a half and all of them."""
    ends = sorted({0, len(steps) // 4, len(steps) // 2, len(steps)})
    words = [split_bytes(word) for word in word_pattern().findall(text)]
    rows = [("no merge", _draw_words(words, words))]
    for start, end in pairwise(ends):
        before = words
        for step in steps[start:end]:
            words = [_merge(word, step.merge) for word in words]
        name = f"{end} merge{'s' * (end != 1)}"
        rows.append((name, _draw_words(words, before)))
    return rows


def _merge(word: list[bytes], merge: Merge) -> list[bytes]:
    return merge_word(word, merge, merge[0] + merge[1])


def _draw_words(words: Sequence[Sequence[bytes]], before: Sequence[Sequence[bytes]]) -> Markup:
    old = {piece for word in before for piece in word}
    pieces = [piece for word in words for piece in word]
    return _draw_pieces(pieces, list(old))


def _draw_pieces(pieces: Sequence[bytes], before: Sequence[bytes]) -> Markup:
    old = set(before)
    spans = [
        mark(mark_spaces(spell_token(piece)), "piece" if piece in old else "piece new")
        for piece in pieces
    ]
    return Markup('<div class="pieces">{}</div>').format(Markup("").join(spans))


def _list_steps(steps: Sequence[MergeStep]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for step in steps[:_STEPS]:
        left, right = (mark(mark_spaces(spell_token(part)), "piece") for part in step.merge)
        joined = mark(mark_spaces(spell_token(step.merge[0] + step.merge[1])), "piece new")
        rows.append((step.number, left + right, joined, f"{step.count:,}", f"{step.tokens:,}"))
    if len(steps) > _STEPS:
        rows.append(("…", f"and {len(steps) - _STEPS:,} more", "", "", f"{steps[-1].tokens:,}"))
    return rows


def _draw_tokens(size: int, steps: Sequence[MergeStep]) -> Picture:
    x = [0, *(step.number for step in steps)]
    svg = draw_line_chart(
        [Series("tokens", x, [size, *(step.tokens for step in steps)])],
        x_label="merges",
        description="tokens of the text by merges",
        low=0.0,
        exact=True,
    )
    return Picture("Tokens of the text", "", svg, (), "The first merges save the most.")
