"""Which language a text is in, by how common its letters and runs of letters are (Cavnar & Trenkle
1994, "N-Gram-Based Text Categorization").

A profile is the 300 commonest runs of 1 to 5 letters of a language, the commonest first; words are
told apart by one blank on either side. A text's own profile is held against each: how far out of
place its runs are, 300 for one that is not there; the language of the least sum is the text's.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from fledge.curate.word_hashes import Hashes
from fledge.errors import UserError
from fledge.json_file import read_json

BUILT_IN = Path(__file__).with_name("languages.json")
LENGTH = 300  # runs of a profile, as the paper has it
LONGEST = 5  # letters of a run
STRETCHES, STRETCH = 3, 150  # of a longer text: from its beginning, its middle and its end
FEWEST_LETTERS = 20
FARTHEST = 0.99
"""Of the greatest possible distance: a text that is farther from every profile shares next to no
run with one, as of another script. Sentences in Chinese, whose every sign is a letter, are at 0.97.
"""
UNKNOWN = "unknown"
_BLANK = 32
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: of runs so short no two have been seen to collide


class Profiles(TypedDict):
    """What a file of profiles holds. source: of the text that they were made of."""

    source: str
    profiles: dict[str, list[str]]


class Languages:
    """names: of the profiles, in their order."""

    def __init__(self, profiles: Mapping[str, Sequence[str]]) -> None:
        self.names = list(profiles)
        hashes = [np.array([hash_run(run) for run in runs], dtype=np.uint64)
                  for runs in profiles.values()]  # fmt: skip
        self._runs = np.unique(np.concatenate(hashes))
        self._rank = np.full((len(self._runs), len(hashes)), LENGTH, dtype=np.int16)
        for number, own in enumerate(hashes):
            self._rank[np.searchsorted(self._runs, own), number] = np.arange(len(own))

    @classmethod
    def load(cls, path: Path = BUILT_IN) -> Languages:
        """Raises UserError for a file that `fledge data languages` did not write."""
        content = read_json(path, Profiles)
        if len(content["profiles"]) < 2 or not all(content["profiles"].values()):
            raise UserError(
                f"{path} has not two `profiles` with runs of letters: give a file that "
                "`fledge data languages` wrote."
            )
        return cls(content["profiles"])

    def measure(self, text: str) -> NDArray[np.float64]:
        """The distance of the text to each profile, of the greatest possible one.  [languages]"""
        return self._measure(write_codes(choose_stretches(text)))

    def _measure(self, codes: Hashes) -> NDArray[np.float64]:
        own = rank_runs(find_runs(codes))
        if not len(own):
            return np.ones(len(self.names))
        place = np.minimum(np.searchsorted(self._runs, own), len(self._runs) - 1)
        known = np.flatnonzero(self._runs[place] == own)  # the others are out of place everywhere
        rank = self._rank[place[known]]
        apart = np.abs(rank - known.astype(np.int16)[:, None])
        apart[rank == LENGTH] = LENGTH
        return (apart.sum(0) / LENGTH + len(own) - len(known)) / len(own)

    def tell(self, text: str) -> str:
        """The name of a profile, or `UNKNOWN` for fewer than `FEWEST_LETTERS` letters (their marks
        count) and for what none is near.
        """
        codes = write_codes(choose_stretches(text))
        if count_letters(codes) < FEWEST_LETTERS:
            return UNKNOWN
        apart = self._measure(codes)
        best = int(np.argmin(apart))
        return self.names[best] if apart[best] <= FARTHEST else UNKNOWN


def choose_stretches(text: str) -> str:
    """The whole of a short text, else some stretches of it."""
    if len(text) <= STRETCHES * STRETCH:
        return text
    step = (len(text) - STRETCH) // (STRETCHES - 1)
    return " ".join(text[at * step : at * step + STRETCH] for at in range(STRETCHES))


def write_codes(text: str) -> Hashes:
    """Small letters and their marks; whatever stands between words is one blank."""
    spaced = f" {text.lower()} ".encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(spaced, dtype="<u4")
    codes = np.where(_list_letters()[np.minimum(codes, 0xFFFF)], codes, _BLANK)
    again = (codes[1:] == _BLANK) & (codes[:-1] == _BLANK)
    return codes[np.concatenate([[True], ~again])].astype(np.uint64)


def find_runs(codes: Hashes) -> Hashes:
    """The hashes of all runs of 1 to 5 letters of what `write_codes` wrote, each as often as it
    stands there.
    """
    blanks = np.cumsum(codes == _BLANK)
    hashed, parts = codes, [codes[codes != _BLANK]]
    for length in range(2, LONGEST + 1):
        ends = codes[length - 1 :]
        hashed = hashed[: len(ends)] * _FACTOR + ends
        # no blank but the first or the last of a run
        inside = blanks[length - 2 : len(blanks) - 1] - blanks[: len(ends)]
        parts.append(hashed[inside == 0])
    return np.concatenate(parts)


def count_letters(codes: Hashes) -> int:
    """Letters and their marks: beyond the first 65,536 characters `write_codes` keeps others."""
    beyond = codes[codes >= 0xFFFF]
    letters = sum(chr(code).isalpha() for code in beyond.tolist())
    return int(np.count_nonzero(codes != _BLANK)) - len(beyond) + letters


def rank_runs(runs: Hashes) -> Hashes:
    """The commonest, the first of them first; at most `LENGTH`."""
    if not len(runs):
        return runs
    ordered = np.sort(runs)
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    times = np.diff(np.append(first, len(ordered)))
    rarest = (0xFFFF - np.minimum(times, 0xFFFF)).astype(np.uint16)  # two bytes sort by radix
    return ordered[first[np.argsort(rarest, kind="stable")[:LENGTH]]]


def hash_run(run: str) -> int:
    """As `find_runs` has it."""
    value = 0
    for letter in run:
        value = (value * int(_FACTOR) + ord(letter)) % 2**64
    return value


def learn_profile(texts: Iterable[str]) -> list[str]:
    """The commonest runs of the texts, by `LENGTH`; of equally common ones the shorter first."""
    times = Counter[str]()
    for text in texts:
        letters = "".join(map(chr, write_codes(text).tolist()))
        for word in letters.split():
            padded = f" {word} "
            for length in range(1, LONGEST + 1):
                times.update(padded[at : at + length] for at in range(len(padded) - length + 1))
    del times[" "]
    ranked = sorted(times, key=lambda run: (-times[run], len(run), run))
    return ranked[:LENGTH]


def write_profiles(path: Path, profiles: Mapping[str, Sequence[str]], source: str) -> None:
    """source: of the text, and under which licence it is."""
    lines = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(list(runs), ensure_ascii=False)}"
        for name, runs in profiles.items()
    )
    head = json.dumps(source, ensure_ascii=False)
    text = f'{{"source": {head},\n "profiles": {{\n{lines}\n}}}}\n'
    path.write_text(text, encoding="utf-8")


@cache
def _list_letters() -> NDArray[np.bool_]:
    """Which of the first 65,536 characters are letters or marks on them; the last one stands for
    all beyond.
    """
    letters = np.array([unicodedata.category(chr(code))[0] in "LM" for code in range(1 << 16)])
    letters[-1] = True
    return letters
