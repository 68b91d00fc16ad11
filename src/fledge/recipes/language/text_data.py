"""What every recipe that reads running text has in common: which of it is read, its token shards in
the run folder, and rows of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, Field

from fledge import ranks
from fledge.data_names import split_sources
from fledge.errors import UserError
from fledge.runs.folder import Run
from fledge.sample.documents import DocumentRows
from fledge.sample.mixture import MixedRows
from fledge.sample.streams import StreamRows
from fledge.splits import SPLITS, Split
from fledge.text.backward import BackwardStream
from fledge.text.corpus import Corpus, DocumentChoice
from fledge.text.folders import Links
from fledge.text.own_copy import keep_shards
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import Tokenizer


class TextFields(BaseModel):
    """Which of the texts that are found are read."""

    hidden: bool = Field(
        default=False, description="read files and folders whose name begins with a dot, too"
    )
    links: Links = Field(
        default="follow", description="to folders and files in a folder of text: follow or skip"
    )
    duplicates: Literal["drop", "keep"] = Field(
        default="drop",
        description="documents that stood before, whatever their white space: drop or keep",
    )

    def read(self, data: str, say: Callable[[str], None]) -> Corpus:
        """`read_corpus` of what these fields choose."""
        return read_corpus(data, say, DocumentChoice(self.hidden, self.links, self.duplicates))


def read_corpus(
    data: str, say: Callable[[str], None], choice: DocumentChoice | None = None
) -> Corpus:
    """The documents of the data in their splits. Raises UserError for text that cannot be read.

    say: told, a line each, what was passed over and how many copies were left out.
    """
    corpus = Corpus(data, choice)
    for note in corpus.notes():
        say(note)
    return corpus


def keep_text(
    run: Run,
    corpus: Callable[[], Corpus] | None,
    tokenizer: Tokenizer,
    say: Callable[[str], None],
    *,
    backward: bool = False,
) -> dict[Split, TokenStream]:
    """The text of a run in its splits, from its own copy of it, which is made or mended first.

    corpus: None where the copy is known to be whole. backward: from its end.
    """
    shards = run.folder / "shards"

    def keep() -> None:
        if corpus is not None:
            keep_shards(shards, corpus, tokenizer, say)

    ranks.first_then_others(keep)
    if backward:
        return {split: BackwardStream(shards, split, tokenizer) for split in SPLITS}
    return {split: TokenStream(shards, split) for split in SPLITS}


def check_sources(data: str, architecture: str, *, carry: bool) -> None:
    """Raises UserError for a mixture where text is read from its beginning to its end."""
    whole = "carry=true" if carry else "architecture=ngram" if architecture == "ngram" else None
    if whole and len(split_sources(data)) > 1:
        raise UserError(
            f"data={data} has weights, and {whole} reads all text in its order: leave them out."
        )


def make_sampler(
    data: str,
    stream: TokenStream,
    begin: int | None,
    *,
    carry: bool,
    rows_per_step: int,
    context: int,
    seed: int,
) -> DocumentRows | StreamRows | MixedRows:
    """Rows of the text in training, or of each source its share. Raises UserError for too short a
    text.
    """
    sources, streams = split_sources(data), stream.of_sources()
    sizes: dict[str, Any] = {"rows_per_step": rows_per_step, "context": context, "seed": seed}
    if carry:
        return StreamRows(stream, begin, **sizes)
    if len(streams) == 1:
        return DocumentRows(stream, begin, **sizes)
    names, shares = zip(*((each.names[0], each.share) for each in sources), strict=True)
    return MixedRows(streams, names, shares, begin, **sizes)


def describe_sources(data: str, stream: TokenStream) -> list[str]:
    """A sentence for each source of a mixture."""
    sources = split_sources(data)
    if len(sources) == 1:
        return []
    return [
        f"{source.names[0]}: {100 * source.share:.3g} % of the rows, out of {tokens:,} tokens"
        for source, tokens in zip(sources, stream.sources, strict=True)
    ]
