"""How a model of the next frame is judged, with the true world in the model's place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fledge.images.pictures import centre
from fledge.recipes.images.next_frames import (
    measure_frames,
    place_of_colour,
    plan_in_mazes,
    reward_of,
)
from fledge.worlds.filmed import (
    CELL,
    CELLS,
    FLOOR_COLOUR,
    WALKER_COLOUR,
    draw_maze,
    film_gridworld,
    make_maze,
)

MOVES = torch.tensor([(-1, 0), (0, 1), (1, 0), (0, -1)])


class TrueMazes(torch.nn.Module):
    """Moves the walker's disc on the picture itself, read cell by cell."""

    actions = 4

    def __init__(self) -> None:
        super().__init__()
        self.shape = film_gridworld(1, 2, 0).shape
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        maze, goal, _ = make_maze(torch.Generator().manual_seed(0))
        state = int(maze.number.max()) - (goal == int(maze.number.max()))
        self.disc = (
            (draw_maze(maze, goal, state) == torch.tensor(WALKER_COLOUR)[:, None, None])
            .all(0).view(CELLS, CELL, CELLS, CELL).permute(0, 2, 1, 3).flatten(0, 1)
        )  # fmt: skip
        self.disc = self.disc[self.disc.any(2).any(1)][0]

    def imagine(self, frame: Tensor, action: Tensor, generator: torch.Generator) -> Tensor:
        frame = frame.clone()
        for x, place, a in zip(frame, place_of_colour(frame, WALKER_COLOUR), action, strict=True):
            i, j = (place + MOVES[a]).tolist()
            if not (0 <= i < CELLS and 0 <= j < CELLS):
                continue
            new = x[:, CELL * i : CELL * (i + 1), CELL * j : CELL * (j + 1)]
            if (new == 120).all():
                continue
            k, m = place.tolist()
            old = x[:, CELL * k : CELL * (k + 1), CELL * m : CELL * (m + 1)]
            if (old[:, 0, 0] == torch.tensor([60, 200, 90])).all():
                continue  # at the goal it stays
            old[:] = torch.tensor(FLOOR_COLOUR)[:, None, None]
            new[:, self.disc] = torch.tensor(WALKER_COLOUR, dtype=torch.uint8)[:, None]
        return frame

    def roll_out(self, frame: Tensor, actions: Tensor, generator: torch.Generator) -> Tensor:
        frames = []
        for action in actions.T:
            frame = self.imagine(frame, action, generator)
            frames.append(frame)
        return torch.stack(frames, 1)


def test_the_true_world_has_no_error_and_other_actions_have() -> None:
    model: Any = TrueMazes()
    given = film_gridworld(30, 6, 5)
    figures = measure_frames(model, given, 0)
    before, after = (centre(given.rows.frames[:, t], 256) for t in (slice(5), slice(1, 6)))
    assert figures["next_error"] == 0
    assert abs(figures["copied_error"] - float(((before - after) ** 2).mean())) < 1e-8
    assert figures["shuffled_error"] > 0.5 * figures["copied_error"] > 0


def test_who_imagines_the_true_world_reaches_goals_that_chance_does_not(monkeypatch) -> None:
    monkeypatch.setattr("fledge.recipes.images.next_frames.TRIED", 4)
    model: Any = TrueMazes()
    monkeypatch.setattr(model, "roll_out", quick(model))
    reached = plan_in_mazes(model, 0)
    assert reached["planned"] == 1
    assert reached["random"] < 0.8


def quick(model: TrueMazes) -> Any:
    """The same, each different frame and action asked about once."""
    known: dict[tuple[bytes, int], Tensor] = {}

    def roll_out(frame: Tensor, actions: Tensor, generator: torch.Generator) -> Tensor:
        rows = []
        for x, row in zip(frame, actions.tolist(), strict=True):
            seen = []
            for a in row:
                key = x.numpy().tobytes(), a
                if key not in known:
                    known[key] = model.imagine(x[None], torch.tensor([a]), generator)[0]
                x = known[key]
                seen.append(x)
            rows.append(torch.stack(seen))
        return torch.stack(rows)

    return roll_out


def test_reward_is_read_from_pixels() -> None:
    maze, goal, distance = make_maze(torch.Generator().manual_seed(1))
    far = int(distance.masked_fill(distance.isinf(), -1).argmax())
    read = reward_of(draw_maze(maze, goal, far))
    near = int((distance == 1).nonzero()[0])
    frames = torch.stack([draw_maze(maze, goal, at) for at in (far, near, goal)])[None]
    value = read(frames)[0]
    assert value[2] == 1
    assert abs(float(value[1]) + 0.01) < 1e-6
    assert value[0] < value[1]
