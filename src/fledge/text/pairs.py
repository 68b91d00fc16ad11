"""Reads files of preferences as token ids: pairs of answers to one prompt, or single answers with a
verdict each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fledge.data_names import list_named
from fledge.errors import UserError
from fledge.rows.census import Census, Reading
from fledge.rows.preferences import is_single, read_judged, read_preference
from fledge.rows.turns import mark_as_context
from fledge.text.chat import Conversation, Message, render
from fledge.text.files import json_rows
from fledge.text.fitting import fit_answers
from fledge.text.packed import PackedAnswers, PackedPairs, PackedRows, TokenRow
from fledge.text.rows import NO_LIMIT, read_files
from fledge.text.tokenizer import Tokenizer

REFUSE = Reading()


def read_pairs(
    path: str | Path, tokenizer: Tokenizer, context: int = NO_LIMIT, reading: Reading = REFUSE
) -> tuple[PackedPairs, list[Census]]:
    """(preferred, rejected) rows of ids and masks, the mask on the last answer only, and the count
    of the file; of several files, in the order of their names, where `path` is a pattern.

    Raises UserError for a file that cannot be read, for a row of another shape, naming the line,
    and for rows that cannot be used, counted by their reasons, unless they are to be skipped.
    """
    preferred, rejected = PackedRows(), PackedRows()

    def use(census: Census, row: dict[str, Any], where: str) -> None:
        pair = read_preference(row, where, census)
        sides = [
            answer_row(tokenizer, pair.prompt, answer) for answer in (pair.preferred, pair.rejected)
        ]
        fitted = fit_answers(sides, context, census, tokenizer.begin)
        for kept, side in zip((preferred, rejected), fitted, strict=True):
            kept.append(side)

    censuses = read_files(path, reading, use, rows="pairs")
    return PackedPairs(preferred, rejected), censuses


def read_judged_answers(
    path: str | Path, tokenizer: Tokenizer, context: int = NO_LIMIT, reading: Reading = REFUSE
) -> tuple[PackedAnswers, list[Census]]:
    """(row, wanted), one answer each, and the counts. Raises as above, and where all answers have
    the same label.
    """
    rows, wanted = PackedRows(), []

    def use(census: Census, row: dict[str, Any], where: str) -> None:
        one = read_judged(row, where, census)
        answer = answer_row(tokenizer, one.prompt, one.answer)
        rows.append(*fit_answers([answer], context, census, tokenizer.begin))
        wanted.append(one.wanted)

    censuses = read_files(path, reading, use, rows="answers")
    if len(set(wanted)) == 1:
        only = json.dumps(wanted[0])
        raise UserError(
            f"all answers of {path} have the label {only}: give wanted (true) and unwanted ones "
            "(false)"
        )
    return PackedAnswers(rows, wanted), censuses


def is_judged(path: str | Path) -> bool:
    """Whether the first row of the file, or of the first that a pattern fits, is one answer with a
    verdict. Raises UserError where that row cannot be read.
    """
    first = next(json_rows(list_named(path)[0]), None)
    return first is not None and is_single(first[1])


def answer_row(tokenizer: Tokenizer, prompt: Conversation, answer: Message) -> TokenRow:
    """A prompt and its answer, of which the answer alone is marked."""
    return render(tokenizer, [*mark_as_context(prompt), answer])
