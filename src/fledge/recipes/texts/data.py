"""What `fledge imagine` reads of sentences: their three parts, a tokenizer, and rows of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.recipes.images.config import ImagineConfig
from fledge.runs.show import Show
from fledge.splits import FEWEST_TO_SPLIT, SPLITS, Split
from fledge.text.sentences import (
    GRAMMAR,
    SentenceRows,
    SentenceSet,
    encode_sentences,
    read_sentences,
)
from fledge.text.tokenizer import KINDS, Tokenizer, load_tokenizer, train_tokenizer


@dataclass(frozen=True)
class Part:
    """Sentences, and the same as rows of tokens."""

    given: SentenceSet
    rows: SentenceRows

    def __len__(self) -> int:
        return len(self.given)

    @property
    def bytes(self) -> int:
        return sum(len(text.encode("utf-8")) for text in self.given.texts)


def read_parts(config: ImagineConfig, show: Show) -> tuple[Mapping[Split, Part], Tokenizer]:
    """Raises UserError for sentences that cannot be read, too few of them, one that is too long,
    and for fields that are of pictures.
    """
    check_no_pictures(config)
    given = read_sentences(config.data)
    parts = given.split()
    if parts is None:
        raise UserError(
            f"{config.data} has fewer than {FEWEST_TO_SPLIT} different sentences: none can be held "
            "out to judge by. Give more."
        )
    if config.test is not None:
        parts["test"] = read_sentences(config.test)
    settings: Any = config.settings
    tokenizer = make_tokenizer(settings.tokenizer, settings.vocab_size, parts, show)
    return {
        split: Part(part, encode_sentences(part.texts, tokenizer, settings.longest, part.source))
        for split, part in parts.items()
    }, tokenizer


def check_no_pictures(config: ImagineConfig) -> None:
    """Raises UserError for what only pictures have."""
    for name in ("binarise", "augment"):
        value = getattr(config, name)
        if value != type(config).model_fields[name].default:
            said = value if isinstance(value, str) else ",".join(value)
            raise UserError(
                f"{name}={said} was given, which is of pictures, and {config.model} reads "
                "sentences: leave it out."
            )


def make_tokenizer(
    name: str, vocab_size: int, parts: Mapping[Split, SentenceSet], show: Show
) -> Tokenizer:
    """Merges are learned from the training part; an alphabet is that of all, or the rest could not
    be read.
    """
    for kind in KINDS:
        if name != kind:
            continue
        chosen = SPLITS if kind == "characters" else ("train",)
        texts = (text for split in chosen for text in parts[split].texts)
        return train_tokenizer(kind, texts, vocab_size if kind == "bpe" else None, show.line)
    return load_tokenizer(name)


def list_files(config: ImagineConfig) -> list[str]:
    """For the run's lineage."""
    settings: Any = config.settings
    folder = Path(settings.tokenizer)
    places = [place / "tokenizer.json" for place in (folder, folder / "model")]
    trained = [str(place) for place in places if place.is_file()][:1]
    data = [name for name in (config.data, config.test) if name not in (None, GRAMMAR)]
    return [*map(str, data), *trained, *config.own_code]
