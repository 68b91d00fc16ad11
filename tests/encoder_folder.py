"""A tiny encoder with random weights as a model folder, and rows that it can learn in seconds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers

from fledge.hub.folder import save_model
from fledge.models.language.encoder import Encoder, EncoderConfig
from fledge.text.tokenizer import Tokenizer, load_tokenizer
from tests.subjects import seeded
from tests.text.foreign_kinds import wordpiece, write

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dog",
    "friends",
    "jump",
    "high",
    "one",
    "two",
    "three",
]
NAMES = {
    "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]",
    "unk_token": "[UNK]",
}  # fmt: skip


def make_tokenizer(
    folder: Path, made: Callable[[], tokenizers.Tokenizer] = wordpiece, **names: str
) -> Tokenizer:
    return load_tokenizer(write(folder, made(), **(names or NAMES)))


def make_encoder(folder: Path, **sizes: Any) -> Path:
    """Of BERT's kind, width 32."""
    tokenizer = make_tokenizer(folder.parent / f"{folder.name}-tokenizer")
    config: dict[str, Any] = {"context": 48, "layers": 2, "width": 32, "heads": 2} | sizes
    network = Encoder(EncoderConfig(vocab_size=tokenizer.vocab_size, **config), generator=seeded(0))
    save_model(folder, network, tokenizer)
    return folder


def write_rows(file: Path, task: str, number: int = 160) -> Path:
    """Texts whose label is whether they say `fox` or `dog`, the same words as a tag each, and so
    on: what a glance at single words tells.
    """
    draw = random.Random(5)
    rows = []
    for n in range(number):
        words = draw.choices([word for word in WORDS if word not in ("fox", "dog")], k=2 + n % 7)
        animal = draw.choice(["fox", "dog"])
        words.insert(draw.randrange(len(words)), animal)
        text, other = " ".join(words), " ".join(draw.sample(words, len(words)))
        rows.append({
            "classify": {"text": text, "label": animal.upper()},
            "pair": {"text_a": text, "text_b": animal, "label": animal == "fox"},
            "tag": {"tokens": words, "tags": ["B-PET" if w == animal else "O" for w in words]},
            "choose": {"question": text, "choices": ["dog", "fox"], "answer": animal},
            "embed": {"anchor": text, "positive": other},
        }[task])  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
