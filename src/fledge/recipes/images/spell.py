"""`fledge spell`: pictures as words of a discrete autoencoder, in sentences for a language model,
and a task in which drawings are judged.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fledge.errors import UserError
from fledge.images.augment import Change, augment
from fledge.images.code_text import check_codes, spell_codes
from fledge.images.pictures import UNKNOWN, PictureSet
from fledge.images.reading import read_pictures
from fledge.models.images.picture_model import load_picture_model, save_picture_model
from fledge.models.images.reader import count_right
from fledge.models.images.vq import VQ
from fledge.next_command import write_command
from fledge.recipes.images.phrases import AFTER, ASK, BOTH, READ, SAID, name_label
from fledge.recipes.images.readers import teach_readers
from fledge.recipes.look.sample_pictures import find_picture_folder
from fledge.runs.atomic import write_text
from fledge.runs.model_files import check_model
from fledge.runs.show import Show
from fledge.score.drawings import JUDGES, WITNESS
from fledge.seeds import generator_for
from fledge.splits import prompt_key, split_of

READ_AT_ONCE = 256
COPIED_BY: tuple[Change, ...] = ("shift", "turn", "noise")
TASK = '''"""Asks for pictures and about them; readers look at what is drawn: by `fledge spell`."""

from pathlib import Path

from fledge.score.drawings import Drawings

drawings = Drawings(Path(__file__).resolve().parent)
prompts = drawings.prompts
scores = drawings.scores
'''


class SpellConfig(BaseModel):
    """Write labelled pictures as tokens between words: text to pretrain on, conversations to tune
    on (draw, read, both in turn), and a task whose judges look at what is drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Path = Field(description="a run of `fledge imagine model=vq`, whose codes are written")
    data: str = Field(default="digits", description="labelled pictures, as of `fledge imagine`")
    out: Path = Field(default=Path("spelled"), description="the folder that is written")
    asked: int = Field(
        default=600, ge=1,
        description="prompts of the task that show a picture and want another, and as many that "
        "ask what one is",
    )  # fmt: skip
    copies: int = Field(
        default=12, ge=1,
        description="of each picture that is trained on; all but the first are shifted, turned and "
        "made noisy by chance",
    )  # fmt: skip
    reader_steps: int = Field(
        default=1000, ge=1, description="optimizer steps of the network among the readers"
    )
    seed: int = Field(default=0, ge=0, description="of the sentences, and of the readers")


