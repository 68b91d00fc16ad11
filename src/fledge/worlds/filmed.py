"""Films of our own worlds, drawn by ourselves: a walker in a maze, a pole on a cart, digits that
drift. All of them follow from a seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.errors import UserError
from fledge.images.digits import LEVELS, load_digits
from fledge.images.films import FilmSet, make_films
from fledge.seeds import generator_for, seed_for
from fledge.worlds.batched_cartpole import BatchedCartPole
from fledge.worlds.gridworld import ACTIONS, Gridworld

PREFIX = "film:"
SIDE = 24  # pixels
FILMS, FRAMES = 600, 10

CELLS, CELL = 6, 4  # of the maze: cells a side, pixels a cell
WALL_SHARE = 0.2
DELIBERATE = 0.7  # how often the walker goes a shortest way; else anywhere
FARTHEST = 8  # steps from the goal that frames are told apart by
WALL_COLOUR, FLOOR_COLOUR = (120, 120, 120), (20, 20, 30)
GOAL_COLOUR, WALKER_COLOUR = (60, 200, 90), (230, 90, 60)

HELD_STEPS = 2  # of the cart's world to a frame: one of 0.02 s would hardly move a pixel
LEANINGS_DEGREES = (-12.0, -4.0, 4.0, 12.0)
LEANINGS = ("far left", "left", "upright", "right", "far right")

DRIFTING_FRAMES = 6


def film_gridworld(films: int, frames: int, seed: int) -> FilmSet:
    """Mazes of 6 × 6 cells, each film in one of its own, in which moves do not slip. The walker
    mostly goes to the goal, and stays there. label: steps from the goal, up to 8.
    """
    generator = generator_for(seed, "worlds", "film gridworld")
    drawn, done, apart = [], [], []
    for _ in range(films):
        maze, goal, distance = make_maze(generator)
        next_to = maze.neighbours()
        far = (distance.isfinite() & (distance >= min(4.0, float(distance.max())))).nonzero()[:, 0]
        place = int(far[torch.randint(len(far), (1,), generator=generator)])
        film, actions, labels = [draw_maze(maze, goal, place)], [], [distance[place]]
        for _ in range(frames - 1):
            action = int(torch.randint(4, (1,), generator=generator))
            if float(torch.rand(1, generator=generator)) < DELIBERATE:
                action = int(distance[next_to[:, place]].argmin())
            if place != goal:
                place = int(next_to[action, place])
            film.append(draw_maze(maze, goal, place))
            actions.append(action)
            labels.append(distance[place])
        drawn.append(torch.stack(film))
        done.append(torch.tensor(actions))
        apart.append(torch.stack(labels).clamp(max=FARTHEST).long())
    return make_films(
        torch.stack(drawn), torch.stack(done), torch.stack(apart), actions=ACTIONS,
        names=tuple(map(str, range(FARTHEST + 1))), source="film:gridworld",
    )  # fmt: skip


def make_maze(generator: torch.Generator) -> tuple[Gridworld, int, Tensor]:
    """The maze, the state of its goal, and how many steps every state is from it: [S], infinite
    where no way leads.
    """
    floor = torch.rand(CELLS, CELLS, generator=generator) >= WALL_SHARE
    places = floor.flatten().nonzero()[:, 0]
    chosen = int(torch.randint(len(places), (1,), generator=generator))
    exits = torch.zeros(CELLS, CELLS, dtype=torch.bool)
    exits.view(-1)[places[chosen]] = True
    if len(places) < CELLS * CELLS // 2:
        return make_maze(generator)
    maze = Gridworld(floor, exits, exits.double(), floor & ~exits, slip=0.0)
    distance = measure_distance(maze.neighbours(), chosen)
    if float(distance[distance.isfinite()].max()) < 4:
        return make_maze(generator)
    return maze, chosen, distance


def measure_distance(next_to: Tensor, goal: int) -> Tensor:
    """Steps from every state to `goal`.  [A, S] -> [S]"""
    distance = torch.full((next_to.shape[1],), math.inf)
    distance[goal] = 0
    for _ in range(next_to.shape[1]):
        distance = torch.minimum(distance, distance[next_to].amin(0) + 1)
    return distance


def draw_maze(maze: Gridworld, goal: int, walker: int) -> Tensor:
    """-> [3, 24, 24] uint8: the walker is a disc, the goal a ring, so that they are told apart
    without their colours.
    """
    cells = torch.tensor(WALL_COLOUR, dtype=torch.uint8).expand(CELLS, CELLS, 3).clone()
    cells[maze.floor] = torch.tensor(FLOOR_COLOUR, dtype=torch.uint8)
    x = cells.permute(2, 0, 1).repeat_interleave(CELL, 1).repeat_interleave(CELL, 2).contiguous()
    for state, colour, shape in ((goal, GOAL_COLOUR, RING), (walker, WALKER_COLOUR, DISC)):
        i, j = (maze.number == state).nonzero()[0].tolist()
        cell = x[:, i * CELL : (i + 1) * CELL, j * CELL : (j + 1) * CELL]
        cell[:, shape] = torch.tensor(colour, dtype=torch.uint8)[:, None]
    return x


RING = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]], dtype=torch.bool)
DISC = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]], dtype=torch.bool)


def film_cartpole(films: int, frames: int, seed: int) -> FilmSet:
    """CartPole-v1's equations, two steps a frame with one push, beyond the angle at which an
    episode ends: the pole falls. label: how far it leans, in five bins at ±4° and ±12°.
    """
    world = BatchedCartPole(films)
    world.reset(seed_for(seed, "worlds", "film cartpole"))
    random = np.random.default_rng(seed_for(seed, "actor", "film cartpole"))
    world.state[0] = random.uniform(-1.6, 1.6, films)
    world.state[2] = random.uniform(-0.12, 0.12, films)
    drawn, leaning, done = [draw_carts(world.state)], [world.state[2].copy()], []
    for _ in range(frames - 1):
        push = random.integers(0, 2, films)
        for _ in range(HELD_STEPS):
            world.step(torch.from_numpy(push))
            world.over[:] = False  # it falls on, where an episode would begin anew
        drawn.append(draw_carts(world.state))
        leaning.append(world.state[2].copy())
        done.append(push)
    degrees = np.degrees(np.stack(leaning, 1))
    label = torch.from_numpy(np.digitize(degrees, LEANINGS_DEGREES))
    return make_films(
        torch.stack(drawn, 1), torch.from_numpy(np.stack(done, 1)), label,
        actions=("left", "right"), names=LEANINGS, source="film:CartPole-v1",
    )  # fmt: skip


def draw_carts(state: np.ndarray) -> Tensor:
    """[4, N], as `BatchedCartPole` has it.  -> [N, 1, 24, 24] uint8: a track, a cart, and a pole of
    14 pixels, with soft edges that show less than a pixel.
    """
    N = state.shape[1]
    axis = np.arange(SIDE, dtype=float)
    y, x = axis[None, :, None], axis[None, None, :]
    cart = ((state[0] + 2.4) / 4.8 * (SIDE - 1))[:, None, None]
    base = SIDE - 5.0
    box = np.clip(3.0 - np.abs(x - cart), 0, 1) * np.clip(2.0 - np.abs(y - base - 1), 0, 1)
    sine, cosine = np.sin(state[2])[:, None, None], np.cos(state[2])[:, None, None]
    along = (x - cart) * sine - (y - base) * cosine
    across = (x - cart) * cosine + (y - base) * sine
    reach = np.clip(np.minimum(along + 0.5, 14.5 - along), 0, 1)
    pole = np.clip(1.3 - np.abs(across), 0, 1) * reach
    track = np.broadcast_to((y == SIDE - 2) * 0.4, (N, SIDE, SIDE))
    bright = np.maximum(np.maximum(box * 0.7, pole), track)
    return torch.from_numpy(np.rint(bright * 255).astype(np.uint8))[:, None]


def film_digits(films: int, frames: int, seed: int) -> FilmSet:
    """The package's digits at twice their size, each once, in a film of its own, drifting and
    thrown back by the edges. A stroke's hue is its direction, so that colour follows from shape and
    from nothing else. label: the digit.
    """
    given = load_digits()
    films = min(films, len(given))
    generator = generator_for(seed, "worlds", "film digits")
    order = torch.randperm(len(given), generator=generator)[:films]
    grey = given.rows.x[order].float() / (LEVELS - 1)
    large = F.interpolate(grey, scale_factor=2, mode="bilinear", align_corners=False)
    coloured = colour_by_direction(large)
    side, room = large.shape[-1], SIDE - large.shape[-1]
    place = torch.randint(0, room + 1, (films, 2), generator=generator)
    speed = torch.randint(1, 4, (films, 2), generator=generator)
    speed = speed * (2 * torch.randint(0, 2, (films, 2), generator=generator) - 1)
    frames_of = torch.zeros(films, frames, 3, SIDE, SIDE, dtype=torch.uint8)
    for n in range(films):
        for t in range(frames):
            # A walk to and fro over `room` pixels, by a fold of the line.
            far = (place[n] + speed[n] * t) % (2 * room)
            i, j = torch.minimum(far, 2 * room - far).tolist()
            frames_of[n, t, :, i : i + side, j : j + side] = coloured[n]
    label = given.rows.label[order, None].expand(films, frames)
    return make_films(
        frames_of, None, label, names=given.shape.names, source="film:digits",
    )  # fmt: skip


def colour_by_direction(x: Tensor) -> Tensor:
    """Grey strokes with the hue of the direction in which they run, all of the same grey as before
    (Rec. 601).  [B, 1, H, W] from 0 to 1 -> [B, 3, H, W] uint8

    The direction is that of the structure tensor, averaged over 3 × 3 pixels.
    """
    padded = F.pad(x, (1, 1, 1, 1))
    right = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    double = [F.avg_pool2d(each, 3, 1, 1) for each in (right**2 - down**2, 2 * right * down)]
    angle = torch.atan2(double[1], double[0])  # twice the direction: a stroke has no head
    chroma = 0.3 * x.sqrt() * x
    blue, red = chroma * angle.cos(), chroma * angle.sin()
    bright = 0.65 * x
    rgb = torch.cat([
        bright + 1.402 * red, bright - 0.344 * blue - 0.714 * red, bright + 1.772 * blue
    ], 1)  # fmt: skip
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8)


WORLDS: Mapping[str, Callable[[], FilmSet]] = {
    "gridworld": lambda: film_gridworld(FILMS, FRAMES, 0),
    "CartPole-v1": lambda: film_cartpole(FILMS, FRAMES, 0),
    "digits": lambda: film_digits(10**9, DRIFTING_FRAMES, 0),
}


def film_world(name: str) -> FilmSet:
    """The films of `film:NAME`, the same in every run.  Raises UserError for another name."""
    world = name.removeprefix(PREFIX)
    if world not in WORLDS:
        known = ", ".join(PREFIX + each for each in WORLDS)
        raise UserError(f"there are no films {name}: give {known}, or an .npz with `frames`.")
    return WORLDS[world]()
