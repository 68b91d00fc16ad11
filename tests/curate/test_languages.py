"""Languages by the ranks of their runs of letters: by hand, and on sentences of everyday."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fledge.curate.languages import (
    LENGTH,
    LONGEST,
    UNKNOWN,
    Languages,
    choose_stretches,
    find_runs,
    hash_run,
    learn_profile,
    rank_runs,
    write_codes,
    write_profiles,
)
from fledge.errors import UserError
from tests.curate.sentences import SENTENCES


def test_runs_are_those_of_each_word_with_a_blank_on_either_side() -> None:
    wanted = Counter[int]()
    for word in ("don", "t", "über", "日本"):
        padded = f" {word} "
        for length in range(1, LONGEST + 1):
            wanted.update(
                hash_run(padded[at : at + length])
                for at in range(len(padded) - length + 1)
                if padded[at : at + length].strip()
            )
    assert Counter(find_runs(write_codes("Don't... 12 ÜBER, 日本!")).tolist()) == wanted


def test_the_distance_is_the_papers_out_of_place_measure() -> None:
    """The drawing of Cavnar and Trenkle: 'the' of two texts at other ranks, one run missing."""
    languages = Languages({"a": [" t", "th", "e "], "b": ["zz", "th"]})
    text = "the the the"
    own = rank_runs(find_runs(write_codes(text))).tolist()
    place = {run: own.index(hash_run(run)) for run in (" t", "th", "e ")}
    missing = len(own) - 3
    apart = sum(abs(place[run] - at) for at, run in enumerate((" t", "th", "e ")))
    other = abs(place["th"] - 1) + (missing + 2) * LENGTH
    wanted = np.array([apart + missing * LENGTH, other]) / (LENGTH * len(own))
    assert languages.measure(text) == pytest.approx(wanted)


def test_a_profile_has_the_commonest_runs_first() -> None:
    assert learn_profile(["ab ab b"])[:3] == ["b", "b ", "a"]


def test_everyday_sentences_are_told() -> None:
    """Of 56 sentences in 28 languages, none out of the text that the profiles are of, 54 at the
    least; 28 pairs, 27. Danish and Norwegian differ in a few letters.
    """
    languages = Languages.load()
    assert sorted(languages.names) == sorted(SENTENCES)
    told = [languages.tell(text) == name for name, texts in SENTENCES.items() for text in texts]
    assert sum(told) >= 54
    both = [languages.tell(" ".join(texts)) == name for name, texts in SENTENCES.items()]
    assert sum(both) >= 27


SIGNS = ["Danke " + "😀" * 20, "ok " + "𝟙" * 20]  # few letters among signs beyond 65,536


@pytest.mark.parametrize(
    "text", ["", "12 + 30 = 42 !!! " * 20, "Too short.", "ꆈꌠꁱꂷ" * 20, *SIGNS]
)
def test_what_no_profile_knows_is_unknown(text: str) -> None:
    assert Languages.load().tell(text) == UNKNOWN


def test_a_long_text_is_known_by_three_stretches() -> None:
    text = "".join(chr(97 + at % 26) for at in range(10_000))
    first, middle, last = choose_stretches(text).split()
    assert (text.startswith(first), text.endswith(last), middle in text) == (True, True, True)
    assert len(first) == len(middle) == len(last) == 150
    mixed = " ".join([*SENTENCES["de"] * 2, *SENTENCES["fr"] * 40])
    assert Languages.load().tell(mixed) == "fr"
    ruled = "-" * 200 + " ".join(SENTENCES["de"] * 3)  # no letter stands in the first stretch
    assert Languages.load().tell(ruled) == "de"


def test_profiles_go_through_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    write_profiles(path, {name: learn_profile(SENTENCES[name]) for name in ("en", "he")}, "ours")
    assert json.loads(path.read_text())["source"] == "ours"
    assert Languages.load(path).tell("The bread and the fruit of the market.") == "en"
    path.write_text('{"source": "", "profiles": {"en": []}}')
    with pytest.raises(UserError, match="wrote"):
        Languages.load(path)
