"""Who looks at drawings: two readers of different kinds that reward together, and a third, of
another kind and taught by other pictures, that rewards nothing and says how it went.
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.evaluate.picture_encoder import halve
from fledge.images.pictures import Pictures, PictureSet
from fledge.learner import Learner
from fledge.models.images.picture_model import PictureModel
from fledge.models.images.reader import Reader
from fledge.models.images.remembering_readers import KernelReader, NeighbourReader
from fledge.sample.pictures import PictureBatches
from fledge.schedule import Schedule
from fledge.score.drawings import JUDGES, WITNESS
from fledge.seeds import seed_for

Kept = TypeVar("Kept", NeighbourReader, KernelReader)
MOST_KEPT = 2000  # pictures of a reader that remembers: a kernel of so many is solved in seconds


def teach_readers(given: PictureSet, steps: int, seed: int) -> dict[str, PictureModel]:
    """The judges and the witness, by the names of their folders. Each side has one half of the
    pictures, by the hash of each.
    """
    halves = halve(given)
    own, other = (half if len(half) else given for half in halves)
    network, neighbours = JUDGES
    return {
        network: teach_network(own, steps, seed),
        neighbours: remember(NeighbourReader, own),
        WITNESS: remember(KernelReader, other),
    }


def teach_network(given: PictureSet, steps: int, seed: int) -> Reader:
    """By maximum likelihood, on pictures that are shifted a little."""
    torch.manual_seed(seed_for(seed, "weights", "reader"))
    reader = Reader(given.shape, {"channels": 32})
    learner = Learner(reader, Schedule(2e-3, steps, 20, "cosine"))
    batches = PictureBatches(given, 64, seed, ("shift",))
    for _ in range(steps):
        batch = next(batches)
        count = learner.count_rows(batch)

        def loss(rows: Pictures, count: Tensor = count) -> tuple[Tensor, dict[str, Tensor]]:
            return F.nll_loss(reader(rows.x), rows.label, reduction="sum") / count, {}

        learner.step(loss, batch)
    return reader.eval()


def remember(kind: type[Kept], given: PictureSet) -> Kept:
    """At most so many of the pictures, evenly spread."""
    rows = given.rows.spread(MOST_KEPT)
    reader = kind(given.shape, {"rows": len(rows)})
    reader.learn(rows)
    return reader.eval()
