"""Reads a file of preferences as token ids: pairs of answers to one prompt, or single answers with
a verdict each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.rows.census import Census, Reading
from fledge.rows.preferences import is_single, read_judged, read_preference
from fledge.rows.turns import mark_as_context
from fledge.text.chat import Conversation, Message, render
from fledge.text.files import json_rows
from fledge.text.fitting import fit_answers
from fledge.text.packed import PackedAnswers, PackedPairs, PackedRows, TokenRow
from fledge.text.rows import NO_LIMIT, read_each
from fledge.text.tokenizer import Tokenizer


def pairs_from_jsonl(
    path: str | Path, tokenizer: Tokenizer, context: int = NO_LIMIT, census: Census | None = None
) -> PackedPairs:
    """(preferred, rejected) rows of ids and masks; the mask is on the last answer only.

    census: counts the rows, and says what to do with those that cannot be used; by default these
    are refused. Raises UserError for a file that cannot be read, for a row of another shape, naming
    the line, and for rows that cannot be used, counted by their reasons, unless they are to be
    skipped.
    """
    census = census or Census(str(path), Reading(), rows="pairs")
    preferred, rejected = PackedRows(), PackedRows()

    def use(row: dict[str, Any], where: str) -> None:
        pair = read_preference(row, where, census)
        sides = [
            answer_row(tokenizer, pair.prompt, answer) for answer in (pair.preferred, pair.rejected)
        ]
        fitted = fit_answers(sides, context, census, tokenizer.begin)
        for kept, side in zip((preferred, rejected), fitted, strict=True):
            kept.append(side)

    read_each(Path(path).expanduser(), census, use)
    return PackedPairs(preferred, rejected)


def judged_from_jsonl(
    path: str | Path, tokenizer: Tokenizer, context: int = NO_LIMIT, census: Census | None = None
) -> PackedAnswers:
    """(row, wanted), one answer each. Raises as above, and for a file in which all answers have the
    same label.
    """
    census = census or Census(str(path), Reading(), rows="answers")
    rows, wanted = PackedRows(), []

    def use(row: dict[str, Any], where: str) -> None:
        one = read_judged(row, where, census)
        answer = answer_row(tokenizer, one.prompt, one.answer)
        rows.append(*fit_answers([answer], context, census, tokenizer.begin))
        wanted.append(one.wanted)

    read_each(Path(path).expanduser(), census, use)
    if len(set(wanted)) == 1:
        only = json.dumps(wanted[0])
        raise UserError(
            f"all answers of {path} have the label {only}: give wanted (true) and unwanted ones "
            "(false)"
        )
    return PackedAnswers(rows, wanted)


def is_judged(path: str | Path) -> bool:
    """Whether the file's first row is one answer with a verdict. Raises UserError for a file whose
    first row cannot be read.
    """
    first = next(json_rows(Path(path).expanduser()), None)
    return first is not None and is_single(first[1])


def answer_row(tokenizer: Tokenizer, prompt: Conversation, answer: Message) -> TokenRow:
    """A prompt and its answer, of which the answer alone is marked."""
    return render(tokenizer, [*mark_as_context(prompt), answer])
