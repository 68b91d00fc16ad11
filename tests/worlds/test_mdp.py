"""Tables of a process: dense and sparse say the same, what is no process is named, and a belief
follows Bayes' rule.
"""

from __future__ import annotations

import pytest
import torch

from fledge.errors import UserError
from fledge.worlds.mdp import MDP, Pomdp

# Action 0 stays; action 1 goes 0 → 1 → 2 with chance ¾; state 2 is the end.
STAY = torch.eye(3, dtype=torch.float64)
GO = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.25, 0.75], [0.0, 0.0, 1.0]], dtype=torch.float64)
P = torch.stack([STAY, GO])
PAID = torch.zeros(2, 3, 3, dtype=torch.float64)
PAID[1, 1, 2], PAID[1, 0, 1], PAID[0, 0, 0] = 8.0, 4.0, -1.0
END = torch.tensor([False, False, True])


def changed(at: tuple[int, int, int], value: float) -> torch.Tensor:
    table = P.clone()
    table[at] = value
    return table


def csr(table: torch.Tensor) -> torch.Tensor:
    return table.reshape(-1, table.shape[-1]).to_sparse_csr()


FORMS = {"dense": lambda x: x, "coo": lambda x: x.to_sparse_coo(), "csr": csr}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_p_is_the_same_process(form):
    mdp = MDP(FORMS[form](P), PAID if form == "dense" else PAID.to_sparse_coo(), 0.9, terminal=END)
    assert (mdp.states, mdp.actions, mdp.sparse) == (3, 2, form != "dense")
    assert torch.equal(mdp.dense(), P)
    # R[s, a] = Σ P·pay: in 0 staying costs 1, going earns ¾·4; in 1 going earns ¾·8.
    assert mdp.reward.tolist() == [[-1.0, 3.0], [0.0, 6.0], [0.0, 0.0]]
    row, after, chance = mdp.entries()
    assert row.tolist() == [0, 1, 2, 3, 3, 4, 4, 5]
    assert after.tolist() == [0, 1, 2, 0, 1, 1, 2, 2]
    assert chance.tolist() == [1, 1, 1, 0.25, 0.75, 0.25, 0.75, 1]
    assert mdp.payments().tolist() == [-1, 0, 0, 0, 4, 0, 8, 0]
    assert mdp.start.tolist() == [0.5, 0.5, 0.0]


