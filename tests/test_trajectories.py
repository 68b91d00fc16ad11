"""Rows in, rows out: what a batch says about its steps is what was put into it."""

from __future__ import annotations

import pytest
import torch

from fledge.trajectories import Pairs, Sampled, Trajectories, Weighed, WeighedSamples, from_rows

ROWS = [[1, 9, 7, 2], [1, 8, 2], [1, 5, 6, 7, 8, 2]]
CHOSEN = [[False, False, True, True], [False, True, True], [False] * 3 + [True] * 3]


def test_rows_are_padded_on_the_right_and_their_masks_come_from_lengths() -> None:
    batch = from_rows(ROWS, CHOSEN, pad=2)  # padded with the stop token: it must not become one
    assert batch.obs.tolist() == [[1, 9, 7, 2, 2, 2], [1, 8, 2, 2, 2, 2], [1, 5, 6, 7, 8, 2]]
    assert torch.equal(batch.action, batch.obs[:, 1:])
    assert batch.chosen.sum(1).tolist() == [2, 2, 3]
    assert batch.terminated.nonzero().tolist() == [[0, 2], [1, 1], [2, 4]]
    assert not batch.truncated.any()
    assert not batch.reward.any()


def test_the_action_of_a_step_is_the_token_that_was_chosen_there() -> None:
    batch = from_rows(ROWS, CHOSEN)
    for row, own, action, chosen in zip(ROWS, CHOSEN, batch.action, batch.chosen, strict=True):
        assert action[chosen].tolist() == [
            token for token, mine in zip(row, own, strict=True) if mine
        ]


