"""Verdicts on texts written by hand, each just over and just under what a paper allows."""

from __future__ import annotations

import pytest

from fledge.curate.rules import judge_c4, judge_fineweb, judge_gopher, judge_repetition
from tests.curate.texts import write_text

COMMON = "the and to of "


def plain(words: int, seed: int = 0) -> str:
    """Words of all kinds in lines of ten, with common ones among them."""
    all_words = (COMMON * 2 + write_text(seed, words - 8)).split()
    lines = [" ".join(all_words[i : i + 10]) + "." for i in range(0, len(all_words), 10)]
    return "\n".join(lines)


GOPHER = {
    "allowed": (plain(60), None),
    "49 words": (plain(49), "49 words, and 50 to 100,000 are allowed"),
    "50 words": (plain(50), None),
    "long words": (COMMON + " ".join(f"{c}{d}" * 7 for c in "abcdefgh" for d in "klmnopqr"),
                   "characters on average"),
    "short words": (COMMON + "a i " * 40, "characters on average, and 3 to 10"),
    "symbols": (plain(60) + " #" * 8, "as many # as words"),
    "dots": (plain(60) + "… " * 8, "as many … as words"),
    "few symbols": (plain(60) + " #" * 4, None),
    "few of both": (plain(60) + " #" * 5 + "… " * 5, None),
    "bullets": (plain(200).replace("\n", "\n- ").join(["- ", ""]), "begin with a bullet"),
    "ellipses": (plain(60).replace(".\n", "...\n"), "end in an ellipsis"),
    "numbers": (plain(60) + " 12345" * 20, "of the words have a letter"),
    "no common words": (write_text(1, 100), "fewer than two of the words the, be"),
}  # fmt: skip


@pytest.mark.parametrize("what", GOPHER)
def test_gopher(what: str) -> None:
    text, said = GOPHER[what]
    verdict = judge_gopher(text)
    assert (verdict is None) if said is None else (verdict is not None and said in verdict), verdict


def test_lines_and_runs_of_words_that_repeat() -> None:
    lines = plain(300).split("\n")
    twice = [*lines, *lines[:14]]  # 14 of 44 lines: 32 %
    assert "of the lines stood before" in str(judge_repetition("\n".join(twice), twice))
    fewer = [*lines, *lines[:1]]
    assert judge_repetition("\n".join(fewer), fewer) is None
    words = write_text(3, 200).split()
    for at in range(0, 200, 5):
        words[at] = "overandover"
        words[at + 1] = "again"
    text = " ".join(words)
    assert "one run of 2 words is" in str(judge_repetition(text, [text]))
    # a passage of 40 words in 200 that stands twice: a third of the text by its characters
    passage = write_text(5, 40)
    text = f"{write_text(6, 80)} {passage} {write_text(7, 40)} {passage}"
    assert "runs of 5 words that stand twice are" in str(judge_repetition(text, [text]))
    apart = f"{write_text(6, 400)} {passage} {write_text(7, 400)} {passage}"
    assert judge_repetition(apart, [apart]) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("One is here. Two is here. Three is. Four is. Five is.", None),
        ("One is here. Two is here. Three is. Four is.", "4 sentences, and 5 are wanted"),
        ("Lorem ipsum. A. B. C. D. E.", "lorem ipsum"),
        ("A { b. C. D. E. F. G.", "a curly bracket, as of code"),
    ],
)
def test_c4(text: str, said: str | None) -> None:
    assert judge_c4(text) == said


LINE = "A line of text that is long enough to be one of prose"
FINEWEB = {
    "prose": ("\n".join(f"{LINE} {i}." for i in range(9)), None),
    "no ends": ("\n".join(f"{LINE} {i}" for i in range(9)), "end in punctuation"),
    "copied lines": ("\n".join([f"{LINE} {i}." for i in range(7)] + [f"{LINE} 1."]),
                     "lines that stood before"),
    "short lines": ("\n".join([f"Buy {i}." for i in range(7)] + [f"{LINE}{i}." for i in "abc"]),
                    "shorter than 30 characters"),
    "half short": ("\n".join([f"Buy {i}." for i in range(3)] + [f"{LINE}{i}." for i in "abc"]),
                         None),
    "nothing": (" \n ", "no text"),
}  # fmt: skip


@pytest.mark.parametrize("what", FINEWEB)
def test_fineweb(what: str) -> None:
    text, said = FINEWEB[what]
    verdict = judge_fineweb(text)
    assert (verdict is None) if said is None else (verdict is not None and said in verdict), verdict
