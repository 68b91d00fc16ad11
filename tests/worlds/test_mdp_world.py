"""A process played: its frequencies are P's, it ends and begins as every world does, and it goes on
bit for bit.
"""

from __future__ import annotations

import json

import pytest
import torch

from fledge.errors import UserError
from fledge.runs.state import flatten, unflatten
from fledge.worlds.mdp import MDP, Pomdp
from fledge.worlds.mdp_world import MDPWorld
from fledge.worlds.world import Choices


def random_process(sparse: bool) -> MDP:
    """Four states and three actions, with outcomes that cannot happen, and a payment for each that
    can.
    """
    generator = torch.Generator().manual_seed(7)
    chance = torch.rand(3, 4, 4, dtype=torch.float64, generator=generator)
    chance = chance * (torch.rand(3, 4, 4, generator=generator) < 0.6)
    chance[:, torch.arange(4), torch.arange(4)] += 0.1
    chance = chance / chance.sum(-1, keepdim=True)
    pay = torch.arange(48.0).view(3, 4, 4)
    if sparse:
        chance, pay = chance.to_sparse_coo(), pay.to_sparse_coo()
    return MDP(chance, pay, 0.9, start=torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64))


@pytest.mark.parametrize("sparse", [False, True])
def test_outcomes_come_as_often_as_p_says_and_pay_what_they_ought(sparse):
    """400,000 steps. Of 12 rows by χ² and 37 outcomes at most: a false alarm in 10⁵ (each quantile
    at 1 − 10⁻⁶).
    """
    mdp = random_process(sparse)
    world = MDPWorld(mdp, 4000)
    state = world.reset(1)
    assert world.observation == Choices((4,))
    assert world.action == Choices((3,))
    count = torch.zeros(3, 4, 4, dtype=torch.float64)
    first = torch.bincount(state, minlength=4).double()
    generator = torch.Generator().manual_seed(2)
    for _ in range(100):
        action = torch.randint(3, (4000,), generator=generator)
        after = world.step(action)
        assert not after.terminated.any()
        assert not after.truncated.any()
        assert torch.equal(after.reward, (action * 16 + state * 4 + after.obs).float())
        count.index_put_(
            (action, state, after.obs), torch.ones((), dtype=torch.float64), accumulate=True
        )
        state = after.obs
    chance = mdp.dense()
    assert (count[chance == 0] == 0).all()
    expected = chance * count.sum(-1, keepdim=True)
    squares = torch.where(
        chance > 0, (count - expected) ** 2 / expected.clamp(min=1e-300), 0.0
    ).sum(-1)
    # Quantiles of χ² at 1 − 10⁻⁶ for 1, 2 and 3 degrees of freedom; a row with one outcome has no
    # spread.
    limit = torch.tensor([1e-9, 23.93, 27.63, 30.66])[(chance > 0).sum(-1) - 1]
    assert (squares < limit).all()
    assert (((first - 4000 * mdp.start) ** 2 / (4000 * mdp.start)).sum() < 30.66).item()


def corridor(length: int) -> MDP:
    """One action, which leads on to the end and pays 1 a step."""
    go = torch.zeros(1, length + 1, length + 1)
    go[0, torch.arange(length), torch.arange(1, length + 1)] = 1.0
    go[0, length, length] = 1.0
    pay = torch.ones(length + 1, 1)
    pay[length] = 0.0
    end = torch.arange(length + 1) == length
    return MDP(go, pay, 1.0, terminal=end, start=(torch.arange(length + 1) == 0).double())


def test_ends_and_beginnings():
    world = MDPWorld(corridor(3), 2)
    assert world.reset(0).tolist() == [0, 0]
    seen = [world.step(torch.zeros(2, dtype=torch.long)) for _ in range(6)]
    assert [step.obs[0].item() for step in seen] == [1, 2, 3, 0, 1, 2]
    assert [step.reward[0].item() for step in seen] == [1, 1, 1, 0, 1, 1]
    assert [step.terminated[0].item() for step in seen] == [False, False, True, False, False, False]
    assert not any(step.truncated.any() for step in seen)


@pytest.mark.parametrize(("limit", "ends"), [(2, [1, 4, 7]), (3, [])])
def test_time_is_up(limit, ends):
    """An end on the last step of the limit is an end, not a cut."""
    world = MDPWorld(corridor(3), 1, time_limit=limit)
    world.reset(0)
    seen = [world.step(torch.zeros(1, dtype=torch.long)) for _ in range(9)]
    assert [t for t, step in enumerate(seen) if step.truncated] == ends
    if ends:
        assert [step.obs.item() for step in seen[:3]] == [1, 2, 0]
        assert [step.reward.item() for step in seen[:3]] == [1, 1, 0]
    else:
        assert [t for t, step in enumerate(seen) if step.terminated] == [2, 6]


def test_signs_are_drawn_from_the_state():
    """100,000 draws of a sign with chance 0.3: within 4.5 standard deviations, a false alarm in
    10⁵.
    """
    emission = torch.tensor([[1.0, 0, 0]] * 3 + [[0.0, 0.7, 0.3]])
    world = MDPWorld(Pomdp(corridor(3), emission), 100_000)
    assert world.observation == Choices((3,))
    assert not world.reset(0).any()
    for _ in range(2):
        assert not world.step(torch.zeros(100_000, dtype=torch.long)).obs.any()
    last = world.step(torch.zeros(100_000, dtype=torch.long))
    assert last.terminated.all()
    assert set(last.obs.tolist()) == {1, 2}
    assert abs((last.obs == 2).double().mean().item() - 0.3) < 4.5 * (0.3 * 0.7 / 100_000) ** 0.5


@pytest.mark.parametrize("hidden", [False, True])
def test_goes_on_bit_for_bit_through_a_file(hidden):
    mdp = random_process(True)
    process = Pomdp(mdp, torch.full((4, 5), 0.2, dtype=torch.float64)) if hidden else mdp
    actions = torch.randint(3, (40, 6), generator=torch.Generator().manual_seed(0))
    world, other = (MDPWorld(process, 6, time_limit=7) for _ in range(2))
    seen = world.reset(3)
    for action in actions[:21]:  # some copies have just been cut
        seen = world.step(action).obs
    plain, tensors = flatten(world.state_dict())
    state = unflatten(
        json.loads(json.dumps(plain)), {name: tensor.clone() for name, tensor in tensors.items()}
    )
    other.reset(99)
    assert torch.equal(other.load_state_dict(state), seen)
    for action in actions[21:]:
        for mine, theirs in zip(world.step(action), other.step(action), strict=True):
            assert torch.equal(mine, theirs)


def test_bad_input():
    with pytest.raises(UserError, match="time_limit is 0"):
        MDPWorld(corridor(3), 1, time_limit=0)
    world = MDPWorld(corridor(3), 2, name="corridor")
    world.reset(0)
    for action in ([0, 1], [-1, 0]):
        with pytest.raises(UserError, match=r"corridor was told .* give 0 to 0"):
            world.step(torch.tensor(action))