def test_the_pad_value_decides_nothing_but_what_is_written_there() -> None:
    a, b = from_rows(ROWS, CHOSEN, pad=0), from_rows(ROWS, CHOSEN, pad=5)
    for name in ("chosen", "reward", "terminated", "truncated"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert a.last().tolist() == b.last().tolist() == [3, 2, 5]


def test_trim_loses_only_steps_that_nobody_chose() -> None:
    batch = from_rows(ROWS, CHOSEN)[:2]
    short = batch.trim()
    assert short.chosen.shape == (2, 3)
    assert short.obs.shape == (2, 4)
    assert short.chosen.sum() == batch.chosen.sum()
    assert torch.equal(short.last(), batch.last())
    assert short.trim() is short


def test_cut_keeps_what_the_last_step_led_to() -> None:
    batch = WeighedSamples.of(
        from_rows(ROWS, CHOSEN), weight=torch.ones(3, 5), logp=torch.ones(3, 5)
    )
    short = batch.cut(2)
    assert short.obs.tolist() == batch.obs[:, :3].tolist()
    assert short.action.tolist() == short.obs[:, 1:].tolist()
    assert short.weight.shape == short.logp.shape == short.chosen.shape == (3, 2)
    assert batch.cut(5) is batch


def test_trim_keeps_a_step_where_nobody_chose_any() -> None:
    batch = from_rows([[1, 2, 3]], [[False] * 3])
    assert batch.trim().chosen.shape == (1, 1)


def test_rows_are_taken_by_slice_number_and_mask_in_every_field() -> None:
    batch = from_rows(ROWS, CHOSEN).replace(logp=torch.randn(3, 5), group=torch.tensor([4, 5, 6]))
    for rows in (slice(1, 3), torch.tensor([1, 2]), torch.tensor([False, True, True])):
        part = batch[rows]
        assert len(part) == 2
        for name, value in batch.items():
            if value is not None:
                assert torch.equal(getattr(part, name), value[1:])


def test_the_longest_row_sets_the_width_and_pairs_keep_their_own() -> None:
    pairs = Pairs(
        from_rows(ROWS, CHOSEN), from_rows([row[:2] for row in ROWS], [own[:2] for own in CHOSEN])
    )
    assert len(pairs) == 3
    assert pairs[:1].trim().preferred.obs.shape[1] == 4
    assert pairs[:1].trim().rejected.obs.shape[1] == 2


@pytest.mark.parametrize("field", ["action", "reward", "terminated", "truncated", "logp", "weight"])
def test_a_field_of_another_shape_is_refused_by_name(field: str) -> None:
    batch = Weighed.of(from_rows(ROWS, CHOSEN), weight=torch.zeros(3, 5))
    with pytest.raises(ValueError, match=f"`{field}`"):
        batch.replace(**{field: torch.zeros(3, 4)})


def test_wrong_masks_observations_and_groups_are_refused() -> None:
    batch = from_rows(ROWS, CHOSEN)
    with pytest.raises(ValueError, match="`chosen`"):
        batch.replace(chosen=batch.chosen.long())
    with pytest.raises(ValueError, match="`obs`"):
        batch.replace(obs=batch.action)
    with pytest.raises(ValueError, match="`group`"):
        batch.replace(group=torch.zeros(2))
    with pytest.raises(ValueError, match="row 1 has 3 tokens but 2"):
        from_rows(ROWS[:2], [CHOSEN[0], CHOSEN[1][:2]])
    with pytest.raises(ValueError, match="no rows"):
        from_rows([], [])


def test_state_comes_back_as_it_was() -> None:
    batch = Weighed.of(from_rows(ROWS, CHOSEN), weight=torch.randn(3, 5))
    twin = Weighed.from_state(batch.state_dict())
    for name, value in batch.items():
        other = getattr(twin, name)
        assert other is None if value is None else torch.equal(other, value)


def test_what_is_added_is_cut_trimmed_and_taken_apart_with_the_rest() -> None:
    plain, weight = from_rows(ROWS, CHOSEN), torch.arange(15.0).view(3, 5)
    batch = WeighedSamples.of(plain, weight=weight, logp=-weight)
    short = batch[:2].trim()
    assert isinstance(short, WeighedSamples)
    assert short.weight.tolist() == [[0, 1, 2], [5, 6, 7]]
    steps = batch.as_steps()
    assert isinstance(steps, WeighedSamples)
    assert steps.weight.flatten().tolist() == [1, 2, 5, 6, 12, 13, 14]
    assert torch.equal(steps.logp, -steps.weight)
    assert steps.obs[:, 0].tolist() == [9, 7, 1, 8, 6, 7, 8]
    assert steps.obs[:, 1].tolist() == [7, 2, 8, 2, 7, 8, 2]


def test_rows_are_made_complete_or_not_at_all() -> None:
    plain = from_rows(ROWS, CHOSEN)
    with pytest.raises(ValueError, match="`logp` is not known"):
        Sampled.of(plain)
    with pytest.raises(TypeError, match="weight"):
        Weighed.of(plain)
    whole = Sampled.of(plain, logp=torch.zeros(3, 5))
    with pytest.raises(ValueError, match="`logp` is not known"):
        whole.replace(logp=None)
    assert plain.replace(logp=None).logp is None  # who only looks at rows need not know
    with pytest.raises(TypeError, match="loop"):
        Trajectories.from_state(plain.state_dict() | {"loop": torch.zeros(3, 5)})


def test_of_what_is_added_to_only_the_known_fields_are_kept() -> None:
    batch = WeighedSamples.of(
        from_rows(ROWS, CHOSEN), weight=torch.ones(3, 5), logp=torch.zeros(3, 5)
    )
    assert dict(Sampled.of(batch).items()).keys() == dict(from_rows(ROWS, CHOSEN).items()).keys()
    assert batch.to(torch.device("cpu")) is batch  # nothing moves, nothing is made


@pytest.mark.parametrize("number", [1, 2, 7, 1000])
@pytest.mark.parametrize("most", [0, 1, 2, 5, 1000])
def test_rows_that_are_spread_are_different_ones_evenly_apart(number: int, most: int) -> None:
    """The first is one of them, and no two neighbours lie further apart than others by two."""
    rows = from_rows([[place, 1] for place in range(number)], [[False, True]] * number)
    places = rows.spread(most).obs[:, 0]
    assert len(places) == min(number, most)
    if len(places) == number:
        assert places.tolist() == list(range(number))
    if len(places) > 1:
        apart = places.diff()
        assert apart.min() >= 1
        assert apart.max() - apart.min() <= 1
        assert (places[0], places[-1]) == (0, number - 1)
