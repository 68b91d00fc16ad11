"""Level-k, hierarchies, quantal response, words and teams beside what is worked out by hand, in
fractions or by plain enumeration.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
import torch

from fledge.errors import UserError
from fledge.plan.minds.evidence import Weighing
from fledge.plan.minds.matrix_game import (
    cognitive_hierarchy,
    level_k,
    poisson,
    quantal_response,
    read_game,
)
from fledge.plan.minds.reference_game import read_reference
from fledge.plan.minds.scene_file import FOLDER, SceneFile, parse_scene, read_scene
from fledge.plan.minds.tug_of_war import read_tug


def table(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def weigh(evidence) -> Weighing:
    weighing = Weighing(evidence)
    for _ in evidence.seen:
        weighing.update(0)
    return weighing


def test_each_level_asks_for_one_less_than_the_one_below() -> None:
    """Arad & Rubinstein 2012: against anything 19 is the best, against 19 it is 18, and so on; who
    answers 16 is best off with 20.
    """
    game = read_scene("money-request").fields
    pays = table([*game["row_pays"]])
    rows, columns = level_k(pays, pays.T, 5)
    assert rows[1:].argmax(1).tolist() == [3, 2, 1, 0, 4]
    assert torch.equal(rows, columns)
    assert rows[1:].amax(1).tolist() == [1.0] * 5


def test_a_hierarchy_answers_all_below_in_a_game_solved_by_hand() -> None:
    """Rows (a, b) get (3, 0) and (1, 2); columns (x, y) get 1 and 0, then 0 and 4, by row. Level 0
    is even. Level 1: row a, 1.5 = 1.5, is a tie with b, so both evenly; column y, 2 against 0.5.
    Level 2 meets levels 0 and 1 as 1 : τ = 1 : 2. The columns play y with (1/2 + 2·1)/3 = 5/6:
    row b, 1/6 + 10/6 against 3/6. The rows play b with 1/2: column y.
    """
    row_pays, column_pays = table([[3, 0], [1, 2]]), table([[1, 0], [0, 4]])
    rows, columns = cognitive_hierarchy(row_pays, column_pays, 2, tau=2.0)
    assert rows.tolist() == [[0.5, 0.5], [0.5, 0.5], [0.0, 1.0]]
    assert columns.tolist() == [[0.5, 0.5], [0.0, 1.0], [0.0, 1.0]]
    # e^−τ τ^k / k! up to 2, scaled: 1 : 2 : 2
    assert poisson(2, 2.0).tolist() == pytest.approx([0.2, 0.4, 0.4], abs=1e-15)


def test_quantal_response_in_the_prisoners_dilemma_is_a_logistic() -> None:
    """What defecting gains is 1 whatever the other does: P(defect) = σ(β)."""
    pays = table([[2, 0], [3, 1]])
    for beta in (0.1, 1.0, 5.0):
        row, column = quantal_response(pays, pays.T, beta)
        assert float(row[1]) == pytest.approx(1 / (1 + math.exp(-beta)), abs=1e-12)
        assert torch.equal(row, column)


@pytest.mark.parametrize("beta", [0.5, 2.0, 8.0])
def test_quantal_response_is_a_fixed_point_where_answers_go_round(beta: float) -> None:
    """Matching pennies whose first win pays 9 (Ochs 1995): P(column plays 2) that solves p =
    σ(β(…)) by bisection, written down here.
    """
    row_pays, column_pays = table([[9, 0], [0, 1]]), table([[0, 1], [1, 0]])
    logistic = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    # p: row plays the first; q: column plays the first. p = σ(β(9q − (1 − q))), q = σ(β(1 − 2p)).
    low, high = 0.0, 1.0
    for _ in range(200):
        q = (low + high) / 2
        p = logistic(beta * (10 * q - 1))
        low, high = (q, high) if logistic(beta * (1 - 2 * p)) > q else (low, q)
    row, column = quantal_response(row_pays, column_pays, beta)
    assert float(column[0]) == pytest.approx(low, abs=1e-9)
    assert float(row[0]) == pytest.approx(logistic(beta * (10 * low - 1)), abs=1e-9)


def test_levels_out_of_plays_are_bayes() -> None:
    evidence = read_game(read_scene("money-request"))
    posterior = weigh(evidence).posterior
    pays = table([*read_scene("money-request").fields["row_pays"]])
    chances, _ = cognitive_hierarchy(pays, pays.T, 4, 1.5, 0.5)
    joint = [
        math.exp(-1.5) * 1.5**k / math.factorial(k) * float(chances[k, 2]) ** 2
        * float(chances[k, 1]) for k in range(5)
    ]  # fmt: skip
    assert posterior.tolist() == pytest.approx([x / sum(joint) for x in joint], abs=1e-12)


def listen_in_fractions(words: dict[str, list[str]], things: list[str]) -> dict[str, dict]:
    """L1 with α = 1, no costs and an even prior."""
    literal = {w: {t: Fraction(t in true, len(true)) for t in things} for w, true in words.items()}
    speaker = {}
    for thing in things:
        total = sum(literal[w][thing] for w in words)
        speaker[thing] = {w: literal[w][thing] / total if total else Fraction(0) for w in words}
    heard = {}
    for word in words:
        total = sum(speaker[t][word] for t in things)
        heard[word] = {t: speaker[t][word] / total for t in things}
    return heard


BLOCKS = """
kind = "reference"
things = ["blue square", "blue circle", "green square"]
said = "blue"
[words]
blue = ["blue square", "blue circle"]
green = ["green square"]
square = ["blue square", "green square"]
circle = ["blue circle"]
"""


@pytest.mark.parametrize(
    ("text", "meant", "published"),
    [
        ((FOLDER / "faces.toml").read_text(), "glasses", Fraction(3, 4)),
        (BLOCKS, "blue square", Fraction(3, 5)),
    ],
)
def test_a_listener_hears_what_is_published(text: str, meant: str, published: Fraction) -> None:
    file = parse_scene(text, "words")
    evidence = read_reference(file)
    posterior = weigh(evidence).posterior
    things = file.fields["things"]
    exact = listen_in_fractions(file.fields["words"], things)[file.fields["said"]]
    assert exact[meant] == published
    assert posterior.tolist() == pytest.approx([float(exact[t]) for t in things], abs=1e-14)


def test_costs_alpha_and_depth_of_words_by_plain_recursion() -> None:
    more = "alpha = 2.5\ndepth = 3\n[cost]\ngreen = 0.7\n[prior]\n'blue circle' = 3\n"
    file = parse_scene(BLOCKS.replace("[words]", f"{more}[words]"), "words")
    things, words = file.fields["things"], file.fields["words"]
    prior = {t: 3.0 if t == "blue circle" else 1.0 for t in things}
    heard = {w: {t: prior[t] * (t in true) for t in things} for w, true in words.items()}
    for _ in range(3):
        heard = {w: {t: x / sum(row.values()) for t, x in row.items()} for w, row in heard.items()}
        spoken = {
            t: {w: (heard[w][t] * math.exp(-0.7 * (w == "green"))) ** 2.5 for w in words}
            for t in things
        }
        heard = {
            w: {t: prior[t] * spoken[t][w] / sum(spoken[t].values()) for t in things} for w in words
        }
    expected = [heard["blue"][t] / sum(heard["blue"].values()) for t in things]
    assert weigh(read_reference(file)).posterior.tolist() == pytest.approx(expected, abs=1e-12)


def test_strengths_out_of_matches_are_summed_over_all_ways() -> None:
    """Strengths, and who was lazy in which match, one by one."""
    text = """
