"""Two on a map beside the same written apart in plain numbers; whose good counts, beside the sum
over all weights; and one sentence for each mistake in their files.
"""

from __future__ import annotations

import itertools
import math

import pytest

from fledge.errors import UserError
from fledge.exact.social_mind import EnumeratedPair
from fledge.plan.minds.evidence import Evidence, Weighing
from fledge.plan.minds.scene_file import parse_scene, read_scene
from fledge.plan.minds.social_scene import read_social
from fledge.plan.minds.welfare import read_welfare

ROWS = ["S_#b", ".T|a"]
PAIR = """
kind = "social"
map = '''
S_#b
.T|a
'''
path = "right stay up stay"
other_path = "right stay right stay"
weights = [-1, 0.5]
goals = ["nothing", "b"]
other_goals = ["a", "b"]
rationality = [1.5, 4]
worth = 0.8
step_cost = 0.15
gamma = 0.5
"""
PATHS = [
    ("right stay up stay", "right stay right stay"),
    ("down down", "left up"),  # into each other, and into a shut gate
    ("right right stay down left", "right right up left left"),
]


@pytest.fixture(scope="module")
def exact() -> EnumeratedPair:
    return EnumeratedPair(ROWS, 0.8, 0.15, 0.5, depth=42)  # 0.5^42 < 1e-12


def weigh(evidence: Evidence) -> Weighing:
    weighing = Weighing(evidence)
    for _ in evidence.seen:
        weighing.update(0)
    return weighing


@pytest.mark.parametrize(("path", "other_path"), PATHS)
def test_a_relationship_is_bayes_over_all_minds(
    path: str, other_path: str, exact: EnumeratedPair
) -> None:
    text = PAIR.replace(f'"{PATHS[0][0]}"', f'"{path}"')
    text = text.replace(f'"{PATHS[0][1]}"', f'"{other_path}"')
    weighing = weigh(read_social(parse_scene(text, "pair")))
    minds = list(itertools.product(("nothing", "b"), (-1.0, 0.5), ("a", "b"), (1.5, 4.0)))
    joint = [exact.likelihood(mind, path.split(), other_path.split()) for mind in minds]
    expected = [each / sum(joint) for each in joint]
    assert weighing.posterior.tolist() == pytest.approx(expected, abs=1e-10)
    told = weighing.evidence.tell(weighing.posterior)
    helps = sum(p for p, mind in zip(expected, minds, strict=True) if mind[1] > 0)
    assert told["relationship"]["helps"] == pytest.approx(helps, abs=1e-10)
    assert told["the other wants"]["b"] == pytest.approx(
        sum(p for p, mind in zip(expected, minds, strict=True) if mind[2] == "b"), abs=1e-10
    )
    assert told["expected weight"]["of the other to the first"] == pytest.approx(
        sum(p * mind[1] for p, mind in zip(expected, minds, strict=True)), abs=1e-10
    )
    before = [exact.likelihood(m, path.split()[:-1], other_path.split()[:-1]) for m in minds]
    assert weighing.foretold == pytest.approx(sum(joint) / sum(before), abs=1e-10)


def test_who_holds_the_gate_open_helps_and_who_stands_in_the_way_hinders() -> None:
    helps = read_social(read_scene("gate"))
    told = helps.tell(weigh(helps).posterior)
    assert told["relationship"]["helps"] > 0.9
    assert told["Sam wants"]["a"] > 0.9
    blocks = """
kind = "social"
map = '''
#####
#T.a#
##S##
#####
'''
path = "up stay stay stay"
other_path = "stay stay stay stay"
goals = ["nothing"]
rationality = 6
"""
    hinders = read_social(parse_scene(blocks, "blocks"))
    assert hinders.tell(weigh(hinders).posterior)["relationship"]["hinders"] > 0.9


WELFARE = """
kind = "welfare"
people = ["self", "Ann", "Bob"]
weights = [-1, 0, 2]
rationality = [0.4, 1.1]
[chances]
self = [1, 2, 3]
[[choices]]
chose = "share"
between.share = { self = 2, Ann = 1.5 }
between.keep = { self = 3 }
between.harm = { self = 3.5, Bob = -2 }
[[choices]]
chose = "give"
between.give = { Bob = 2 }
between.not = {}
[[ask]]
between.Ann = { Ann = 1 }
between.Bob = { Bob = 1 }
"""


