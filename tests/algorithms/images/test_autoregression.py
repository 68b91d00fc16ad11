"""Every model that says a picture number by number learns a distribution that is known, in pieces
as at once, and goes on from its state as if it had never stopped; what is counted as well.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.algorithms.images.autoregression import Autoregression
from fledge.algorithms.registry import find_entry
from fledge.images.pictures import PictureSet, make_set
from fledge.learner import USUAL, Learner
from fledge.runs.state import flatten, unflatten
from fledge.sample.pictures import OnePass, PictureBatches
from fledge.schedule import Schedule
from fledge.stopwatch import Stopwatch

SMALL: dict[str, dict[str, Any]] = {
    "nade": {"width": 16},
    "made": {"width": 32, "layers": 1, "masks": 2},
    "wavenet": {"width": 12},
    "pixelcnn": {"width": 8, "layers": 2, "reach": 1},
    "pixel_lstm": {"width": 16},
    "pixel_transformer": {"width": 16, "heads": 2, "layers": 1},
}
COUNTED = ("histogram", "chow_liu")
FLIPPED = 0.1


def draw_copies(count: int) -> Tensor:
    """2 × 2 of two levels: a fair coin, of which the other three are copies, each turned over with
    one chance in ten.
    """
    random = torch.Generator().manual_seed(0)
    coin = torch.randint(2, (count, 1), generator=random)
    turned = torch.rand(count, 3, generator=random) < FLIPPED
    x = torch.cat([coin, coin ^ turned.long()], 1)
    return x.to(torch.uint8).view(-1, 1, 2, 2)


def true_log_prob(x: Tensor) -> Tensor:
    turned = (x.flatten(1)[:, 1:] != x.flatten(1)[:, :1]).sum(1)
    return math.log(0.5) + turned * math.log(FLIPPED) + (3 - turned) * math.log(1 - FLIPPED)


def some_pictures(x: Tensor, levels: int = 2) -> PictureSet:
    return make_set(x, None, levels, (), "drawn")


def plain_descent(named: Any, rate: float) -> torch.optim.Optimizer:
    """Weights move by the gradient: Adam would divide what is 0 but for rounding by its size."""
    return torch.optim.SGD([weight for _, weight in named], rate)


def make(
    name: str, given: PictureSet, pieces: int | None = None, optimizer: Any = USUAL, **fields: Any
) -> Any:
    entry = find_entry("images", name)
    settings = entry.settings("images").replace(**{**SMALL.get(name, {}), **fields})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = entry.algorithm.build(settings, given.shape)

    def make_learner(module: Any) -> Learner:
        schedule = Schedule(1e-2, 1000, 5, "constant")
        return Learner(module, schedule, rows_per_micro_batch=pieces, optimizer=optimizer)

    return entry.algorithm(settings, model, make_learner, 5, Stopwatch())


@pytest.mark.parametrize("name", SMALL)
def test_it_learns_a_distribution_that_is_known(name: str) -> None:
    given = some_pictures(draw_copies(2000))
    algorithm, batches = make(name, given), PictureBatches(given, 100, 0)
    for _ in range(100):
        algorithm.update(next(batches))
    every = torch.cartesian_prod(*[torch.arange(2)] * 4).to(torch.uint8).view(-1, 1, 2, 2)
    truth = true_log_prob(every)
    with torch.no_grad():
        said = -algorithm.model.nats(some_pictures(every).rows)
    # 2,000 pictures leave 15 / 4,000 nats of KL to what was drawn of them; untrained: 1.02
    assert float((truth.exp() * (truth - said)).sum()) < 0.03


@pytest.mark.parametrize("name", SMALL)
def test_it_begins_at_the_histogram(name: str) -> None:
    """What a place shows by itself is counted before anything learns."""
    random = torch.Generator().manual_seed(0)
    x = (torch.rand(60, 1, 3, 4, generator=random) * torch.tensor([1.0, 2, 3, 3])).to(torch.uint8)
    given = some_pictures(x, 3)
    kind: Any = find_entry("images", name).algorithm
    model = kind.build_for(kind.Settings(**SMALL[name]), given)
    counted = make("histogram", given, add=1.0)
    counted.update(given.rows)
    with torch.no_grad():
        nats = model.nats(given.rows)
    assert torch.allclose(nats, counted.model.nats(given.rows).float(), atol=1e-4)


@pytest.mark.parametrize("name", COUNTED)
def test_what_is_counted_needs_one_pass(name: str) -> None:
    given = some_pictures(draw_copies(2000))
    algorithm, once = make(name, given), OnePass(given, 300)
    assert once.batches == 7
    for _ in range(once.batches):
        algorithm.update(next(once))
    nats = float(algorithm.model.nats(given.rows).mean())
    if name == "histogram":
        assert nats == pytest.approx(4 * math.log(2), abs=0.01)
    else:
        assert nats == pytest.approx(-float(true_log_prob(given.rows.x).mean()), abs=0.01)


@pytest.mark.parametrize("name", ["made", "pixelcnn", "pixel_transformer"])
def test_a_step_is_the_same_in_pieces(name: str) -> None:
    given = some_pictures(torch.randint(3, (40, 1, 3, 4), dtype=torch.uint8), 3)
    weights = []
    for pieces in (None, 3):
        algorithm = make(name, given, pieces, plain_descent)
        batches = PictureBatches(given, 8, 0)
        figures = [algorithm.update(next(batches)) for _ in range(3)]
        weights.append((figures, algorithm.model.state_dict()))
    (figures, whole), (in_pieces, cut) = weights
    assert [f["loss"] for f in figures] == pytest.approx([f["loss"] for f in in_pieces], rel=1e-5)
    for key in whole:
        assert torch.allclose(whole[key].float(), cut[key].float(), atol=1e-6), key


@pytest.mark.parametrize("name", [*SMALL, *COUNTED])
def test_it_goes_on_from_its_state(name: str) -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randint(3, (90, 1, 3, 4), generator=random).to(torch.uint8)
    given = some_pictures(x, 3)

    def start() -> tuple[Any, Any]:
        batches = OnePass(given, 20) if name in COUNTED else PictureBatches(given, 20, 3)
        return make(name, given), batches

    whole, sampler = start()
    straight = [whole.update(next(sampler)) for _ in range(5)]
    first, before = start()
    figures = [first.update(next(before)) for _ in range(2)]
    state = unflatten(*flatten({"a": first.state_dict(), "s": before.state_dict()}))
    second, after = start()
    second.load_state_dict(state["a"])
    after.load_state_dict(state["s"])
    figures += [second.update(next(after)) for _ in range(3)]
    assert figures == straight
    wanted, got = whole.model.state_dict(), second.model.state_dict()
    assert wanted.keys() == got.keys()
    assert all(torch.equal(wanted[key], got[key]) for key in wanted)


def test_masks_learn_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    given = some_pictures(draw_copies(40))
    algorithm, batches = make("made", given, masks=3), PictureBatches(given, 10, 0)
    asked: list[int] = []
    true = algorithm.model.logits
    monkeypatch.setattr(
        algorithm.model, "logits", lambda x, draw: (asked.append(draw), true(x, draw))[1]
    )
    for _ in range(4):
        algorithm.update(next(batches))
    assert asked == [0, 1, 2, 0]


def test_the_upper_half_is_kept() -> None:
    given = some_pictures(torch.randint(3, (40, 1, 4, 4), dtype=torch.uint8), 3)
    algorithm: Autoregression = make("pixelcnn", given)
    (sheet,) = algorithm.draw_sheets(given, torch.Generator().manual_seed(0))
    x = sheet.x.unflatten(0, (4, 8))
    assert torch.equal(x[:, 0], given.rows.x[[0, 13, 26, 39]])  # from all over them
    assert bool((x[:, :, :, :2] == x[:, :1, :, :2]).all())
    assert not bool((x[:, :, :, 2:] == x[:, :1, :, 2:]).all())
    assert make("made", given, shuffled=True).draw_sheets(given, torch.Generator()) == []