kind = "tug"
matches = ["A > B", "B C > A", "C > B"]
ask = ["A > C"]
strengths = [1, 2, 4]
chances = [1, 2, 1]
lazy = 0.25
"""
    evidence = read_tug(parse_scene(text, "tug"))
    weighing = weigh(evidence)
    players, matches = "ABC", [("A", "B"), ("BC", "A"), ("C", "B")]

    def chance(strength: dict[str, float], first: str, second: str) -> float:
        total = 0.0
        for idle in itertools.product((0, 1), repeat=len(first + second)):
            p = math.prod(0.25 if each else 0.75 for each in idle)
            pull = {
                name: strength[name] / (1 + each)
                for name, each in zip(first + second, idle, strict=True)
            }
            ahead = sum(pull[x] for x in first) - sum(pull[x] for x in second)
            total += p * (0.5 if ahead == 0 else float(ahead > 0))
        return total

    weight, expected, wins = 0.0, dict.fromkeys(players, 0.0), 0.0
    for levels in itertools.product((1, 2, 4), repeat=3):
        strength = dict(zip(players, map(float, levels), strict=True))
        p = math.prod({1: 0.25, 2: 0.5, 4: 0.25}[x] for x in levels)
        p *= math.prod(chance(strength, *match) for match in matches)
        weight += p
        wins += p * chance(strength, "A", "C")
        for name in players:
            expected[name] += p * strength[name]
    told = evidence.tell(weighing.posterior)["expected strength"]
    assert told == pytest.approx({name: x / weight for name, x in expected.items()}, abs=1e-12)
    [asked] = evidence.asked.values()
    assert float(weighing.posterior @ asked) == pytest.approx(wins / weight, abs=1e-12)


@pytest.mark.parametrize(
    ("read", "fields", "said"),
    [
        (read_reference, {"things": ["a"], "words": {"w": ["b"]}, "said": "w"}, "list the things"),
        (read_reference, {"things": ["a"], "words": {"w": ["a"]}, "said": "v"}, "one or more of w"),
        (read_reference, {"things": ["a"], "said": "v"}, "a table [words]"),
        (
            read_reference,
            {"things": ["a"], "words": {"w": ["a"]}, "said": "w", "prior": {"a": -1}},
            "numbers of 0 or more",
        ),
        (
            read_reference,
            {"things": ["a"], "words": {"w": ["a"]}, "said": "w", "depth": 1.5},
            "a whole number from 1 to 20",
        ),
        (read_tug, {"matches": ["A B"]}, "cannot be read"),
        (read_tug, {"matches": ["A > A"]}, "cannot be read"),
        (read_tug, {"matches": []}, "the winners first"),
        (read_tug, {"matches": [f"p{i} > q{i}" for i in range(9)]}, "can be enumerated"),
        (read_tug, {"matches": ["A > B"], "strengths": [1], "chances": [1, 2]}, "`chances`"),
        (read_game, {"rows": ["a"], "columns": ["x"], "row_pays": [[1, 2]]}, "1 lists of 1"),
        (
            read_game, {"rows": ["a"], "columns": ["x"], "row_pays": [[1]], "played": ["x"]},
            "what the row player did: a",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(read, fields, said: str) -> None:
    with pytest.raises(UserError) as caught:
        read(SceneFile("mine", fields))
    assert said in str(caught.value)


def test_a_speaker_who_never_errs_says_what_fits_least() -> None:
    """A third of a third to the power of 2,000 is none of the numbers that there are."""
    evidence = read_reference(parse_scene(BLOCKS.replace("said", "alpha = 2000\nsaid"), "words"))
    # of the blue square blue and square say as much; of the blue circle nobody would say blue
    assert weigh(evidence).posterior.tolist() == pytest.approx([1, 0, 0], abs=1e-12)


def test_strengths_are_about_the_middle_if_nothing_is_said() -> None:
    for levels in (1, 2, 3, 5, 6):
        fields = {"matches": ["A > B"], "strengths": list(range(1, levels + 1))}
        prior = read_tug(SceneFile("mine", fields)).prior.view(levels, levels).sum(1)
        assert prior.tolist() == pytest.approx(prior.flip(0).tolist())


def test_quantal_response_looks_at_what_is_gained_and_not_at_what_all_get() -> None:
    pays = table([[2, 0], [3, 1]])
    row, _ = quantal_response(pays + 1e6, pays.T + 1e6, 1.0)
    assert float(row[1]) == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-9)
    with pytest.raises(UserError, match=r"give one of 0\.0013 or less"):
        quantal_response(1e6 * pays, 1e6 * pays.T, 3.0)


def test_words_that_nobody_would_say_are_excluded() -> None:
    file = parse_scene(BLOCKS.replace('"blue"\n', '["blue", "green"]\n'), "words")
    with pytest.raises(UserError, match="every mind excludes it"):
        weigh(read_reference(file))