def test_whose_good_counts_is_bayes_over_all_weights() -> None:
    goods = [
        ({"self": 2, "Ann": 1.5}, {"self": 3}, {"self": 3.5, "Bob": -2}),
        ({"Bob": 2}, {}),
    ]
    joint: dict[tuple[float, ...], float] = {}

    def choose(weight: dict[str, float], beta: float, good: tuple[dict[str, float], ...]) -> float:
        each = [math.exp(beta * sum(weight[x] * g for x, g in one.items())) for one in good]
        return each[0] / sum(each)

    for own, ann, bob in itertools.product((-1.0, 0.0, 2.0), repeat=3):
        for beta in (0.4, 1.1):
            weight = {"self": own, "Ann": ann, "Bob": bob}
            chance = {-1.0: 1 / 6, 0.0: 2 / 6, 2.0: 3 / 6}[own] / 9 / 2
            joint[own, ann, bob, beta] = chance * math.prod(
                choose(weight, beta, good) for good in goods
            )
    total = sum(joint.values())
    evidence = read_welfare(parse_scene(WELFARE, "three"))
    weighing = weigh(evidence)
    expected = [each / total for each in joint.values()]
    assert weighing.posterior.tolist() == pytest.approx(expected, abs=1e-10)
    told = evidence.tell(weighing.posterior)
    for i, name in enumerate(("self", "Ann", "Bob")):
        mean = sum(mind[i] * p for mind, p in joint.items()) / total
        assert told["expected weight"][name] == pytest.approx(mean, abs=1e-10)
        most = sum(
            p / mind[:3].count(max(mind[:3])) for mind, p in joint.items()
            if mind[i] == max(mind[:3])
        )  # fmt: skip
        assert told["counts most"][name] == pytest.approx(most / total, abs=1e-10)
    next_ = sum(
        p * choose({"self": m[0], "Ann": m[1], "Bob": m[2]}, m[3], ({"Ann": 1}, {"Bob": 1}))
        for m, p in joint.items()
    )  # fmt: skip
    assert float(weighing.posterior @ evidence.asked["Ann"]) == pytest.approx(next_ / total)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("S_#b", "S_#.", "has goals ="),
        ("b\n.T|a", ".\n.T|.", "has no goal"),
        ("S_#b\n.T|a", "S.#b\n.T|a", "no way leads the first to the place b"),
        ("T|a", "S|a", "has 2 places S"),
        ("S_#b", "S_#?", "column 4 of the map is '?'"),
        ('"right stay up stay"', '"right stay"', "have 2 and 4 moves"),
        ('"right stay up stay"', '"take"', "has the word 'take'"),
        ('goals = ["nothing", "b"]', 'goals = ["c"]', "some of a, b, nothing"),
        ("weights = [-1, 0.5]", "weights = []", "different numbers"),
        ("gamma = 0.5", "gama = 0.5", "perhaps you meant `gamma`"),
    ],
)
def test_a_mistake_in_a_scene_of_two_is_one_sentence(before: str, after: str, said: str) -> None:
    assert before in PAIR
    with pytest.raises(UserError) as told:
        read_social(parse_scene(PAIR.replace(before, after, 1), "pair"))
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('chose = "give"', 'chose = "take"', "choices 2 of three says chose = 'take'"),
        ('chose = "give"', 'chose = ["give"]', "says chose = ['give']: give one of give, not"),
        ("{ Bob = 2 }", "{ Cy = 2 }", "a number for some of self, Ann, Bob"),
        ("between.not = {}", "", "no choice between two or more"),
        ("self = [1, 2, 3]", "self = [1]", "3 numbers of 0 or more"),
        ("weights = [-1, 0, 2]", f"weights = {list(range(101))}", "can be enumerated"),
    ],
)
def test_a_mistake_in_choices_is_one_sentence(before: str, after: str, said: str) -> None:
    assert before in WELFARE
    with pytest.raises(UserError) as told:
        read_welfare(parse_scene(WELFARE.replace(before, after, 1), "three"))
    assert said in str(told.value)


def test_a_choice_that_every_mind_excludes_is_said() -> None:
    text = WELFARE.replace("[0.4, 1.1]", "inf").replace("weights = [-1, 0, 2]", "weights = [1]")
    text = text.replace("self = [1, 2, 3]", "").replace('chose = "share"', 'chose = "keep"')
    with pytest.raises(UserError, match="every mind excludes it"):
        weigh(read_welfare(parse_scene(text, "three")))
