"""Word vectors from wherever they are: a run, its model folder, or a file of others."""

from __future__ import annotations

from pathlib import Path

from fledge.errors import UserError
from fledge.hub.word2vec_file import SUFFIXES, read_word2vec
from fledge.models.language.word_vectors import WordVectors
from fledge.runs.lineage import verb_of
from fledge.runs.model_files import check_model, find_standing_model, how_to_have_a_model

VERB = "vectors"


def is_of_vectors(path: Path) -> bool:
    """Whether it is a run of `fledge vectors`, or the model folder of one."""
    run = path.parent if path.name == "model" else path
    return run.is_dir() and verb_of(run) == VERB


def load_vectors(path: Path) -> WordVectors:
    """Raises UserError for what holds none, and for a run's that are not what it wrote."""
    if not path.is_dir():
        if path.suffix not in SUFFIXES:
            raise UserError(
                f"{path} is neither a run of `fledge vectors` nor a file of vectors: give one, its "
                f"name ending in {', '.join(SUFFIXES)}."
            )
        return read_word2vec(path)
    folder = find_standing_model(path if verb_of(path) is None else path / "model")
    if not (folder / "config.json").is_file():
        raise UserError(f"{path} holds no word vectors: {how_to_have_a_model(path)}")
    check_model(folder)
    return WordVectors.load(folder)
