"""A memory with an encoder of one's own: what is found by meaning, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from fledge.errors import UserError
from fledge.hub.folder import load_labeller
from fledge.hub.sentence_texts import embed_texts
from fledge.recipes.prompting.memory_fields import MemoryFields
from fledge.retrieval.vectors import normalise
from tests.encoder_folder import WORDS, make_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "small")


def test_the_nearest_by_the_encoders_own_cosine_comes_first(encoder: Path, tmp_path: Path) -> None:
    """The question shares no word with any memory, so that only the vectors rank."""
    draws = np.random.default_rng(0)
    texts = [" ".join(draws.choice(WORDS[:9], 5, replace=False)) for _ in range(30)]
    store = MemoryFields(memory=tmp_path / "m.db", memory_encoder=encoder).open_memory()
    assert store is not None
    store.add_all(texts, "test")
    question = "two one three"
    loaded = load_labeller(encoder)
    vectors = normalise(embed_texts(loaded, [question, *texts]).numpy())
    cosines = vectors[1:] @ vectors[0]
    said = [texts.index(memory.text) for memory in store.search(question, 5)]
    best = np.sort(cosines)[::-1][:5]
    assert cosines[said] == pytest.approx(best, abs=0.01)  # vectors are kept in 127ths


def test_a_text_beyond_the_context_is_found_by_its_beginning(encoder: Path, tmp_path: Path) -> None:
    store = MemoryFields(memory=tmp_path / "m.db", memory_encoder=encoder).open_memory()
    assert store is not None
    store.add("fox dog " * 400, "a long text")
    assert len(store.search("one two")) == 1


def test_another_encoder_in_a_folder_of_the_same_name_is_refused(
    encoder: Path, tmp_path: Path
) -> None:
    MemoryFields(memory=tmp_path / "m.db", memory_encoder=encoder).open_memory()
    same = shutil.copytree(encoder, tmp_path / "copy" / encoder.name)
    MemoryFields(memory=tmp_path / "m.db", memory_encoder=same).open_memory()
    [weights] = same.glob("*.safetensors")
    save_file({name: 2 * each for name, each in load_file(weights).items()}, weights)
    with pytest.raises(UserError, match="the vectors in"):
        MemoryFields(memory=tmp_path / "m.db", memory_encoder=same).open_memory()


def test_fields_without_a_file_and_what_is_no_encoder_are_said(tmp_path: Path) -> None:
    assert MemoryFields().open_memory() is None
    with pytest.raises(UserError, match="memory_encoder was given without memory=FILE"):
        MemoryFields(memory_encoder=tmp_path).open_memory()
    with pytest.raises(UserError):
        MemoryFields(memory=tmp_path / "m.db", memory_encoder=tmp_path).open_memory()
