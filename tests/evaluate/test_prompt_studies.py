"""Each study on models made to have its effect, and made not to: power and false alarms.

60 studies on a model without the effect: at α = 0.01 more than 6 alarms come by chance with
probability 4e-6. 12 on a model with it: all are to be seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.evaluate import study_findings
from fledge.evaluate.prompt_studies import STUDIES, Design, StudyName, run_study
from fledge.evaluate.study_findings import ALPHA, Finding
from fledge.prompting.label_prompt import Labelled

LABELS = 3
QUESTIONS = 24


class Guesser:
    """Says the true label with probability 0.6 whatever the examples are, and else any; with an
    effect it goes by the examples on most of the questions.
    """

    def __init__(self, effect: StudyName | None, seed: int, strength: float = 0.8) -> None:
        self.effect, self.strength = effect, strength
        self.random = np.random.default_rng(seed)

    def __call__(self, shown: Sequence[Labelled], texts: Sequence[str]) -> list[int]:
        true = np.array([int(text.split()[-1]) for text in texts])
        right = self.random.random(len(texts)) < 0.6
        said = np.where(right, true, self.random.integers(LABELS, size=len(texts)))
        if self.effect is None or not shown:
            return said.tolist()
        by_example = self.random.random(len(texts)) < self.strength
        labels = np.array([each.label for each in shown])
        own = np.array([int(each.text.split()[-1]) for each in shown])
        if self.effect == "order":  # lost where the last example has the wrong label
            instead = true if labels[-1] == 0 else (true + 1) % LABELS
        elif self.effect == "label_balance":  # as often as the examples have it
            instead = self.random.choice(labels, len(texts))
        elif self.effect == "label_coverage":  # what is not shown is not said
            instead = np.where(np.isin(true, labels), true, labels[0])
        else:  # the labels' meaning is learned from the examples
            meaning = dict(zip(own, labels, strict=True))
            instead = np.array([meaning.get(t, labels[0]) for t in true])
        return np.where(by_example, instead, said).tolist()


def make_rows(count: int, seed: int = 0) -> list[Labelled]:
    labels = np.random.default_rng(seed).permutation(np.arange(count) % LABELS)
    return [Labelled(f"row {i} of {label}", int(label)) for i, label in enumerate(labels)]


def study(name: StudyName, effect: StudyName | None, seed: int) -> Finding:
    rows = make_rows(90)
    sets = 12 if name == "random_labels" else 6
    design = Design(shots=6, sets=sets, orders=6, seed=seed)
    asked, pool = rows[:QUESTIONS], rows[QUESTIONS:]
    return run_study(name, pool, asked, LABELS, Guesser(effect, seed), design)[0]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_findings, "PERMUTATIONS", 100)
    monkeypatch.setattr(study_findings, "RESAMPLES", 5)


@pytest.mark.parametrize("name", STUDIES)
def test_no_effect_is_seldom_seen(name: StudyName) -> None:
    alarms = sum(study(name, None, seed).p < ALPHA for seed in range(60))
    assert alarms <= 6


@pytest.mark.parametrize("name", STUDIES)
def test_an_effect_is_seen(name: StudyName) -> None:
    findings = [study(name, name, seed) for seed in range(12)]
    assert all(one.seen for one in findings)
    assert np.mean([one.effect for one in findings]) > 0.1


def test_studies_tell_effects_apart() -> None:
    """A model that copies the examples' balance has no use for their own labels."""
    others = [study("random_labels", "label_balance", seed).p < ALPHA for seed in range(20)]
    assert sum(others) <= 4  # of 20 at 0.01 more come by chance with probability 1e-6


def test_signs_are_enumerated_by_hand() -> None:
    """Three sets that differ by 2/4, 1/4 and −1/4: of the 8 signs 6 give as much, or more."""
    wanted = np.zeros(4, dtype=int)
    own = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 1]])
    lot = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]])
    said = {"own labels": own, "random labels": lot}
    finding = study_findings.judge_random(said, wanted, np.random.default_rng(0))
    gaps = np.array([2, 1, -1]) / 4
    sums = [abs(np.dot(s, gaps)) for s in itertools.product([1, -1], repeat=3)]
    assert finding.effect == pytest.approx(gaps.mean())
    assert finding.least == 2 / 8
    assert finding.p == np.mean([s >= abs(gaps.sum()) - 1e-12 for s in sums]) == 0.75


def test_a_slope_is_least_squares() -> None:
    said = {f"{2 * i} of 8": np.full((2, 10), 1) for i in range(5)}
    for place, each in enumerate(said.values()):
        each[:, : 2 * place] = 0  # 0, 20, 40, 60, 80 % say the first label
    finding = study_findings.judge_balance(said, np.zeros(10, dtype=int), np.random.default_rng(0))
    assert finding.effect == pytest.approx(0.8)
    assert [one.mean for one in finding.conditions] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    # A quarter of six is two, and counts as a third: here each has exactly its share.
    said = {f"{n} of 6": np.repeat([0, 1], [n, 6 - n])[None].repeat(2, 0) for n in (0, 2, 3, 4, 6)}
    finding = study_findings.judge_balance(said, np.zeros(6, dtype=int), np.random.default_rng(0))
    assert finding.effect == pytest.approx(1.0)


def test_designs_are_what_they_say() -> None:
    rows, design = make_rows(90), Design(shots=6, sets=2, orders=3)
    seen: dict[StudyName, list[list[int]]] = {name: [] for name in STUDIES}
    texts: dict[StudyName, list[list[str]]] = {name: [] for name in STUDIES}
    for name in STUDIES:

        def label(shown: Sequence[Labelled], asked: Sequence[str], name: StudyName = name):
            seen[name].append([each.label for each in shown])
            texts[name].append([each.text for each in shown])
            return [0] * len(asked)

        run_study(name, rows[24:], rows[:24], LABELS, label, design)
    for one in seen["order"]:
        assert sorted(one) == [0, 0, 1, 1, 2, 2]
    assert sorted(texts["order"][0]) == sorted(texts["order"][1])
    assert texts["order"][0] != texts["order"][1]
    counts = [one.count(0) for one in seen["label_balance"]]
    assert counts == [0, 0, 2, 2, 3, 3, 4, 4, 6, 6]
    assert [len(set(one)) for one in seen["label_coverage"]] == [1, 1, 2, 2, 3, 3]
    assert texts["random_labels"][:2] == texts["random_labels"][2:4]
    assert seen["random_labels"][4] == []
    with pytest.raises(UserError, match="shots=6 may want as many"):
        run_study("order", rows[:12], rows[12:], LABELS, lambda *_: [], design)
