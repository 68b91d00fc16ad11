"""A model to be looked at, whose weights are numbers and come to numbers."""

from __future__ import annotations

from pathlib import Path

import torch

from fledge.errors import UserError
from fledge.hub.folder import Loaded, load_model


def load_sound_model(path: Path, *, backward: bool = False) -> Loaded:
    """backward: one that reads texts from their end, too. Raises UserError for what is no model,
    and for one that has NaN or infinite weights or whose logits of a first token are.
    """
    model = load_model(path, backward=backward)
    named = model.network.named_parameters()
    wrong = next((name for name, weight in named if not bool(weight.isfinite().all())), None)
    if wrong is not None or not gives_numbers(model):
        what = f"{wrong} holds values that are no numbers" if wrong else "its weights overflow"
        raise UserError(
            f"{path} cannot be used ({what}): give a model from before its training came to that, "
            "or put its files back from a copy."
        )
    return model


@torch.no_grad()
def gives_numbers(model: Loaded) -> bool:
    """Whether every token that may be said first has a finite logit."""
    policy = model.policy()
    device = policy.network.unembedding.device
    tokenizer = model.tokenizer
    first = tokenizer.open_text("") or [*tokenizer.opening]
    start = torch.tensor([first], device=device)
    logits = policy.logits(policy.hidden(start)[0, -1:])  # [1, V]
    return bool(logits[0, policy.allowed].isfinite().all())
