"""What is drawn from a memory is what happened: the true next observation, returns that stop where
episodes do, the stated frequencies.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.errors import UserError
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.replay import Replay, Surprise, Transitions
from fledge.trajectories import Trajectories
from tests.subjects import come_as_often_as, seeded

GAMMA = 0.9


def replay(capacity: int = 60, surprise: Surprise | None = None, seed: int = 0) -> Replay:
    return Replay(capacity, generator=seeded(seed), surprise=surprise)


@dataclass
class Moment:
    """What a copy saw, did and got; `seen` is the number of an observation that no other step
    has.
    """

    seen: int
    action: int
    reward: float
    terminated: bool
    ended: bool
    chosen: bool
    after: int


def batches(
    copies: int, steps: list[int], seed: int, breaks: frozenset[int] = frozenset()
) -> tuple[list[Trajectories], list[list[Moment]]]:
    """Batches that go on from one to the next but before those in `breaks`, and the same as one
    history for each copy.

    After an end the next step only begins anew; what stands in it is NaN. Where the history breaks
    it has a moment of nothing.
    """
    random = seeded(seed)
    number = iter(range(1, 100_000))
    history: list[list[Moment]] = [[] for _ in range(copies)]
    seen, over = [next(number) for _ in range(copies)], [False] * copies
    made: list[Trajectories] = []
    for b, length in enumerate(steps):
        if b in breaks:
            for i in range(copies):
                history[i].append(Moment(seen[i], 0, 0.0, False, False, False, -1))
                seen[i], over[i] = next(number), False
        rows: list[list[Moment]] = [[] for _ in range(copies)]
        for _ in range(length):
            for i in range(copies):
                chosen, after = not over[i], next(number)
                how = int(torch.randint(8, (), generator=random)) if chosen else 2
                reward = float(torch.randn((), generator=random)) if chosen else float("nan")
                action = int(torch.randint(3, (), generator=random))
                rows[i].append(Moment(seen[i], action, reward, how == 0, how <= 1, chosen, after))
                seen[i], over[i] = after, how <= 1
        for i in range(copies):
            history[i] += rows[i]
        field = lambda name: [[getattr(m, name) for m in row] for row in rows]  # noqa: B023, E731
        obs = torch.tensor(
            [[row[0].seen, *(m.after for m in row)] for row in rows], dtype=torch.float32
        )
        terminated = torch.tensor(field("terminated"))
        made.append(
            Trajectories(
                obs[..., None].expand(-1, -1, 2).contiguous(),
                torch.tensor(field("action")),
                torch.tensor(field("chosen")),
                torch.tensor(field("reward")),
                terminated,
                torch.tensor(field("ended")) & ~terminated,
            )
        )
    return made, history


def by_hand(row: list[Moment], t: int, n_step: int) -> tuple[int, float, int, float, bool]:
    """Action, Σ γ^i r_i, the last observation's number, γ^k and whether the world ended there, step
    by step.
    """
    total, k = 0.0, 0
    while True:
        total += GAMMA**k * row[t + k].reward
        k += 1
        last = row[t + k - 1]
        if k == n_step or last.ended or t + k == len(row) or not row[t + k].chosen:
            return row[t].action, total, last.after, GAMMA**k, last.terminated


def agrees(drawn: Transitions, held: dict[int, tuple[list[Moment], int]], n_step: int) -> None:
    for i in range(len(drawn)):
        row, t = held[int(drawn.obs[i, 0])]
        action, total, after, discount, terminated = by_hand(row, t, n_step)
        assert torch.equal(drawn.obs[i], torch.full((2,), float(row[t].seen)))
        assert int(drawn.action[i]) == action
        assert float(drawn.reward[i]) == pytest.approx(total, rel=1e-5, abs=1e-6)
        assert torch.equal(drawn.next_obs[i], torch.full((2,), float(after)))
        assert float(drawn.discount[i]) == pytest.approx(discount, rel=1e-6)
        assert bool(drawn.terminated[i]) == terminated


@settings(deadline=None, max_examples=60)
@given(
    copies=st.integers(1, 3),
    steps=st.lists(st.integers(1, 7), min_size=1, max_size=9),
    breaks=st.frozensets(st.integers(1, 8), max_size=2),
    room=st.integers(8, 40),
    n_step=st.integers(1, 5),
    by_surprise=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_every_step_that_is_held_comes_out_as_the_history_says(
    copies: int,
    steps: list[int],
    breaks: frozenset[int],
    room: int,
    n_step: int,
    by_surprise: bool,
    seed: int,
) -> None:
    """Against a double loop over the last `room` moments of each copy, for ends, resets, breaks,
    and a memory that goes round.
    """
    made, history = batches(copies, steps, seed, breaks)
    memory = replay(room * copies, Surprise() if by_surprise else None)
    pushed = [memory.push(batch) for batch in made]
    assert pushed == [int(batch.chosen.sum()) for batch in made]
    held = {
        row[t].seen: (row, t)
        for row in history
        for t in range(max(0, len(row) - room), len(row))
        if row[t].chosen
    }
    assert len(memory) == len(held)
    drawn = memory.draw(32 * len(held), GAMMA, n_step)
    agrees(drawn, held, n_step)
    # all are equally likely, and one comes from each of 32 parts of every step's share
    if by_surprise:
        assert {int(x) for x in drawn.obs[:, 0]} == held.keys()


def test_the_next_observation_of_an_end_is_the_true_last_one() -> None:
    """Written out: the world ends at 12, the next step only begins anew at 20, and time is up at
    21.
    """
    obs = torch.tensor([[10.0, 11, 12, 20, 21, 30, 31]])
    false = torch.zeros(1, 6, dtype=torch.bool)
    chosen, terminated, truncated = ~false, false.clone(), false.clone()
    terminated[0, 1] = truncated[0, 3] = True
    chosen[0, 2] = chosen[0, 4] = False
    memory = replay()
    memory.push(
        Trajectories(obs, torch.zeros(1, 6), chosen, torch.ones(1, 6), terminated, truncated)
    )
    drawn = memory.draw(400, GAMMA)  # each of 4 is missed with probability 0.75^400
    steps = {
        (float(a), float(b), bool(c))
        for a, b, c in zip(drawn.obs, drawn.next_obs, drawn.terminated, strict=True)
    }
    assert steps == {(10, 11, False), (11, 12, True), (20, 21, False), (30, 31, False)}


def test_an_end_stops_returns_even_where_a_world_that_looks_the_same_begins_at_once() -> None:
    """After a resumption that begins anew there is no step that only does so, and a world of one
    observation shows no break.
    """
    no, yes = torch.tensor([[False, False]]), torch.tensor([[True, True]])
    first = Trajectories(
        torch.zeros(1, 3),
        torch.zeros(1, 2),
        yes,
        torch.tensor([[1.0, 2.0]]),
        no,
        torch.tensor([[False, True]]),
    )
    memory = replay()
    memory.push(first)
    memory.push(
        Trajectories(
            torch.zeros(1, 3), torch.zeros(1, 2), yes, torch.tensor([[40.0, 80.0]]), no, no
        )
    )
    drawn = memory.draw(400, 1.0, 4)  # each of 4 is missed with probability 0.75^400
    assert set(drawn.reward.tolist()) == {3.0, 2.0, 120.0, 80.0}


def test_steps_are_drawn_equally_often() -> None:
    """χ² of 20,000 draws from the chosen ones of 30 steps, where 18 have been forgotten; false
    alarm 1 in 10,000.
    """
    made, history = batches(2, [7, 9, 8], seed=3)
    memory = replay(30)
    for batch in made:
        memory.push(batch)
    held = [row[t].seen for row in history for t in range(len(row) - 15, len(row)) if row[t].chosen]
    count = Counter(int(x) for x in memory.draw(20_000, GAMMA).obs[:, 0])
    come_as_often_as({seen: 1 / len(held) for seen in held}, count)


@pytest.mark.parametrize("rows", [1, 16])
def test_steps_are_drawn_in_proportion_to_their_surprise(rows: int) -> None:
    """χ² of 16,000 draws against (|δ| + ε)^α written out, one at a time and 16 at once; false alarm
    at most 1 in 10,000.

    16 at once are spread more evenly than independent draws, which only makes the statistic
    smaller.
    """
    made, history = batches(2, [12], seed=5)
    memory = replay(30, Surprise(alpha=0.7))
    memory.push(made[0])
    seen = [m.seen for row in history for m in row if m.chosen]
    error = {name: 0.1 * 2.0 ** (i % 6) for i, name in enumerate(seen)}
    first = memory.draw(500, GAMMA)
    assert {int(x) for x in first.obs[:, 0]} == set(seen)  # equal at first
    memory.surprised(first.index, torch.tensor([error[int(x)] for x in first.obs[:, 0]]))
    worth = {name: (e + 1e-6) ** 0.7 for name, e in error.items()}
    total = sum(worth.values())
    count: Counter[int] = Counter()
    for _ in range(16_000 // rows):
        count.update(int(x) for x in memory.draw(rows, GAMMA).obs[:, 0])
    come_as_often_as({name: w / total for name, w in worth.items()}, count)


def test_importance_weights_are_those_of_the_formula_and_beta_rises_to_1() -> None:
    """(N·P)^−β over the largest of the draw (Schaul et al. 2016, §3.4): β is 0.4 + 0.6 × the share
    of the run that is gone.
    """
    made, _ = batches(1, [6], seed=2)
    memory = replay(20, Surprise(alpha=1.0, beta=0.4))
    memory.push(made[0])
    drawn = memory.draw(200, GAMMA)
    assert torch.equal(drawn.weight, torch.ones(200))
    memory.surprised(drawn.index, drawn.index + 1.0)
    for gone, beta in ((0.0, 0.4), (0.5, 0.7), (0.75, 0.85), (1.0, 1.0), (1.5, 1.0)):
        drawn = memory.draw(200, GAMMA, gone=gone)
        worth = (drawn.index + 1.0 + 1e-6).double()
        expected = (worth / worth.min()) ** -beta  # N and ΣP cancel
        torch.testing.assert_close(drawn.weight.double(), expected, rtol=1e-6, atol=0)


def test_surprise_is_by_default_the_source_s() -> None:
    """α = 0.6 and β₀ = 0.4 (Schaul et al. 2016, §4, the proportional variant)."""
    made, _ = batches(1, [6], seed=2)
    memory = replay(20, Surprise())
    memory.push(made[0])
    index = memory.draw(200, GAMMA).index.unique()
    memory.surprised(index, index + 1.0)
    priority = (index.double() + 1 + 1e-6) ** 0.6
    assert memory.priorities is not None
    assert memory.priorities.numbers[index.numpy()] == pytest.approx(priority.numpy(), rel=1e-12)
    drawn = memory.draw(200, GAMMA)
    worth = (drawn.index.double() + 1 + 1e-6) ** 0.6
    expected = (worth / worth.min()) ** -0.4
    torch.testing.assert_close(drawn.weight.double(), expected, rtol=1e-6, atol=0)


def test_a_new_step_is_as_likely_as_the_likeliest_ever_was() -> None:
    made, _ = batches(1, [6, 5], seed=2)
    memory = replay(40, Surprise(alpha=1.0))
    memory.push(made[0])
    memory.surprised(torch.tensor([0, 1]), torch.tensor([9.0, 0.5]))
    memory.surprised(torch.tensor([0]), torch.tensor([2.0]))
    memory.push(made[1])
    assert memory.priorities is not None
    new = made[1].chosen[0].nonzero().squeeze(1) + 6
    assert memory.priorities.numbers[new.numpy()] == pytest.approx([9.0] * len(new), rel=1e-6)
    assert memory.priorities.numbers[:2] == pytest.approx([2.0, 0.5], rel=1e-5)


@pytest.mark.parametrize("by_surprise", [False, True])
@pytest.mark.parametrize("before", [0, 2, 8])
def test_a_saved_memory_goes_on_with_the_same_bits(
    by_surprise: bool, before: int, tmp_path: Path
) -> None:
    """Through a checkpoint on disk: empty, half full, gone round; then two batches and draws of
    both kinds more.
    """
    made, _ = batches(2, [6] * 10, seed=1, breaks=frozenset({5}))
    straight, resumed = (replay(60, Surprise() if by_surprise else None, seed=s) for s in (0, 1))
    for batch in made[:before]:
        straight.push(batch)
        drawn = straight.draw(8, GAMMA)
        straight.surprised(drawn.index, 5 * torch.rand(8, generator=seeded(2)))
    save_state(tmp_path / "state", straight.state_dict())
    resumed.load_state_dict(load_state(tmp_path / "state"))
    for batch in made[before : before + 2]:
        for memory in (straight, resumed):
            memory.push(batch)
        for n_step in (1, 3):
            a, b = (memory.draw(64, GAMMA, n_step) for memory in (straight, resumed))
            assert all(
                torch.equal(x, y) for (_, x), (_, y) in zip(a.items(), b.items(), strict=True)
            )
            straight.surprised(a.index, a.reward)
            resumed.surprised(b.index, b.reward)


def test_pictures_stay_bytes_and_take_the_memory_that_is_stated() -> None:
    false = torch.zeros(2, 5, dtype=torch.bool)
    pictures = torch.randint(0, 256, (2, 6, 4, 9, 9), generator=seeded(0), dtype=torch.uint8)
    batch = Trajectories(
        pictures, torch.zeros(2, 5, dtype=torch.long), ~false, torch.zeros(2, 5), false, false
    )
    memory = replay(1000)
    memory.push(batch)
    drawn = memory.draw(50, GAMMA)
    assert drawn.obs.dtype == drawn.next_obs.dtype == torch.uint8
    known = {picture.numpy().tobytes() for picture in pictures.flatten(0, 1)}
    assert all(picture.numpy().tobytes() in known for picture in drawn.obs)
    arrays = (
        memory.obs,
        memory.action,
        memory.reward,
        memory.chosen,
        memory.terminated,
        memory.ended,
        memory.order,
    )
    # 2: one more slot for each copy
    assert sum(array.nbytes for array in arrays) == (1000 + 2) * (4 * 9 * 9 + 8 + 15)


def test_what_does_not_fit_is_refused() -> None:
    made, _ = batches(2, [5, 5], seed=0)
    memory = replay(20)
    with pytest.raises(ValueError, match="nothing has been pushed"):
        memory.draw(1, GAMMA)
    with pytest.raises(UserError, match=r"5 steps in 2 copies.*`capacity` is 10.*12 or more"):
        replay(10).push(made[0])
    replay(12).push(made[0])
    memory.push(made[0])
    with pytest.raises(UserError, match="a memory of its own"):
        memory.push(made[1][:1])
    with pytest.raises(UserError, match=r"GiB, and this machine has .* Lower `capacity`"):
        replay(10**16).push(made[0])
    state = copy.deepcopy(memory.state_dict())
    with pytest.raises(UserError, match="`capacity` is 30, that of the saved memory 20"):
        replay(30).load_state_dict(state)


@pytest.mark.parametrize("surprise", [None, Surprise()])
def test_the_memory_that_a_capacity_wants_is_what_its_docstring_says(
    surprise: Surprise | None,
) -> None:
    """An observation, an action and 15 bytes a step; 32 more where it is drawn by surprise."""
    rows, _ = batches(1, [6], seed=2)
    held = rows[0].obs[0, 0].numpy().nbytes + rows[0].action[0, 0].numpy().nbytes
    wanted = (10**12 + 1) * (held + (15 if surprise is None else 47)) / 2**30
    with pytest.raises(UserError, match=f"they want {wanted:,.1f} GiB"):
        replay(10**12, surprise).push(rows[0])
