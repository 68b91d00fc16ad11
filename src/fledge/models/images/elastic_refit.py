"""A program refitted to another picture: its strokes, as beads on elastic lines, are bent until
the other picture's ink is likely, at a price for the bending.

Ink is a mixture of normals, one around each bead, and of noise, and EM fits the beads (Revow,
Williams & Hinton 1996, "Using generative models for handwritten digit recognition", §II). Where
the strokes of one character move with another hand is a normal prior: all as one (affine), near
ones together (which holds their relations), and each stroke by itself; the M-step is its ridge
regression.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.trajectories import Rows

# Deviations of the prior, in pixels of a picture 105 high, and shares of the size.
SHIFT, STRETCH, NEIGHBOURS, STROKE = 6.0, 0.25, 3.0, 2.0
REACH = 18.0  # pixels: how near strokes are that bend together
BASIS = 28  # directions in which a program bends: the widest of the prior
OUTLIER = 4.5  # nats that a point of ink costs which is nobody's, at the most
DIRECTION = 1.5  # κ of a point's direction, which has no sense: exp(κ cos 2Δ)
POINT = 0.35  # of a point for the weight of evidence: neighbours on one line say the same
WIDEST, FINEST = 8.0, 2.5  # pixels: deviation of ink about a bead, first and last
RESIZED = (0.6, 1.7)  # the most that the sizes of two drawings of one character differ
BLOCK = 32  # pairs at a time: what fits the cache of a core


@dataclass(frozen=True)
class Beads(Rows):
    """B programs. at: [B, M, 2] pixels, x and y. along: [B, M, 2] the stroke's direction there, of
    length 1. there: [B, M] 1, and 0 for padding. basis: [B, M, BASIS], how each bead moves in each
    direction of the prior, of one deviation.
    """

    at: Tensor
    along: Tensor
    there: Tensor
    basis: Tensor


@dataclass(frozen=True)
class Refit(Rows):
    """at: [B, M, 2] the beads where they came to lie. ink: [B] nats a point of the other's ink
    (mean). missed: [B] nats a bead, of beads where there is no ink (mean). bending: [B] nats of
    the prior.
    """

    at: Tensor
    ink: Tensor
    missed: Tensor
    bending: Tensor

    @property
    def cost(self) -> Tensor:
        """[B] nats: how badly the program explains the picture. Ink and beads count by their
        means, so that a picture with more ink is no worse.
        """
        return self.ink + self.missed + PRICE * self.bending


PRICE = 0.01  # of the prior's nats: one a hundred points, about as many as a character has


def pack_beads(strokes: list[list[Tensor]]) -> Beads:
    """strokes: of each program its strokes, [M, 2] points of one spacing."""
    lengths = [sum(len(one) for one in program) for program in strokes]
    B, M = len(strokes), max(lengths)
    at, along = torch.zeros(B, M, 2), torch.zeros(B, M, 2)
    there, basis = torch.zeros(B, M), torch.zeros(B, M, BASIS)
    for b, program in enumerate(strokes):
        n = lengths[b]
        stroke = torch.cat([torch.full((len(one),), i) for i, one in enumerate(program)])
        at[b, :n] = torch.cat(program)
        along[b, :n] = torch.cat([measure_directions(one) for one in program])
        there[b, :n] = 1
        basis[b, :n] = find_basis(at[b, :n], stroke)
    return Beads(at, along, there, basis)


def measure_directions(path: Tensor) -> Tensor:
    """[M, 2] -> the same, of length 1; of a dot none, which is (0, 0)."""
    if len(path) < 2:
        return torch.zeros_like(path)
    [along] = torch.gradient(path, dim=0)
    return along / along.norm(dim=1, keepdim=True).clamp(min=1e-6)


def find_covariance(at: Tensor, stroke: Tensor) -> Tensor:
    """The prior of how one coordinate of the beads moves.  [M, 2], [M] -> [M, M] square pixels"""
    middle = at - at.mean(0)
    apart = torch.cdist(at.double(), at.double()) ** 2
    covariance = SHIFT**2 + STRETCH**2 * (middle @ middle.T).double()
    covariance = covariance + NEIGHBOURS**2 * torch.exp(-apart / (2 * REACH**2))
    return covariance + STROKE**2 * (stroke[:, None] == stroke).double()


def find_basis(at: Tensor, stroke: Tensor) -> Tensor:
    """The widest directions of that prior, each one deviation long.  -> [M, BASIS]"""
    variance, direction = torch.linalg.eigh(find_covariance(at, stroke))
    widest = min(BASIS, len(at))
    kept = direction[:, -widest:] * variance[-widest:].clamp(min=0).sqrt()
    basis = torch.zeros(len(at), BASIS)
    basis[:, :widest] = kept.float()
    return basis


def refit(program: Beads, picture: Beads, iterations: int) -> Refit:
    """Each program to the picture of the same row, whose beads are points of its ink."""
    blocks = [
        _refit_block(program[part], picture[part], iterations)
        for part in (slice(i, i + BLOCK) for i in range(0, len(program), BLOCK))
    ]
    names = [name for name, _ in blocks[0].items()]
    return Refit(**{name: torch.cat([getattr(b, name) for b in blocks]) for name in names})


def _refit_block(program: Beads, picture: Beads, iterations: int) -> Refit:
    start = place_over(program, picture)
    basis, eye = program.basis, torch.eye(BASIS)
    weight = torch.zeros(len(program), BASIS, 2)
    shrink = (FINEST / WIDEST) ** (1 / iterations)
    for i in range(iterations):
        width = WIDEST * shrink**i
        energy = measure_energy(start + basis @ weight, program, picture, width)
        of_points, of_beads = share_ink(energy, program, picture)
        shared = POINT * (of_points + of_beads) / 2
        mass = shared.sum(2)
        pull = shared @ picture.at - mass[..., None] * start
        gram = basis.mT @ (basis * mass[..., None]) + width**2 * eye
        weight = torch.linalg.solve(gram, basis.mT @ pull)
    at = start + basis @ weight
    energy = measure_energy(at, program, picture, FINEST)
    nothing = (1 - program.there[:, :, None] * picture.there[:, None]) * 1e4
    ink = (energy + nothing).amin(1).clamp(max=OUTLIER)
    missed = (energy + nothing).amin(2).clamp(max=OUTLIER)
    return Refit(
        at,
        (ink * picture.there).sum(1) / picture.there.sum(1),
        (missed * program.there).sum(1) / program.there.sum(1),
        0.5 * weight.square().sum((1, 2)),
    )


def place_over(program: Beads, picture: Beads) -> Tensor:
    """The program's beads moved and resized, within reason, to lie over the picture.  [B, M, 2]"""
    middle, size = measure_size(program)
    other, other_size = measure_size(picture)
    scale = (other_size / size).clamp(*RESIZED)
    return (program.at - middle[:, None]) * scale[:, None, None] + other[:, None]