def test_a_listed_chance_of_zero_and_single_precision_are_taken():
    listed = torch.sparse_coo_tensor(
        torch.tensor([[0, 0], [0, 0], [0, 0]]), [0.5, 0.5], (1, 1, 1), check_invariants=True
    )
    twice = MDP(listed, torch.zeros(1, 1), 0.5)
    assert twice.dense().tolist() == [[[1.0]]]
    zero = torch.sparse_coo_tensor(
        torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 1]]),
        [1.0, 0.0, 1.0],
        (1, 2, 2),
        check_invariants=True,
    )
    assert MDP(zero, torch.zeros(2, 1), 0.5).entries()[1].tolist() == [0, 1]
    nothing_paid = torch.zeros(1, 2, 2).to_sparse_coo()
    assert MDP(zero, nothing_paid, 0.5).payments().tolist() == [0.0, 0.0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("table", "message"),
    [
        (changed((1, 0, 0), 0.5), r"P\[1, 0\] adds up to 1.25"),
        (changed((1, 1, 2), -0.75), r"P\[1, 1, 2\] is -0.75"),
        (changed((1, 1, 1), float("nan")), r"P\[1, 1, 1\] is nan"),
        (changed((0, 1, 1), float("inf")), r"P\[0, 1, 1\] is inf"),
        (
            changed((1, 2, 2), 0.0) + changed((1, 2, 0), 1.0) - P,
            r"state 2 is terminal, but P\[1, 2\] leaves it",
        ),
    ],
)
def test_a_table_that_is_no_process_is_named(form, table, message):
    with pytest.raises(UserError, match=message):
        MDP(FORMS[form](table), PAID, 0.9, terminal=END)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transition": P[:, :2]}, r"\(2, 2, 3\): give \[A, S, S\]"),
        ({"transition": P[0]}, r"give \[A, S, S\]"),
        ({"transition": torch.zeros(0, 3, 3)}, r"give \[A, S, S\]"),
        ({"reward": torch.zeros(2, 3)}, r"the reward is \(2, 3\): give \[S, A\] = \(3, 2\)"),
        (
            {"reward": torch.tensor([[0.0, 0], [0, float("nan")], [0, 0]])},
            r"R\[1, 1\] \(state, action\) is no number",
        ),
        ({"reward": torch.ones(3, 2)}, r"R\[2, 0\] is 1, but state 2 is terminal"),
        ({"reward": PAID.where(PAID != 8, float("inf"))}, r"the reward\[1, 1, 2\]"),
        ({"reward": PAID.where(PAID != 8, float("inf")).to_sparse_coo()}, r"the reward\[1, 1, 2\]"),
        ({"gamma": 1.5}, "gamma is 1.5"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"terminal": torch.zeros(3)}, "terminal is torch.float32"),
        (
            {
                "terminal": torch.ones(3, dtype=torch.bool),
                "transition": torch.stack([STAY, STAY]),
            },
            "every state is terminal",
        ),
        ({"start": torch.tensor([0.5, 0.4, 0.0])}, r"adds up to 0\.8999999.*: give a distribution"),
        ({"start": torch.tensor([1.5, -0.5, 0.0])}, "give a distribution"),
        ({"start": torch.tensor([0.5, 0.0, 0.5])}, r"start\[2\] is 0.5, but state 2 is terminal"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(change, message):
    given = {
        "transition": P,
        "reward": torch.zeros(3, 2),
        "gamma": 0.9,
        "terminal": END,
        "start": None,
    } | change
    with pytest.raises(UserError, match=message):
        MDP(**given)


@pytest.mark.parametrize("form", FORMS)
def test_a_belief_follows_bayes_rule(form):
    """A sensor that says "end" in the end, and in 1 with chance ½: worked out by hand."""
    emission = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    mdp = MDP(
        FORMS[form](P), torch.zeros(3, 2), 0.9, terminal=END, start=torch.tensor([0.5, 0.5, 0.0])
    )
    pomdp = Pomdp(mdp, emission)
    first = pomdp.first_belief(torch.tensor([0, 1]))
    # Sign 0: ½·1 against ½·½; sign 1: only state 1 can have sent it.
    torch.testing.assert_close(
        first, torch.tensor([[2 / 3, 1 / 3, 0], [0, 1, 0]], dtype=torch.float64)
    )
    after = pomdp.next_belief(first, torch.tensor([1, 0]), torch.tensor([1, 1]))
    # Going from (⅔, ⅓, 0): (1/6, ½ + 1/12, ¼); times (0, ½, 1) is (0, 7/24, 6/24).
    torch.testing.assert_close(
        after, torch.tensor([[0, 7 / 13, 6 / 13], [0, 1, 0]], dtype=torch.float64)
    )
    with pytest.raises(UserError, match="sign 0 in row 1 cannot be seen"):
        pomdp.next_belief(
            torch.tensor([[1.0, 0, 0], [0, 0, 1]]).double(),
            torch.tensor([0, 0]),
            torch.tensor([0, 0]),
        )


def test_emissions_that_are_none_are_named():
    mdp = MDP(P, torch.zeros(3, 2), 0.9, terminal=END)
    with pytest.raises(UserError, match=r"\[S, O\] with S = 3"):
        Pomdp(mdp, torch.ones(2, 1))
    with pytest.raises(UserError, match=r"O\[1\] is no distribution, it adds up to 1\.1"):
        Pomdp(mdp, torch.tensor([[1.0, 0], [0.5, 0.6], [0, 1]]))
