"""A model of the next frame is judged by how far off it is, beside copying the frame before and
beside actions that were not done; and by what is reached when it is planned with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.evaluate.judge import Figures, Judge
from fledge.images.films import FilmSet
from fledge.images.pictures import centre
from fledge.models.images.next_frame import NextFrame
from fledge.plan.imagining import CrossEntropyPlanner
from fledge.seeds import generator_for
from fledge.splits import HeldOut
from fledge.worlds.filmed import (
    CELL,
    CELLS,
    GOAL_COLOUR,
    PREFIX,
    WALKER_COLOUR,
    draw_maze,
    make_maze,
)

MAZES = f"{PREFIX}gridworld"
MOST_ASKED, READ = 1000, 256  # pairs of frames, and how many at a time
TRIED, ALLOWED, FARTHEST = 20, 10, 5  # mazes, moves in each, steps from the goal at the start


def judge_frames(model: Callable[[], Any], parts: Mapping[Any, FilmSet], seed: int) -> Judge:
    """next_error: mean squared error of a number from −1 to 1, of one draw of the next frame.
    copied_error: of the frame before. shuffled_error: of a draw with the action of another pair.
    """

    def read(part: HeldOut, step: int) -> Figures:
        return measure_frames(model(), parts[part], seed)

    items: dict[HeldOut, int] = {part: len(parts[part]) for part in ("validation", "test")}
    return Judge(
        read, headline="next_error", lower_is_better=True, what="film", prefix="validation_",
        items=items,
    )  # fmt: skip


@torch.no_grad()
def measure_frames(model: NextFrame, given: FilmSet, seed: int) -> Figures:
    """Of neighbouring frames, evenly spread over the films."""
    model.eval()
    rows, levels = given.rows, model.shape.levels
    before, after = rows.frames[:, :-1].flatten(0, 1), rows.frames[:, 1:].flatten(0, 1)
    action = rows.action.flatten()
    if len(action) > MOST_ASKED:
        kept = torch.linspace(0, len(action) - 1, MOST_ASKED).round().long()
        before, after, action = before[kept], after[kept], action[kept]
    generator = generator_for(seed, "evaluation", "next frame")
    other = action[torch.randperm(len(action), generator=generator)]
    device = next(model.parameters()).device

    def imagine(said: Tensor) -> Tensor:
        return torch.cat([
            model.imagine(x.to(device), a.to(device), generator).cpu()
            for x, a in zip(before.split(READ), said.split(READ), strict=True)
        ])  # fmt: skip

    def error(x: Tensor) -> float:
        return float(((centre(x, levels) - centre(after, levels)) ** 2).double().mean())

    return {
        "next_error": error(imagine(action)),
        "copied_error": error(before),
        "shuffled_error": error(imagine(other)),
    }


@torch.no_grad()
def plan_in_mazes(model: NextFrame, seed: int) -> dict[str, float]:
    """The share of new mazes whose goal is reached in ten moves: by planning over imagined frames
    alone, and by moving at random. Neither the map nor the walker's place is told.
    """
    model.eval()
    random = generator_for(seed, "worlds", "planned mazes")
    draws = generator_for(seed, "actor", "planned mazes")
    planner = CrossEntropyPlanner(model.actions)
    reached = {"planned": 0, "random": 0}
    for _ in range(TRIED):
        maze, goal, distance = make_maze(random)
        near = (distance >= 3) & (distance <= FARTHEST)
        starts = near.nonzero()[:, 0]
        start = int(starts[torch.randint(len(starts), (1,), generator=random)])
        next_to = maze.neighbours()
        for way in reached:
            place = start
            for _ in range(ALLOWED):
                frame = draw_maze(maze, goal, place)
                if way == "planned":
                    reward = reward_of(frame)
                    action = planner.choose(frame, model.roll_out, reward, draws)
                else:
                    action = int(torch.randint(model.actions, (1,), generator=draws))
                place = int(next_to[action, place])
                if place == goal:
                    reached[way] += 1
                    break
    return {way: count / TRIED for way, count in reached.items()}


def reward_of(frame: Tensor) -> Callable[[Tensor], Tensor]:
    """1 where an imagined frame shows the walker in the cell that is the goal's in `frame`, read by
    its colours alone; a little for how near it is, so that far goals pull too.
    """
    goal = place_of_colour(frame[None], GOAL_COLOUR)[0]

    def read(frames: Tensor) -> Tensor:
        """[B, T, 3, H, W] -> [B, T]"""
        place = place_of_colour(frames.flatten(0, 1), WALKER_COLOUR).view(*frames.shape[:2], 2)
        apart = (place - goal).abs().sum(2)
        return (apart == 0).float() - 0.01 * apart

    return read


def place_of_colour(frames: Tensor, colour: tuple[int, int, int]) -> Tensor:
    """Row and column of the cell that has most of a colour.  [B, 3, H, W] -> [B, 2]"""
    wanted = torch.tensor(colour).view(3, 1, 1)
    off = (frames.float() - wanted).abs().sum(1)
    much = (1 - off / 100).clamp(min=0).view(-1, CELLS, CELL, CELLS, CELL).sum((2, 4))
    place = much.flatten(1).argmax(1)
    return torch.stack([place // CELLS, place % CELLS], 1)


def describe_plans(reached: Mapping[str, float]) -> str:
    return (
        f"Planning over imagined frames reached the goal of {100 * reached['planned']:.0f} % of "
        f"{TRIED} new mazes in {ALLOWED} moves; random moves {100 * reached['random']:.0f} %."
    )
