"""The fields of a recipe whose model has a memory, and the memory that they come to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field

from fledge.errors import UserError
from fledge.hub.folder import Loaded, load_labeller
from fledge.hub.sentence_texts import embed_texts
from fledge.models.language.encoder import Encoder
from fledge.retrieval.store import MemoryStore
from fledge.runs.atomic import known_sha256


class MemoryFields(BaseModel):
    """A memory outside the weights."""

    memory: Path | None = Field(
        default=None,
        description="a file that the model reads and writes through tools; it is made where there "
        "is none",
    )
    memory_encoder: Path | None = Field(
        default=None,
        description="a sentence encoder's folder, by which memories are found by meaning too",
    )
    memory_most: int | None = Field(
        default=None,
        ge=1,
        description="memories that are kept: the weakest are forgotten; by default all are",
    )
    memory_shown: int = Field(
        default=3,
        ge=0,
        description="memories looked up for each question and put before it; 0 leaves looking up "
        "to the model",
    )

    memory_tools: bool = Field(
        default=True,
        description="tell the model of tools that search, write and forget memories; false saves "
        "some 300 tokens of context for one that was never tuned on calls",
    )

    def open_memory(self) -> MemoryStore | None:
        """None where no file was given. Raises UserError for a file that cannot be used, and for
        fields that want one.
        """
        if self.memory is None:
            for name in ("memory_encoder", "memory_most"):
                if getattr(self, name) is not None:
                    raise UserError(f"{name} was given without memory=FILE: give the file too.")
            return None
        encoder = None if self.memory_encoder is None else LoadedEncoder(self.memory_encoder)
        return MemoryStore(self.memory, encoder, most=self.memory_most)


class LoadedEncoder:
    """Texts to vectors by the encoder of a folder; of a text beyond its context the beginning
    counts.
    """

    def __init__(self, folder: Path) -> None:
        """Raises UserError for what is no encoder."""
        self.loaded: Loaded = load_labeller(folder)
        if not isinstance(self.loaded.network, Encoder):
            raise UserError(f"memory_encoder={folder} is no encoder of texts: give one.")
        self.dims: int = self.loaded.network.config.width
        # Folders are called model/ alike: by their weights encoders are told apart.
        weights = sorted(self.loaded.folder.glob("*.safetensors"))
        content = "".join(map(known_sha256, weights)).encode()
        self.name = f"{folder.name} {hashlib.sha256(content).hexdigest()[:12]}"

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        vectors = embed_texts(self.loaded, [self._fit(text) for text in texts])
        return vectors.float().cpu().numpy()

    def _fit(self, text: str) -> str:
        room = self.loaded.network.config.context - 2  # what stands around a text
        while len(ids := self.loaded.tokenizer.encode(text)) > room:
            text = text[: len(text) * room // len(ids)]
        return text
