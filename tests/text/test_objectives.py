"""Inputs and targets of every objective, by hand; what is noise, by count; and that no input tells
what its target asks for.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.text.infilling import Infilling, draw_middle, fill_middle, find_infilling
from fledge.text.objectives import (
    PAIRED,
    Marks,
    PairedObjective,
    count_longest,
    count_noise,
    draw_spans,
    drop_noise,
    find_marks,
    fit_length,
    make_pair,
    mask_noise,
    mask_span,
    replace_spans,
    shuffle,
    split_prefix,
)
from tests.subjects import come_as_often_as

# Raffel et al. 2020, Table 3
WORDS = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week"]
TEXT = np.arange(len(WORDS))
X, Y, Z = SENTINELS = np.array([100, 101, 102])
ID = {**{word: i for i, word in enumerate(WORDS)}, "X": X, "Y": Y, "Z": Z, "apple": 50}


def ids(said: str) -> list[int]:
    return [ID[word] for word in said.split()]


def noise(said: str) -> np.ndarray:
    return np.isin(TEXT, ids(said))


def test_each_objective_is_the_one_of_the_paper() -> None:
    some = noise("for inviting last")
    whole = " ".join(WORDS)
    others = np.full(len(TEXT), -1)
    others[ID["last"]] = ID["apple"]
    order = ids("party me for your to last inviting you week Thank")
    for (given, target), (wanted, asked) in [
        (split_prefix(TEXT, 4), ("Thank you for inviting", "me to your party last week")),
        (mask_noise(TEXT, some, X, others), ("Thank you X X me to your party apple week", whole)),
        (mask_noise(TEXT, some, X), ("Thank you X X me to your party X week", whole)),
        (shuffle(TEXT, np.array(order)),
         ("party me for your to last inviting you week Thank", whole)),
        (mask_span(TEXT, 2, 6, X),
         ("Thank you X X X X your party last week", "for inviting me to")),
        (replace_spans(TEXT, some, SENTINELS),
         ("Thank you X me to your party Y week", "X for inviting Y last Z")),
        (drop_noise(TEXT, some), ("Thank you me to your party week", "for inviting last")),
        (replace_spans(TEXT, noise("for inviting me your party last"), SENTINELS),
         ("Thank you X to Y week", "X for inviting me Y your party last Z")),
        # noise at both ends
        (replace_spans(TEXT, noise("Thank week"), SENTINELS),
         ("X you for inviting me to your party last Y", "X Thank Y week Z")),
        # no sentinel is left for a third span
        (replace_spans(TEXT, noise("Thank for week"), SENTINELS),
         ("X you Y inviting me to your party last week", "X Thank Y for Z")),
    ]:  # fmt: skip
        assert given.tolist() == ids(wanted)
        assert target.tolist() == ids(asked)


def test_fill_in_the_middle_is_the_one_of_the_paper() -> None:
    marks = Infilling(90, 91, 92)
    text = np.arange(6)
    psm = [90, 0, 1, 91, 4, 5, 92, 2, 3]
    assert fill_middle(text, 2, 4, marks, suffix_first=False).tolist() == psm
    spm = [90, 91, 4, 5, 92, 0, 1, 2, 3]
    assert fill_middle(text, 2, 4, marks, suffix_first=True).tolist() == spm
    random = np.random.default_rng(0)
    draws = [draw_middle(text, marks, random, 0.3, 0.5).tolist() for _ in range(4000)]
    kinds = Counter(
        "whole" if row == text.tolist() else "spm" if row[1] == 91 else "psm" for row in draws
    )
    # 28 pairs of cuts, of which 7 of 36 draws, weighed as sorted pairs, leave nothing before
    empty = sum(min(a, b) == 0 for a in range(7) for b in range(7)) / 49
    exact = {"whole": 0.7, "spm": 0.3 * (0.5 + 0.5 * 0), "psm": 0.15}
    # a PSM text with nothing before its middle begins as an SPM one does
    exact["spm"], exact["psm"] = 0.15 + 0.15 * empty, 0.15 * (1 - empty)
    come_as_often_as(exact, kinds)
    for row in draws:
        assert sorted(token for token in row if token < 90) == text.tolist()


@pytest.mark.parametrize(
    ("length", "exact"),
    # max(1, round(0.15 n)) noise tokens, max(1, round(that / 3)) spans, halves to even numbers
    [(1, (0, 0)), (2, (1, 1)), (10, (2, 1)), (30, (4, 1)), (50, (8, 3)), (512, (77, 26))],
)
def test_as_much_is_noise_as_in_t5(length: int, exact: tuple[int, int]) -> None:
    assert count_noise(length) == exact
    mask = draw_spans(length, np.random.default_rng(1))
    assert mask.sum() == exact[0]
    assert (np.diff(np.concatenate([[0], mask.astype(int)])) == 1).sum() == exact[1]
    assert not mask[:1].any()  # what comes first is never noise


def test_every_way_to_cut_spans_is_as_likely() -> None:
    """Of 6 tokens 3 in 2 spans: 2 ways to cut what stays and 2 to cut the noise."""
    ways = Counter(
        "".join(map(str, draw_spans(6, random, 0.5, 1.5).astype(int)))
        for random in map(np.random.default_rng, range(2000))
    )
    come_as_often_as(dict.fromkeys(["010011", "011001", "001011", "001101"], 0.25), ways)


MARKS = Marks(np.arange(200, 300), np.arange(150, 160))


@pytest.mark.parametrize("objective", PAIRED)
def test_no_input_tells_its_target(objective: PairedObjective) -> None:
    """Another token where the target has one that the input is not to show, and the same draws: the
    same input. And what is drawn fits the room that was counted.
    """
    text = np.arange(40)
    for seed in range(30):
        given, target = make_pair(objective, text, MARKS, np.random.default_rng(seed))
        assert len(given) + len(target) <= count_longest(objective, 40, 0.15, 3.0)
        shown = set(given.tolist())
        asked = [token for token in target.tolist() if token < 40 and token not in shown]
        if objective == "deshuffle":
            assert sorted(given) == text.tolist() == target.tolist()
            continue
        assert asked
        changed = text.copy()
        changed[asked] += 1000
        other, told = make_pair(objective, changed, MARKS, np.random.default_rng(seed))
        assert (other == given).all()
        assert (told != target).any()


def test_of_masked_tokens_a_tenth_becomes_another() -> None:
    text = np.arange(100)
    drawn = [make_pair("bert", text, MARKS, np.random.default_rng(i))[0] for i in range(400)]
    given = np.stack(drawn)
    shares = {
        "mask": 0.15 * 0.9, "other": 0.15 * 0.1, "kept": 0.85,
    }  # fmt: skip
    kinds = np.where(given == 200, "mask", np.where(given >= 150, "other", "kept"))
    come_as_often_as(shares, Counter(kinds.flatten().tolist()))


def test_rows_have_room_for_what_is_made_of_them() -> None:
    for objective in PAIRED:
        length = fit_length(objective, 64, 0.15, 3.0)
        assert count_longest(objective, length, 0.15, 3.0) <= 64
        assert count_longest(objective, length + 1, 0.15, 3.0) > 64
    with pytest.raises(UserError, match="too few for objective=bert"):
        fit_length("bert", 3, 0.15, 3.0)


def test_a_tokenizer_without_marks_is_refused() -> None:
    with pytest.raises(UserError, match="no sentinels"):
        find_marks({"<s>": 0}, TEXT)
    with pytest.raises(UserError, match="cannot fill in a middle"):
        find_infilling({"<s>": 0})
    assert find_infilling({"<fim_prefix>": 5, "<fim_suffix>": 6, "<fim_middle>": 7})[0] == 5
