"""Densities of pictures beside sums over every picture, and the best tree beside every tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fledge.exact.picture_rows import every_row, every_tree, log_likelihood_of_tree
from fledge.images.pictures import PictureShape
from fledge.models.images.autoregressive import Autoregressive
from fledge.models.images.counted import ChowLiu, count_pairs
from fledge.models.images.made import MADE
from fledge.models.images.nade import NADE
from fledge.models.images.pixel_lstm import PixelLSTM
from fledge.models.images.pixel_transformer import PixelTransformer
from fledge.models.images.pixelcnn import PixelCNN
from fledge.models.images.wavenet import WaveNet
from fledge.verify.rows import TableRow

SHAPE = PictureShape(1, 3, 3, 2)
ROUNDING = 1e-5
DRAWN = 6
KINDS: Mapping[str, tuple[type[Autoregressive], dict[str, Any]]] = {
    "NADE": (NADE, {"width": 8}),
    "MADE, two masks": (MADE, {"width": 16, "layers": 1, "masks": 2, "shuffled": True}),
    "WaveNet": (WaveNet, {"width": 6, "blocks": 1}),
    "gated PixelCNN": (PixelCNN, {"width": 6, "layers": 2, "reach": 1, "by_label": False}),
    "LSTM over pixels": (PixelLSTM, {"width": 6, "layers": 1}),
    "transformer over pixels, strided": (
        PixelTransformer,
        {
            "width": 8, "heads": 2, "layers": 1, "attention": "strided", "stride": 0, "summary": 1,
            "palette": 512,
        },
    ),
}  # fmt: skip


def build(name: str) -> Autoregressive:
    """With weights far from where they begin, so that what is seen where would show."""
    kind, settings = KINDS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = kind(SHAPE, settings)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.3 * torch.randn(weight.shape))
    return model.eval()


@torch.no_grad()
def density_row(number: int, name: str) -> TableRow:
    """Three claims in one figure: what all pictures have together, whether a number changes what is
    said at or before it, and whether what is kept while drawing gives the same conditionals.
    """
    model, every = build(name), every_row(SHAPE.numbers, SHAPE.levels)
    total = float((-model.nats_of(every, None).double()).exp().sum())
    row = every[len(every) // 3]
    changed = row.repeat(len(row), 1) ^ torch.eye(len(row), dtype=torch.long)
    apart = (model.conditionals(changed, None) - model.conditionals(row[None], None)).abs()
    early = float(apart.amax(2).tril().max())
    uniform = torch.rand(DRAWN, len(row), generator=torch.Generator().manual_seed(2))
    drawn = model.draw(uniform)
    kept = 0.0 if torch.equal(drawn, model.draw_naively(uniform)) else 1.0
    wanted, advance = model.conditionals(drawn, None), model.begin(DRAWN, None)
    for t in range(model.length):
        said = advance(t, drawn[:, t - 1] if t else None)
        difference = said.log_softmax(1) - wanted[:, t].log_softmax(1)
        kept = max(kept, float(difference.abs().max()))
    return TableRow(
        f"G9.{number}", name,
        "all 512 pictures have 1 together, nothing later is seen, and drawing says the same",
        max(abs(total - 1), early, kept), ROUNDING,
        f"{total:.7f} together; {early:.0e} seen too early; {kept:.0e} apart when drawn",
    )  # fmt: skip


def tree_row() -> TableRow:
    """Of all 16 trees over four numbers the one of highest likelihood, and its likelihood."""
    random = torch.Generator().manual_seed(3)
    first = torch.randint(3, (200, 1), generator=random)
    other = torch.randint(3, (200, 3), generator=random)
    keep = torch.rand(200, 3, generator=random) < torch.tensor([0.7, 0.5, 0.3])
    x = torch.cat([first, torch.where(keep, first, other)], 1)
    model = ChowLiu(PictureShape(1, 2, 2, 3), {"add": 1e-9})
    model.settle(count_pairs(x, 3))
    rows = x.tolist()
    each = [log_likelihood_of_tree(rows, edges) for edges in every_tree(4)]
    assert model.order is not None
    ours = -float(model.nats_of(x[:, model.order], None).double().sum())
    error = abs(ours - max(each)) / len(rows)
    return TableRow(
        "G9.7", "Chow–Liu tree",
        "its likelihood is the highest of every tree's, counted one by one",
        error, ROUNDING, f"{ours:.3f} nats, of 16 trees from {min(each):.3f} to {max(each):.3f}",
    )  # fmt: skip


def picture_rows() -> list[TableRow]:
    return [*(density_row(n, name) for n, name in enumerate(KINDS, 1)), tree_row()]
