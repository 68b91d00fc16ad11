"""Pictures out of any model of them; one that writes a picture as tokens is spoken for by the token
engine.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.models.images.picture_model import PictureModel
from fledge.models.images.vq import VQ
from fledge.sample.generate import generate


def draw_pictures(
    model: PictureModel, count: int, generator: torch.Generator, label: Tensor | None = None
) -> Tensor:
    """As `model.sample`: [count, C, H, W] uint8.  label: [count], of a model that draws by
    label.
    """
    if not isinstance(model, VQ):
        return model.sample(count, generator, label)
    if label is None:
        label = model.prior.draw_labels(count, generator)
    return model.draw_from(write_codes(model, label, generator), generator)


def write_codes(model: VQ, label: Tensor, generator: torch.Generator) -> Tensor:
    """Each row seeded by its place.  label: [B], below 0 for none -> [B, places]"""
    prompts = [[int(token)] for token in model.prior.open_rows(label)]
    said = generate(
        model.prior.policy, prompts, max_new_tokens=model.places, stop=-1, generator=generator
    )
    return torch.tensor([completion.tokens for completion in said])
