"""`fledge data languages`: profiles of languages out of texts that say which one they are in, and
how well they tell texts that they were not made of.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table

from fledge.curate.languages import Languages, learn_profile, write_profiles
from fledge.data_names import list_named, split_names
from fledge.errors import UserError
from fledge.next_command import write_command
from fledge.runs.show import Show
from fledge.text.files import is_suffixed, json_rows

HELD_OUT = 5  # one piece in so many
PIECE = 100  # characters
FEWEST = 10  # pieces of a language


class DataLanguagesConfig(BaseModel):
    """Make profiles of languages, by which `fledge data clean language=` tells them apart, of rows
    with `text` and `lang` (or `language`); one piece in five is held out and judged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(description=".jsonl files: texts, each with its `lang` or `language`")
    languages: str | None = Field(
        default=None,
        description="which of them, each with another name if you like: eng:en,deu:de; by default "
        "all that there are",
    )
    source: str = Field(
        default="", description="of the texts, and their licence: written into the file"
    )
    out: Path = Field(default=Path("languages.json"), description="the file to write")


def data_languages(config: DataLanguagesConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for rows without a language, and for too little text of one."""
    if not config.out.parent.is_dir():
        raise UserError(f"out={config.out} cannot be written: make the folder {config.out.parent}.")
    pieces = {name: cut_pieces(text) for name, text in read_texts(config).items()}
    for name, own in pieces.items():
        if len(own) < FEWEST:
            raise UserError(
                f"{config.data} has {len(own) * PIECE:,} characters of {name}, and "
                f"{FEWEST * PIECE:,} are wanted: give more, or leave it out by languages=."
            )
    tried = Languages({
        name: learn_profile(piece for at, piece in enumerate(own) if at % HELD_OUT)
        for name, own in pieces.items()
    })  # fmt: skip
    told = Counter[tuple[str, str]]()
    for name, own in pieces.items():
        told.update((name, tried.tell(piece)) for piece in own[::HELD_OUT])
    right = sum(times for (name, said), times in told.items() if name == said)
    profiles = {name: learn_profile(own) for name, own in pieces.items()}
    write_profiles(config.out, profiles, config.source)
    show.print(draw_table(list(pieces), told))
    show.line(
        f"{right:,} of {told.total():,} held-out pieces of {PIECE} characters are told rightly; "
        f"the profiles of {len(profiles)} languages, of all pieces: {config.out}"
    )
    name = next(iter(profiles))
    command = write_command("data clean", config.data, language=name, profiles=config.out)
    show.line(f"Next: {command}")
    return {
        "languages": list(profiles), "pieces": told.total(), "right": right,
        "accuracy": right / told.total(), "out": str(config.out),
    }  # fmt: skip


def read_texts(config: DataLanguagesConfig) -> dict[str, str]:
    """Language -> all its text, by the name that it is to have."""
    names = split_languages(config.languages) if config.languages else None
    texts: dict[str, list[str]] = {name: [] for name in (names or {}).values()}
    for path in (file for name in split_names(config.data) for file in list_named(name)):
        if not is_suffixed(path, (".jsonl",)):
            raise UserError(f"{path} is no .jsonl: give rows with `text` and `lang`.")
        for number, row in json_rows(path):
            language = row.get("lang", row.get("language"))
            if not (isinstance(language, str) and language and isinstance(row.get("text"), str)):
                raise UserError(
                    f"line {number} of {path} wants a `text` and a `lang` (or `language`), both "
                    "words in quotation marks."
                )
            if names is None:
                texts.setdefault(language, []).append(row["text"])
            elif language in names:
                texts[names[language]].append(row["text"])
    for given, name in (names or {}).items():
        if not texts[name]:
            raise UserError(
                f"languages= names {given}, and {config.data} has no text of it: leave it out."
            )
    if len(texts) < 2:
        raise UserError(f"{config.data} has {len(texts)} language, and 2 or more are told apart.")
    return {name: "\n".join(own) for name, own in texts.items()}


def split_languages(languages: str) -> dict[str, str]:
    """What rows have -> what it is to be called."""
    pairs = [name.strip().partition(":") for name in languages.split(",") if name.strip()]
    return {given: name or given for given, _, name in pairs}


def cut_pieces(text: str) -> list[str]:
    """At blanks, of `PIECE` characters or one word more."""
    pieces, words, size = list[str](), list[str](), 0
    for word in text.split():
        words.append(word)
        size += len(word) + 1
        if size >= PIECE:
            pieces.append(" ".join(words))
            words, size = [], 0
    return pieces


def draw_table(names: list[str], told: Counter[tuple[str, str]]) -> Table:
    """How many pieces of each were told rightly, and what the others were taken for."""
    table = Table(box=None, pad_edge=False)
    for column in ("language", "pieces", "right", "taken for"):
        table.add_column(column, justify="left" if column in ("language", "taken for") else "right")
    for name in names:
        said = Counter({other: times for (own, other), times in told.items() if own == name})
        wrong = ", ".join(f"{o} {t}" for o, t in said.most_common() if o != name)
        table.add_row(name, str(said.total()), f"{said[name] / said.total():.0%}", wrong)
    return table
