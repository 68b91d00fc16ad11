"""Rules by which a document is dropped, as they were published: Gopher (Rae et al. 2021, appendix
A.1.1), C4 (Raffel et al. 2020, section 2.2), FineWeb (Penedo et al. 2024, section 3.6).

A rule answers with a sentence that says what was measured and what is allowed, or with None. C4's
list of bad words is not here: it drops texts on medicine and about minorities (Dodge et al. 2021).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping

from fledge.curate.repetition import judge_runs
from fledge.curate.word_counts import count_words

BULLETS = ("•", "‣", "◦", "-", "*", "–")
ENDS = (".", "!", "?", '"', "”", "…", "'", "’")
_SENTENCE_END = re.compile(r"[.!?][\"”’')]*(?:\s|$)")
_LETTER = re.compile(r"[^\W\d_]")


def judge_gopher(text: str) -> str | None:
    """Length, symbols, bullets, ellipses, letters, common words; then repetition."""
    counts = count_words(text)
    number = counts.words
    if not 50 <= number <= 100_000:
        return f"{number:,} words, and 50 to 100,000 are allowed"
    mean = counts.characters / number
    if not 3 <= mean <= 10:
        return f"words of {mean:.1f} characters on average, and 3 to 10 are allowed"
    ellipses = text.count("…") + text.count("...")
    symbols = text.count("#") + ellipses
    if symbols > 0.1 * number:
        return f"{symbols / number:.0%} as many # and … as words, and 10 % are allowed"
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    # Where a tenth of the lines has none there is no need to look at the others.
    if any(line.startswith(BULLETS) for line in lines[: len(lines) // 10 + 1]):
        bullets = sum(line.startswith(BULLETS) for line in lines)
        if bullets > 0.9 * len(lines):
            return (
                f"{bullets / len(lines):.0%} of the lines begin with a bullet, and 90 % are allowed"
            )
    if ellipses > 0.3 * len(lines):  # or no line can be too much
        open_ends = sum(line.endswith(("…", "...")) for line in lines)
        if open_ends > 0.3 * len(lines):
            share = open_ends / len(lines)
            return f"{share:.0%} of the lines end in an ellipsis, and 30 % are allowed"
    if counts.lettered < 0.8 * number:  # of those in ASCII alone
        letters = sum(_LETTER.search(word) is not None for word in text.split())
        if letters < 0.8 * number:
            return f"{letters / number:.0%} of the words have a letter, and 80 % are wanted"
    if counts.common < 2:
        return "fewer than two of the words the, be, to, of, and, that, have, with"
    return judge_repetition(text, lines, counts.small)


def judge_repetition(text: str, lines: list[str], small: bytes | None = None) -> str | None:
    """Gopher's second half. lines: of the text, stripped, without blank ones. small: as
    `judge_runs` takes it.
    """
    paragraphs = [part for part in map(str.strip, text.split("\n\n")) if part]
    for parts, what in ((lines, "lines"), (paragraphs, "paragraphs")):
        copies = len(parts) - len(set(parts))
        if copies > 0.3 * len(parts):
            return f"{copies / len(parts):.0%} of the {what} stood before, and 30 % are allowed"
        if copies:
            size = sum(map(len, parts))
            copied = size - sum(map(len, set(parts)))
            if copied > 0.2 * size:
                return f"{copied / size:.0%} of the text is {what} that stood before, and 20 % may"
    return judge_runs(text, small)


def judge_c4(text: str) -> str | None:
    """Of a whole document: filler, code, too few sentences."""
    if "lorem ipsum" in text.lower():
        return "lorem ipsum"
    if "{" in text:
        return "a curly bracket, as of code"
    sentences = sum(1 for _ in _SENTENCE_END.finditer(text))
    if sentences < 5:
        return f"{sentences} sentences, and 5 are wanted"
    return None


def judge_fineweb(text: str) -> str | None:
    """Lines that end in no punctuation, that stood before, that are short."""
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    if not lines:
        return "no text"
    ended = sum(line.endswith(ENDS) for line in lines) / len(lines)
    if ended <= 0.12:
        return f"{ended:.0%} of the lines end in punctuation, and more than 12 % are wanted"
    size = sum(map(len, lines))
    copied = sum(len(line) * (times - 1) for line, times in Counter(lines).items()) / size
    if copied >= 0.1:
        return f"{copied:.0%} of the text is lines that stood before, and less than 10 % may be"
    short = sum(len(line) < 30 for line in lines) / len(lines)
    if short >= 0.67:
        return f"{short:.0%} of the lines are shorter than 30 characters, and less than 67 % may be"
    return None


RULES: Mapping[str, Callable[[str], str | None]] = {
    "gopher": judge_gopher,
    "c4": judge_c4,
    "fineweb": judge_fineweb,
}
