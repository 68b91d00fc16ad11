"""One pass of a mixture of normals over points: responsibilities, and what the M-step needs, by as
many threads as there are.

A chunk of points is multiplied with all components (gaussian_chunks.py); where each point is of few
components, only their pairs are computed (pair_screens.py, pair_sums.py).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fledge.models.latent.coordinates import Coordinates
from fledge.models.latent.gaussian_chunks import GaussianChunks
from fledge.models.latent.gaussian_mixture import GaussianMixture, Kind
from fledge.models.latent.moments import Moments
from fledge.models.latent.natural import Natural, write_naturally
from fledge.models.latent.pair_screens import LEAST, PROBE, Screen, choose_screen
from fledge.models.latent.pair_sums import PairRows, PairSums, sum_pairs
from fledge.models.latent.pass_buffers import Buffers, Sums

SCREENED_FROM = 8  # components: of fewer a point is of most
BLOCK = 8_192  # points whose pairs are chosen together
LOST_IN_SINGLE = 1e5  # what LOST is in single precision: 5 of 7 digits, which N points average
DENSE = {torch.float64: 1.0, torch.float32: 0.5}  # what all products cost, for `choose_screen`


class GaussianPass:
    """Passes over points of one width by one number of components.

    Each thread takes every so-manieth block with buffers of its own. A product that threads share
    would wait for the slowest of them dozens of times a chunk.
    """

    def __init__(self, kind: Kind, components: int, coordinates: Coordinates) -> None:
        self.chunks, self.coordinates = GaussianChunks(kind, components, coordinates), coordinates
        self.buffers: dict[tuple[int, torch.dtype], Buffers] = {}  # of a thread
        self.screened = kind == "full" and components >= SCREENED_FROM

    def run(
        self,
        mixture: GaussianMixture,
        x: Tensor,
        weight: Tensor | None,
        *,
        log_weight: Tensor | None = None,
        single: bool = False,
    ) -> tuple[Moments, float]:
        """E-step: Σ_n r_nk (1, y, y yᵀ) in the coordinates, and Σ_n w_n log p(x_n) in nats.

        x: [N, D] without missing values. weight: [N] or None. log_weight: of components [K], in
        place of the mixture's own; they need not sum to 1. single: multiply chunks in single
        precision and add them up in double, where no component would lose more than half its
        digits.
        """
        natural = write_naturally(mixture, self.coordinates, log_weight)
        single = single and mixture.kind != "tied" and natural.lost < LOST_IN_SINGLE
        dtype = torch.float32 if single else torch.float64
        chunk = self.chunks.choose_size(dtype)
        whole = torch.get_num_threads()
        threads = min(whole, max(1, len(x) // chunk))
        block = BLOCK if self.screened else chunk
        block = -(-len(x) // (threads * max(1, round(len(x) / (threads * block)))))  # all alike
        screen = self._choose_screen(natural, x, dtype) if self.screened else None
        given = natural, x, weight, dtype, screen, block
        if threads == 1:
            sums, pairs = self._sum_blocks(*given, 0, 1)
        else:
            with ThreadPoolExecutor(threads) as pool:
                parts = [
                    pool.submit(self._sum_alone, *given, number, threads)
                    for number in range(threads)
                ]
                sums, pairs = parts[0].result()
                for part in parts[1:]:  # in order: the same bits every time
                    others = part.result()
                    sums.add(others[0])
                    pairs.add(others[1])
            torch.set_num_threads(whole)  # new threads of the process begin with it
        mass = float(len(x)) if weight is None else float(weight.sum())
        density = sums.density + pairs.density
        density += mass * (natural.top + self.coordinates.log_det)
        moments = pairs.as_moments(natural.mean) if sums.points < len(x) else None
        if sums.points:
            dense = self.chunks.gather(natural, sums)
            moments = dense if moments is None else dense.mix(moments, 1.0, 1.0)
        assert moments is not None
        return moments, density

    def _choose_screen(self, natural: Natural, x: Tensor, dtype: torch.dtype) -> Screen | None:
        """What is cheapest for some of the points, from all over the data."""
        some = self.coordinates.write_rows(x[:: max(1, len(x) // PROBE)])
        return choose_screen(natural, some, LEAST[dtype], DENSE[dtype])

    def _sum_alone(self, *given: Any) -> tuple[Sums, PairSums]:
        """In a thread that computes by itself."""
        torch.set_num_threads(1)
        return self._sum_blocks(*given)

    def _sum_blocks(
        self,
        natural: Natural,
        x: Tensor,
        weight: Tensor | None,
        dtype: torch.dtype,
        screen: Screen | None,
        block: int,
        number: int,
        of: int,
    ) -> tuple[Sums, PairSums]:
        """Of every `of`-th block from block `number` on: of pairs, until a block has too many."""
        sums = self.chunks.sum_of_nothing(natural)
        pairs, rows = PairSums.of_nothing(*natural.mean.shape), PairRows(natural.mean.shape[1])
        natural_here = replace(natural, rows=natural.rows.to(dtype))
        for start in range(number * block, len(x), of * block):
            part = x[start : start + block]
            w = None if weight is None else weight[start : start + block]
            if screen is not None:
                z = self.coordinates.write_rows(part)
                chosen = screen.choose(z, LEAST[dtype])
                if chosen.cost(screen) < DENSE[dtype]:
                    sum_pairs(natural, z, w, chosen, pairs, rows)
                    continue
                screen = None
            self.chunks.add(natural_here, part, w, self.own_buffers(number, dtype), sums)
        return sums, pairs

    def own_buffers(self, thread: int, dtype: torch.dtype) -> Buffers:
        """The thread's, made when it first needs them."""
        if (thread, dtype) not in self.buffers:
            self.buffers[thread, dtype] = self.chunks.make_buffers(dtype)
        return self.buffers[thread, dtype]