def measure_size(beads: Beads) -> tuple[Tensor, Tensor]:
    """Where the middle is, and the root of the mean square distance from it.  -> [B, 2], [B]"""
    there, number = beads.there[..., None], beads.there.sum(1)
    middle = (beads.at * there).sum(1) / number[:, None]
    square = ((beads.at - middle[:, None]).square() * there).sum((1, 2)) / number
    return middle, square.sqrt().clamp(min=1.0)


def measure_energy(at: Tensor, program: Beads, picture: Beads, width: float) -> Tensor:
    """−log of how likely a bead makes a point there and in its direction, beside the likeliest.
    -> [B, M, N] nats
    """
    apart = at.square().sum(2)[:, :, None] + picture.at.square().sum(2)[:, None]
    apart = torch.baddbmm(apart, at, picture.at.mT, alpha=-2).clamp_(min=0)
    turned = double_angle(turn_along(at, program.along)) @ double_angle(picture.along).mT
    return apart.mul_(0.5 / width**2).add_(DIRECTION).sub_(turned, alpha=DIRECTION)


def turn_along(at: Tensor, along: Tensor) -> Tensor:
    """The directions after bending, by the neighbours on either side; at the ends of strokes, where
    those are another's, as they were.
    """
    turned = torch.zeros_like(at)
    turned[:, 1:-1] = at[:, 2:] - at[:, :-2]
    length = turned.norm(dim=2, keepdim=True).clamp(min=1e-6)
    near = (turned * along).sum(2, keepdim=True) > 0.3 * length
    return torch.where(near, turned / length, along)


def double_angle(along: Tensor) -> Tensor:
    """Directions d and −d are one: the angle twice.  [B, M, 2] -> [B, M, 2]"""
    x, y = along.unbind(2)
    return torch.stack([x**2 - y**2, 2 * x * y], 2)


def share_ink(energy: Tensor, program: Beads, picture: Beads) -> tuple[Tensor, Tensor]:
    """The responsibilities: of beads for each point, with noise for what no bead is near; and of
    points for each bead, by which beads without ink are pulled to some.  -> [B, M, N] twice
    """
    likely = torch.exp(-energy) * (program.there[:, :, None] * picture.there[:, None])
    noise = math.exp(-OUTLIER)
    of_points = likely / (likely.sum(1, keepdim=True) + noise)
    of_beads = likely / (likely.sum(2, keepdim=True) + noise)
    return of_points, of_beads
