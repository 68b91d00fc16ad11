"""Texts as an encoder reads them, and the vectors that it gives them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.models.language.sentence_vectors import PLAIN_MEAN, embed_rows
from fledge.text.frames import read_frame


def frame_ids(loaded: Loaded, ids: Sequence[int]) -> list[int]:
    """The row of a text's tokens, cut where the model's folder says so. Raises UserError for an
    empty text, and for one beyond the context.
    """
    frame, pooling = read_frame(loaded.tokenizer), loaded.pooling or PLAIN_MEAN
    context = loaded.network.config.context
    if not ids:
        raise UserError("an empty text was given, which has no tokens: give some text.")
    row, _ = frame.frame(ids, longest=pooling.longest)
    if len(row) > context:
        raise UserError(
            f"a text of {len(row):,} tokens was given, and the encoder's context is {context:,}: "
            "shorten it, or cut it in pieces."
        )
    return row


def embed_texts(loaded: Loaded, texts: Sequence[str]) -> Tensor:
    """A vector for each, pooled as the folder says, else the mean.  -> [N, D]"""
    rows = [frame_ids(loaded, loaded.tokenizer.encode(text)) for text in texts]
    return embed_rows(loaded.network, rows, loaded.pooling or PLAIN_MEAN)
