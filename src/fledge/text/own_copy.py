"""A run's own copy of its text: shards with their tokenizer, as they were written or mended."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from fledge.disk import sync
from fledge.errors import UserError
from fledge.text.corpus import Corpus
from fledge.text.shard_processes import write_corpus
from fledge.text.shards import find_damage, gives_the_same, read_index
from fledge.text.tokenizer import Tokenizer, load_tokenizer


def load_whole_tokenizer(shards: Path) -> Tokenizer | None:
    """The tokenizer beside shards that are as they were written; None where they are not, or none
    are there.
    """
    return load_tokenizer(shards) if find_loss(shards) is None else None


def find_loss(shards: Path) -> str | None:
    """What is wrong with a run's own copy of its text and the tokenizer with it; None: nothing."""
    tokenizer = shards / "tokenizer.json"
    return find_damage(shards) or (None if tokenizer.exists() else f"{tokenizer} is missing")


def holds_to_its_text(shards: Path) -> bool:
    """Whether damaged shards can only be written again from the same text: their index is read."""
    try:
        read_index(shards)
    except UserError:
        return False
    return True


def keep_shards(
    shards: Path, corpus: Callable[[], Corpus], tokenizer: Tokenizer, say: Callable[[str], None]
) -> None:
    """Have the text of a run as whole shards in its folder: what is there and as it was written is
    left alone.

    What is damaged is written again. Raises UserError where that gives other shards: the text is
    not what it was.
    """
    again = shards / "again"
    if again.exists():  # of a mending that was broken off
        shutil.rmtree(again)
    if not (shards / "index.json").exists():
        _write(shards, corpus(), tokenizer)
        return
    damage = find_damage(shards)
    if not damage and read_index(shards)["tokenizer_sha256"] != tokenizer.fingerprint():
        damage = f"{shards} was written with another tokenizer"
    if damage:
        _mend(shards, again, corpus(), tokenizer, damage, say)


def _write(folder: Path, corpus: Corpus, tokenizer: Tokenizer) -> None:
    tokenizer.save(folder)  # before the index, which is written last and vouches for the folder
    write_corpus(folder, corpus, tokenizer)


def _mend(
    shards: Path,
    again: Path,
    corpus: Corpus,
    tokenizer: Tokenizer,
    damage: str,
    say: Callable[[str], None],
) -> None:
    say(f"{damage}: the text is read and written again")
    _write(again, corpus, tokenizer)
    try:
        same = gives_the_same(again, shards)
    except (
        UserError
    ):  # the index cannot be read: the hashes in lineage.json are all that vouches for the text
        same = True
    if not same:
        shutil.rmtree(again)
        raise UserError(
            f"{damage}, and {corpus.data} no longer gives the text that was there: put it back as "
            "it was and resume, or start a new run"
        )
    (shards / "index.json").unlink()  # until the other files are those that it names
    for file in again.iterdir():
        if file.name != "index.json":
            file.replace(shards / file.name)
    sync(shards)
    (again / "index.json").replace(shards / "index.json")
    again.rmdir()
    sync(shards)
