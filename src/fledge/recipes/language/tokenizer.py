"""`fledge tokenizer`: train a tokenizer on text, and show how one splits a text and why."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fledge.errors import UserError
from fledge.next_command import write_command
from fledge.recipes.language.text_data import TextFields
from fledge.text.bpe import trace_word, word_pattern
from fledge.text.corpus import Corpus
from fledge.text.encoding import encode_documents
from fledge.text.spelling import spell_token
from fledge.text.tokenizer import (
    OwnTokenizer,
    Tokenizer,
    TokenizerKind,
    cut_apart,
    load_tokenizer,
    train_tokenizer,
)


class Speaker(Protocol):
    """Who the person is spoken to through."""

    def line(self, text: str) -> None: ...


class TokenizerTrainConfig(TextFields):
    """Train a tokenizer on your text and write it in Hugging Face's format.

    Equal text gives an equal file. The special tokens are ids 0 to 5 of every tokenizer, and no
    text can forge them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(
        default="python",
        description=(
            "Files (.txt, .md, .jsonl with a field `text`; also .gz) or folders of them, with "
            'commas between; "python" is the prose of this Python installation.'
        ),
    )
    kind: TokenizerKind = Field(
        default="bpe",
        description="bytes (262 tokens), characters (those of the text) or bpe (merges of bytes).",
    )
    vocab_size: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Tokens, special ones included; for bpe only, which takes 4096 unless told.",
    )
    out: str = Field(
        default="tokenizer",
        description="The folder to write tokenizer.json and tokenizer_config.json into.",
    )


def tokenizer_train(config: TokenizerTrainConfig, show: Speaker) -> dict[str, Any]:
    """Read, learn, save. Raises UserError for text that cannot be read and sizes that cannot be."""
    start = time.perf_counter()
    check_out(Path(config.out))
    corpus = config.read(config.data, show.line)
    texts = (text for document in corpus.documents() for text in cut_apart(document.chunks()))
    tokenizer = train_tokenizer(config.kind, texts, config.vocab_size, show.line)
    tokenizer.save(config.out)
    tokens, text_bytes = _measure(tokenizer, corpus)
    result = {
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "merges": len(tokenizer.merges),
        "documents": len(corpus),
        "bytes": text_bytes,
        "bytes_per_token": text_bytes / tokens,
        "seconds": time.perf_counter() - start,
        "out": config.out,
        "sha256": tokenizer.fingerprint(),
    }
    show.line(f"text: {text_bytes:,} bytes, {len(corpus):,} document{'s' * (len(corpus) != 1)}")
    if config.vocab_size is not None and tokenizer.vocab_size < config.vocab_size:
        show.line(
            f"the text has nothing left to merge after {tokenizer.vocab_size:,} of "
            f"{config.vocab_size:,} tokens"
        )
    show.line(
        f"wrote {Path(config.out) / 'tokenizer.json'}: {tokenizer.kind}, {tokenizer.vocab_size:,} "
        f"tokens, {result['bytes_per_token']:.2f} bytes of this text a token, "
        f"{result['seconds']:.1f} s"
    )
    seen = write_command("tokenizer show", config.out, text=take_word(corpus))
    show.line(f"look at it: {seen}")
    return result


def take_word(corpus: Corpus) -> str:
    """The first word of the text, whose characters every tokenizer of it knows."""
    for document in corpus.documents():
        for chunk in document.chunks():
            for word in chunk.split():
                return word[:24]
    return ""


def check_out(folder: Path) -> None:
    """Raises UserError where a tokenizer written into `folder` would take the place of one that
    something depends on.
    """
    for part in ("model.safetensors", "index.json", "config.json"):
        if (folder / part).exists():
            raise UserError(
                f"`{folder}` holds {part}, and what reads it goes by the tokenizer beside it: "
                "choose another `out`."
            )
    if not (folder / "tokenizer.json").exists():
        return
    try:
        own = isinstance(load_tokenizer(folder), OwnTokenizer)
    except UserError:
        own = False
    if not own:
        raise UserError(
            f"`{folder}` holds a tokenizer.json that `fledge tokenizer train` has not written: "
            "choose another `out`."
        )


def _measure(tokenizer: Tokenizer, corpus: Corpus) -> tuple[int, int]:
    """The tokens and the UTF-8 bytes of the documents."""
    tokens = text_bytes = 0
    for _, ids, size in encode_documents(
        ((None, document) for document in corpus.documents()), tokenizer
    ):
        tokens += int(np.isin(ids, list(tokenizer.special), invert=True).sum())
        text_bytes += size
    return tokens, text_bytes


class TokenizerShowConfig(BaseModel):
    """Show the merges a tokenizer has learned, in order, and how it splits a text: each merge, then
    each token.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokenizer: str = Field(description="The folder of a tokenizer, or of a run.")
    text: str = Field(default="", description="The text to split.")
    merges: int = Field(
        default=1000,
        ge=0,
        description="How many of the learned merges to show, from the first one on.",
    )


def tokenizer_show(config: TokenizerShowConfig, show: Speaker) -> dict[str, Any]:
    """Raises UserError where there is no tokenizer, or where it does not know a character of the
    text.
    """
    tokenizer = load_tokenizer(config.tokenizer)
    ids = tokenizer.encode(config.text)
    shown = tokenizer.merges[: config.merges]
    show.line(f"{tokenizer.kind}, {tokenizer.vocab_size:,} tokens")
    if tokenizer.kind == "bpe":
        show.line(f"{len(tokenizer.merges):,} merges, in the order in which they were learned:")
        for number, (left, right) in enumerate(shown, start=1):
            show.line(
                f"{number:6}  {spell_token(left)!r} + {spell_token(right)!r} -> "
                f"{spell_token(left + right)!r}"
            )
        if len(shown) < len(tokenizer.merges):
            show.line(
                f"        and {len(tokenizer.merges) - len(shown):,} more: "
                f"merges={len(tokenizer.merges)} shows all"
            )
    result: dict[str, Any] = {
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "merges": [[spell_token(left), spell_token(right)] for left, right in shown],
    }
    if config.text:
        result["steps"] = _show_steps(tokenizer, config.text, show)
        result["tokens"] = [
            {"id": number, "piece": spell_token(tokenizer.decode_bytes([number]))} for number in ids
        ]
        show.line(f"{config.text!r} is {len(ids)} tokens:")
        for token in result["tokens"]:
            show.line(f"{token['id']:8}  {token['piece']!r}")
    return result


def _show_steps(tokenizer: Tokenizer, text: str, show: Speaker) -> list[dict[str, Any]]:
    """The merges of each different word of the text, as they apply."""
    ranks = {merge: rank for rank, merge in enumerate(tokenizer.merges)}
    steps: list[dict[str, Any]] = []
    if not ranks:
        return steps
    show.line("how its words come together:")
    for word in dict.fromkeys(word_pattern().findall(text)):
        for merge, pieces in trace_word(word.encode("utf-8"), ranks):
            split = [spell_token(piece) for piece in pieces]
            steps.append({"word": word, "merge": ranks[merge] + 1, "pieces": split})
            show.line(f"{word!r:>16}  merge {ranks[merge] + 1}: {' '.join(map(repr, split))}")
    return steps
