"""What an encoder was taught to say of texts, as its folder knows it."""

from __future__ import annotations

from pathlib import Path

from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.models.language.decoder_labels import DecoderLabels
from fledge.models.language.sentence_vectors import Pooling
from fledge.rows.labels import LabelTask
from fledge.text.frames import Frame, open_frame

NOTE = "fledge_task"  # in a config.json: a pair and a text have one architecture
UNIT = Pooling(normalise=True)  # of vectors that nobody said more of
# Of other programs' folders, which have no such note.
_TASKS: dict[str, LabelTask] = {"sequence": "classify", "token": "tag", "choice": "choose"}


def find_frame(model: Loaded) -> Frame | None:
    """What stands around a text of a decoder; None for an encoder, whose tokenizer says it."""
    return open_frame(model.tokenizer) if isinstance(model.network, DecoderLabels) else None


def find_task(model: Loaded, path: Path, *, vectors: bool = False) -> LabelTask:
    """Raises UserError for an encoder that has no labels; vectors: unless it was tuned for its
    vectors.
    """
    kind, task = model.network.config.classifier, model.config.get(NOTE)
    if task == "embed" and vectors:
        return task
    if not kind:
        raise UserError(
            f"{path} labels nothing: `fledge tune task=classify` (or pair, tag, choose) makes an "
            "encoder that does, of rows with labels."
        )
    return task or _TASKS[kind]
