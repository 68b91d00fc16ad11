"""`fledge evaluate` of an encoder: nats a masked token, or of telling which are replaced."""

from __future__ import annotations

from typing import Any

from fledge.errors import UserError
from fledge.evaluate.masked import (
    mask_windows,
    measure_masked,
    measure_replaced,
    read_documents,
    replace_windows,
)
from fledge.hub.folder import load_encoder
from fledge.runs.show import Show
from fledge.text.frames import read_frame
from fledge.text.masking import read_masking


def evaluate_encoder(config: Any, show: Show) -> dict[str, Any]:
    """By masked tokens, or replaced ones. config: of `evaluate`. Raises UserError for a task, and
    for an encoder without a head for either.
    """
    if config.interpolate or config.objective is not None:
        raise UserError(
            f"{config.base} is an encoder, which tells no text: leave out interpolate and "
            "objective."
        )
    if config.task is not None or config.data is None:
        raise UserError(
            f"{config.base} is an encoder, which answers no task: give data=TEXT, of which it "
            "foretells masked tokens."
        )
    model = load_encoder(config.base)
    network, c = model.network, model.network.config
    if not c.masked and not c.replaced:
        raise UserError(
            f"{config.base} is an encoder that foretells no masked tokens (it has no head for "
            "them): `fledge pretrain base=…` gives it one."
        )
    frame, masking = read_frame(model.tokenizer), read_masking(model.tokenizer, "tokens")
    network.border = frame.before[0]
    corpus = config.read(config.data, show.line)
    test = (document for _, document in corpus.split("test"))
    documents = corpus.documents() if config.whole else test
    windows = read_documents(documents, model.tokenizer, frame, c.context)
    if c.replaced:
        figures = measure_replaced(network, replace_windows(windows, masking))
        said = (
            f"{figures['replaced_nats']:.3f} nats a token, of which replaced at random, "
            f"{figures['replaced_accuracy']:.1%} right,"
        )
    else:
        figures = measure_masked(network, mask_windows(windows, masking))
        said = (
            f"{figures['masked_nats']:.3f} nats a masked token (no bits per byte: what is around "
            f"it is given), {figures['masked_accuracy']:.1%} right,"
        )
    part = config.data if config.whole else f"the test part of {config.data}"
    show.line(f"{said} on {part}")
    return {"base": str(config.base), **figures}
