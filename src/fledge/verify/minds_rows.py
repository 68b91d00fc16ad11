"""Other minds beside plain enumeration and what is worked out by hand; rewards out of
demonstrations beside the sum over all trajectories; labels that are worth asking for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from fledge.exact.mdp import EnumeratedMDP
from fledge.exact.walking_mind import EnumeratedScene
from fledge.plan.minds.evidence import Weighing
from fledge.plan.minds.helper import Costs, Helper
from fledge.plan.minds.inverse_planning import InversePlanning
from fledge.plan.minds.matrix_game import cognitive_hierarchy, level_k, quantal_response
from fledge.plan.minds.particles import ParticleFilter
from fledge.plan.minds.planned import Planned, plan_minds
from fledge.plan.minds.reference_game import read_reference
from fledge.plan.minds.reward_inference import (
    RewardInference,
    act_best,
    discount,
    earn,
    follow_policy,
)
from fledge.plan.minds.scene_file import parse_scene, read_scene
from fledge.plan.minds.walk_file import read_walk
from fledge.score.acquisition import bald, expected_change
from fledge.verify.rows import TableRow
from fledge.verify.social_rows import social_rows
from fledge.verify.value_rows import seeded

ROWS, PATH = ["aS#b", "...."], ["down", "right", "right", "left", "left"]
SCENE = """
map = '''
aS#b
....
'''
things = ["K", "L"]
path = "down right 2 left 2"
rationality = 1.5
step_cost = 0.3
gamma = 0.9
[places]
a = "K"
[wants]
"K first" = { K = 5, L = 2 }
"L first" = { L = 4 }
[beliefs]
even = {}
"L at b" = { b = { L = 9, nothing = 0 } }
"""


def plan_scene() -> Planned:
    return plan_minds(read_walk(parse_scene(SCENE, "two trucks")))


MINDS = tuple(itertools.product(range(2), range(2), (1.5,)))  # belief, want, β


@cache
def enumerate_scene() -> EnumeratedScene:
    beliefs = [lambda way: 1.0, lambda way: {"L": 9.0, None: 0.0}.get(way["b"], 1.0)]
    wants = [{"K": 5.0, "L": 2.0}, {"K": 0.0, "L": 4.0}]
    return EnumeratedScene(ROWS, ["K", "L"], {"a": "K"}, wants, beliefs, 0.3, 0.9, depth=12)


def posterior_by_enumeration() -> list[float]:
    """Of the four minds, belief by belief."""
    scene = enumerate_scene()
    joint = [scene.likelihood(mind, PATH) for mind in MINDS]
    return [each / sum(joint) for each in joint]


def posterior_rows() -> list[TableRow]:
    planned, exact = plan_scene(), torch.tensor(posterior_by_enumeration(), dtype=torch.float64)
    inquiry = InversePlanning(planned)
    for _ in inquiry.steps:
        inquiry.update(0)
    error = float((inquiry.posterior - exact).abs().max())
    errors = []
    for particles in (100, 6400):
        squares = []
        for seed in range(12):
            sample = ParticleFilter(planned, particles, seed)
            for _ in sample.exact.steps:
                sample.update(0)
            squares.append(float((sample.posterior - exact).square().mean()))
        errors.append(math.sqrt(sum(squares) / len(squares)))
    slope = math.log(errors[1] / errors[0]) / math.log(64)
    return [
        TableRow(
            "R16.1", "inverse planning, one place hidden", "the posterior is Bayes over all minds",
            error, 1e-10, f"wants and beliefs after {len(PATH)} actions to {error:.1e}",
        ),
        TableRow(
            "R16.2", "a particle filter of minds", "its error falls as 1/√n", abs(slope + 0.5),
            0.15, f"error falls as n^{slope:.2f} from 100 to 6,400 particles, 12 seeds each",
        ),
    ]  # fmt: skip


def game_rows() -> list[TableRow]:
    """Arad & Rubinstein 2012: level 1 asks for 19, level 2 for 18, and so on."""
    pays = torch.tensor(read_scene("money-request").fields["row_pays"], dtype=torch.float64)
    by_hand = torch.eye(5, dtype=torch.float64)[[3, 2, 1, 0]]
    levels, _ = level_k(pays, pays.T, 4)
    wrong = float((levels[1:] - by_hand).abs().max())
    # With a = (3, 0), b = (1, 2) for the rows and 1, 0, 0, 4 for the columns; τ = 2: 1/2 is a tie,
    # then y against a half, then b against 1/6 and 5/6.
    rows, columns = cognitive_hierarchy(
        torch.tensor([[3.0, 0], [1, 2]]).double(), torch.tensor([[1.0, 0], [0, 4]]).double(), 2, 2.0
    )
    hand = ([[0.5, 0.5], [0.5, 0.5], [0, 1]], [[0.5, 0.5], [0, 1], [0, 1]])
    wrong = max(
        wrong, *(float((x - torch.tensor(y)).abs().max())
                 for x, y in zip((rows, columns), hand, strict=True))
    )  # fmt: skip
    dilemma, error = torch.tensor([[2.0, 0], [3, 1]]).double(), 0.0
    for beta in (0.1, 1.0, 5.0):
        row, _ = quantal_response(dilemma, dilemma.T, beta)
        error = max(error, abs(float(row[1]) - 1 / (1 + math.exp(-beta))))
    return [
        TableRow(
            "R16.3", "level-k and cognitive hierarchy", "they play as worked out by hand", wrong,
            1e-12, f"levels 1 to 4 of money request, 0 to 2 of a 2 × 2 game, to {wrong:.1e}",
        ),
        TableRow(
            "R16.4", "quantal response", "in the prisoner's dilemma it is σ(β)", error, 1e-12,
            f"at β of 0.1, 1 and 5 to {error:.1e}",
        ),
    ]  # fmt: skip


def words_row() -> TableRow:
    weighing = Weighing(read_reference(read_scene("faces")))
    weighing.update(0)
    error = abs(float(weighing.posterior[1]) - 3 / 4)
    return TableRow(
        "R16.5", "rational speech acts", "glasses mean the face without a hat by 3/4", error, 1e-12,
        f"the published listener's 0.75 to {error:.1e}",
    )  # fmt: skip


def helper_row() -> TableRow:
    """One turn, worked out by hand: what the person does next is seen, then they go on alone."""
    planned, costs = plan_scene(), Costs(ask=0.7, fetch=1.2, turns=1)
    helper, scene = Helper(planned, costs), planned.scene
    known, place = scene.see(0, scene.start), scene.start
    belief = planned.prior
    said = helper.weigh(belief, known, place)
    # Nothing that is seen in one turn makes the helper act: waiting is their going on alone.
    exact = enumerate_scene()
    alone = sum(exact.earned_alone(mind, 220) for mind in MINDS) / 4
    asked = alone - costs.ask
    error = max(abs(said["wait"] - alone), abs(said["ask"] - asked))
    worth = float(belief.view(2, 2).sum(0) @ torch.tensor([5.0, 0.0]).double()) - costs.fetch
    error = max(error, abs(said["bring K"] - worth))
    return TableRow(
        "R16.6", "an assistance game", "what helping is worth is what both are paid", error, 1e-9,
        f"waiting, asking and bringing, with a turn to go, to {error:.1e}",
    )  # fmt: skip


def gradient_row() -> TableRow:
    """Counts of maximum causal entropy, over all trajectories and their chances."""
    random, S, A, T = seeded(91), 3, 2, 3
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=random)  # noqa: E731
    transition, start, reward = draw(A, S, S).softmax(-1), draw(S).softmax(-1), draw(S)
    exact = EnumeratedMDP(transition, reward[:, None].expand(S, A), start, 1.0, T)
    chance = transition.tolist()

    def value(t: int, s: int) -> float:
        return 0.0 if t == T else math.log(sum(math.exp(q(t, s, a)) for a in range(A)))

    def q(t: int, s: int, a: int) -> float:
        return float(reward[s]) + sum(chance[a][s][n] * value(t + 1, n) for n in range(S))

    log_policy = torch.tensor([
        [[q(t, s, a) - value(t, s) for a in range(A)] for s in range(S)] for t in range(T)
    ], dtype=torch.float64)  # fmt: skip
    steps = torch.arange(T).expand_as(exact.state)
    likely = exact.chance * log_policy[steps, exact.state, exact.action].sum(1).exp()
    counts = torch.zeros(S, dtype=torch.float64)
    for t in range(T):
        counts.index_add_(0, exact.state[:, t], likely)
    features = torch.eye(S, dtype=torch.float64)[None]
    expert = draw(1, S).exp()
    inference = RewardInference(transition[None], start[None], features, expert, T)
    inference.weight.copy_(reward[None])
    inference.model = inference.solve()
    error = float((inference.gradient() - (expert - counts)).abs().max())
    return TableRow(
        "U10.1", "maximum causal entropy", "the gradient is the expert's counts less the model's",
        error, 1e-10, f"counts over all {len(exact.state)} trajectories to {error:.1e}",
    )  # fmt: skip


def recovery_row() -> TableRow:
    """Two random 6 × 6 worlds, of which a tenth of the places pays."""
    random, side, steps = seeded(92), 6, 15
    transition = walk_about(side, slip=0.2).expand(2, -1, -1, -1)
    places = side * side
    pays = (torch.rand(2, places, generator=random) < 0.1).double()
    reward = pays * torch.rand(2, places, dtype=torch.float64, generator=random)
    start = torch.full((2, places), 1 / places, dtype=torch.float64)
    best = act_best(transition, reward, steps)
    counts = discount(follow_policy(transition, start, best), 1.0)
    features = torch.eye(places, dtype=torch.float64).expand(2, -1, -1)
    inference = RewardInference(
        transition, start, features, counts, steps, learning_rate=0.3, penalty=1e-4
    )
    for _ in range(100):
        inference.update()
    inferred = act_best(transition, inference.reward, steps)
    value = torch.zeros_like(reward)
    for _ in range(steps):  # Bellman's equation for the most that can be earned
        value = reward + torch.einsum("wast,wt->was", transition, value).amax(1)
    share = earn(transition, start, inferred, reward) / (start * value).sum(-1)
    lost = float((1 - share).max())
    return TableRow(
        "U10.2", "a recovered reward", "its best policy earns what the expert earns", lost, 0.01,
        f"{100 * (1 - lost):.2f} % of the expert's in the worse of two {side} × {side} worlds",
    )  # fmt: skip


def walk_about(side: int, slip: float) -> Tensor:
    """[4, S, S]"""
    table = torch.zeros(4, side * side, side * side, dtype=torch.float64)
    ends: Sequence[tuple[int, int]] = ((-1, 0), (0, 1), (1, 0), (0, -1))
    for s in range(side * side):
        i, j = divmod(s, side)
        there = [
            (i + x) * side + j + y if 0 <= i + x < side and 0 <= j + y < side else s
            for x, y in ends
        ]
        for a in range(4):
            table[a, s, there[a]] += 1 - slip
            for end in there:
                table[a, s, end] += slip / 4
    return table


def label_rows() -> list[TableRow]:
    """BALD and the expected change beside sums over labels and weights."""
    random, K, N, C, D = seeded(93), 4, 5, 3, 4
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=random)  # noqa: E731
    p, error = draw(K, N, C).softmax(-1), 0.0
    for n, said in enumerate(bald(p).tolist()):
        table = p[:, n] / K
        alone = table.sum(0)
        exact = sum(
            float(table[k, y] * (table[k, y] / (alone[y] / K)).log())
            for k, y in itertools.product(range(K), range(C))
        )
        error = max(error, abs(said - exact))
    weight, x, apart = draw(D, C).requires_grad_(True), draw(N, D), 0.0
    chance = (x @ weight).softmax(-1).detach()
    for n, said in enumerate(expected_change(chance, x).tolist()):
        slopes = [
            torch.autograd.grad(-(x[n] @ weight).log_softmax(-1)[y], weight)[0].norm()
            for y in range(C)
        ]
        exact = float(chance[n] @ torch.stack(slopes))
        apart = max(apart, abs(said - exact))
    return [
        TableRow(
            "U9.1", "BALD", "it is the mutual information of label and weights", error, 1e-12,
            f"of {N} things under {K} weights, over all labels, to {error:.1e}",
        ),
        TableRow(
            "U9.2", "expected model change", "it is the mean length of the gradients", apart,
            1e-12, f"of {N} things, label by label through autograd, to {apart:.1e}",
        ),
    ]  # fmt: skip


def minds_rows() -> list[TableRow]:
    return [
        *posterior_rows(), *game_rows(), words_row(), helper_row(), *social_rows(),
        gradient_row(), recovery_row(),
        *label_rows(),
    ]  # fmt: skip