def spell(config: SpellConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a base that has no codes, pictures that are not of its kind or have no
    labels, and a folder that is there already.
    """
    model = load_vq(config.base)
    given = read_pictures(config.data)
    if given.shape != model.shape:
        raise UserError(
            f"data={config.data} has pictures of {given.shape.describe()} and labels "
            f"{', '.join(given.shape.names) or 'none'}, and {config.base} was trained on "
            f"{model.shape.describe()} and {', '.join(model.shape.names) or 'none'}: give the same "
            "kind."
        )
    if not given.labelled:
        raise UserError(f"data={config.data} has no labels, and there is nothing to say of it.")
    given = given.take((given.rows.label != UNKNOWN).nonzero()[:, 0])
    check_codes(model.quantiser.size)
    if config.out.exists():
        raise UserError(f"{config.out} is there already: remove it, or give another out=.")
    parts = given.split()
    if parts is None:
        raise UserError(f"data={config.data} has too few pictures to hold any out: give more.")
    readers = teach_readers(parts["train"], config.reader_steps, config.seed)
    test = parts["test"].rows
    accuracy = {name: count_right(each, test.x, test.label) for name, each in readers.items()}
    with whole_folder(config.out) as folder:
        for name, each in {"vq": model, **readers}.items():
            (folder / name).mkdir()
            save_picture_model(folder / name, each)
        spelled, labels = spell_copies(config, model, given)
        counts = write_sentences(config, folder, spelled, labels, given.shape.names)
        write_text(folder / "draw.py", TASK)
    rewarding = " and ".join(f"{accuracy[name]:.1%}" for name in JUDGES)
    show.line(f"{len(given):,} pictures of {model.places} tokens → {config.out}")
    show.line(
        f"Of {len(test)} pictures that none has seen, the two readers that reward read {rewarding} "
        f"rightly, and the one that rewards nothing {accuracy[WITNESS]:.1%}."
    )
    pretrain = write_command(
        "pretrain", data=config.out / "text.jsonl", tokenizer="characters", model="nano"
    )
    show.line(f"Next: {pretrain}")
    show.line(
        "Then tune that run on rows.jsonl of the folder, and align it with draw.py as its task."
    )
    return {
        "out": str(config.out), "pictures": len(given), "tokens": model.places,
        "codes": model.quantiser.size, "right": accuracy, **counts,
    }  # fmt: skip


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside it that gets its name when all is written, and goes where that fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.parent / f".{out.name}.{os.getpid()}.partial"
    beside.mkdir()
    try:
        yield beside
        beside.rename(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def load_vq(base: Path) -> VQ:
    """Raises UserError for a run of another model."""
    folder = find_picture_folder(base)
    if folder is not None:
        check_model(folder)
        model = load_picture_model(folder)
        if isinstance(model, VQ):
            return model
    raise UserError(
        f"base={base} has no codes: give a run of `fledge imagine model=vq`, whose pictures are "
        "tokens."
    )


@torch.no_grad()
def spell_all(model: VQ, x: Tensor) -> list[str]:
    pieces = [model.encode(part) for part in x.split(READ_AT_ONCE)]
    return [spell_codes(codes) for codes in torch.cat(pieces).tolist()]


def is_trained_on(spelled: str) -> bool:
    """Whether a training may see what the picture is: its question is not one that `tune` and
    `evaluate` hold out, by the hash of the prompt.
    """
    return split_of(prompt_key(READ.format(spelled))) == "train"


def spell_copies(config: SpellConfig, model: VQ, given: PictureSet) -> tuple[list[str], list[int]]:
    """All pictures, then changed copies of those that are trained on; and their labels."""
    spelled = spell_all(model, given.rows.x)
    labels = given.rows.label.tolist()
    trained = torch.tensor([place for place, text in enumerate(spelled) if is_trained_on(text)])
    for copy in range(1, config.copies):
        generator = generator_for(config.seed, "data", f"copy {copy}")
        rows = given.rows[trained]
        changed = augment(rows.x, COPIED_BY, given.shape.levels, generator)
        for text, label in zip(spell_all(model, changed), rows.label.tolist(), strict=True):
            if is_trained_on(text):
                spelled.append(text)
                labels.append(label)
    return spelled, labels


def write_sentences(
    config: SpellConfig,
    folder: Path,
    spelled: list[str],
    label: list[int],
    every: tuple[str, ...],
) -> dict[str, int]:
    """text.jsonl, rows.jsonl, read.jsonl and draw.jsonl. A picture that is held out is never named:
    not in the text, nor beside another.
    """
    generator = generator_for(config.seed, "data", "sentences")

    def draw(below: int) -> int:
        return int(torch.randint(below, (), generator=generator))

    names = [name_label(every[place]) for place in label]
    questions = [READ.format(picture) for picture in spelled]
    shown = [n for n, text in enumerate(spelled) if is_trained_on(text)]
    text: list[dict[str, str]] = []
    rows: list[dict[str, str]] = []
    for n, name in enumerate(names):
        rows.append({"prompt": questions[n], "completion": name})
    for n in shown:
        text.append({"text": SAID[draw(len(SAID))].format(names[n], spelled[n])})
        other = shown[draw(len(shown))]
        text.append({"text": BOTH.format(names[n], spelled[n], names[other], spelled[other])})
        rows.append({"prompt": ASK[draw(len(ASK))].format(names[n]), "completion": spelled[n]})
        before = AFTER.format(spelled[other], names[other], names[n])
        rows.append({"prompt": before, "completion": spelled[n]})
    # Every character that is said anywhere is one of the tokenizer's.
    alphabet = sorted({character for row in rows for character in "".join(row.values())})
    text.append({"text": "".join(alphabet)})
    wanted: list[dict[str, str]] = [
        {"prompt": ask.format(name_label(each)), "label": each} for each in every for ask in ASK
    ]
    for k in range(config.asked):
        n, wished = shown[draw(len(shown))], every[k % len(every)]
        prompt = AFTER.format(spelled[n], names[n], name_label(wished))
        wanted.append({"prompt": prompt, "label": wished})
    for _ in range(config.asked):
        n = draw(len(names))  # of any picture: who is aligned holds the same ones out
        wanted.append({"prompt": questions[n], "answer": names[n]})
    read = [
        {"prompt": question, "answer": name}
        for question, name in zip(questions, names, strict=True)
    ]
    for name, lines in (("text", text), ("rows", rows), ("read", read), ("draw", wanted)):
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_text(folder / f"{name}.jsonl", content)
    return {"documents": len(text), "conversations": len(rows), "prompts": len(wanted)}
