"""What the models of `fledge data mixture` read: of each source as much as one of them can learn,
and held-out text of each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from fledge.errors import UserError
from fledge.recipes.data.proxy import ProxyFields
from fledge.runs.atomic import write_json
from fledge.splits import Split
from fledge.text.corpus import Corpus

HELD_PIECES = 100  # of each source that are judged
PIECE = 1000  # characters of what is judged as one document
TAUGHT_PIECE = 10_000
FEWEST_PIECES = 10
TAUGHT = 2  # times as many bytes of each source are read as one run learns


def write_sources(folder: Path, config: ProxyFields, names: list[str]) -> None:
    """source-0.jsonl and held-0.jsonl of each, once. Raises UserError for a source of which too
    little can be held out.
    """
    path = folder / "sources.json"
    if path.exists():
        return
    sizes: dict[str, int] = {}
    wanted = TAUGHT * config.steps * config.tokens_per_step
    for number, name in enumerate(names):
        corpus = config.read(name, lambda _: None)
        size = sum(len(c) for _, document in corpus.split("train") for c in document.chunks())
        taught = cut_pieces(corpus, "train", TAUGHT_PIECE)
        write_texts(
            folder / f"source-{number}.jsonl",
            (text for text in taught if place_of(text) < wanted / size),
        )
        held = chain(*(cut_pieces(corpus, split, PIECE) for split in ("validation", "test")))
        pieces = write_texts(folder / f"held-{number}.jsonl", islice(held, HELD_PIECES))
        if pieces < FEWEST_PIECES:
            raise UserError(
                f"{name} leaves {pieces} pieces of text to hold out, one in ten, and "
                f"{FEWEST_PIECES} are wanted: give more of it."
            )
        sizes[name] = size
    write_json(path, sizes)


def write_texts(path: Path, texts: Iterator[str]) -> int:
    """How many there are."""
    number = 0
    with path.open("w", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps({"text": text}) + "\n")
            number += 1
    return number


def cut_pieces(corpus: Corpus, split: Split, characters: int) -> Iterator[str]:
    for _, document in corpus.split(split):
        for chunk in document.chunks():
            for at in range(0, len(chunk), characters):
                if piece := chunk[at : at + characters].strip():
                    yield piece


def place_of(text: str) -> float:
    """By its content, in [0, 1)."""
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[8:16], "big") / 2**64
