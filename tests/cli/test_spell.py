"""Pictures between words, by the ordinary verbs: spell, pretrain, tune, align, draw."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tests.cli.commands import Cli

from fledge.splits import prompt_key, split_of

QUICK = "precision=fp32 compile=no"
VQ = (
    "imagine model=vq steps=20 rows_per_step=16 channels=8 code_width=4 codes=16 halvings=2 "
    f"prior_layers=1 prior_width=16 prior_heads=2 samples=10 {QUICK}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spell")


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_pictures_become_sentences_and_the_ordinary_verbs_learn_them(
    cli: Cli, folder: Path
) -> None:
    made = cli(f"{VQ} out=vq --json", folder=folder)
    assert made.code == 0, made.stderr
    assert made.result["measure"] == "bound"
    assert made.result["codes_of_a_picture"] == 4
    assert (folder / "vq/samples.png").is_file()
    assert cli("sample vq samples=4 label=7 out=sevens.png", folder=folder).code == 0
    done = cli("spell vq out=said asked=40 copies=2 reader_steps=30", folder=folder)
    assert done.code == 0, done.stderr
    proposed = re.search("Next: fledge (pretrain .+)", done.stdout)
    assert proposed is not None
    told = re.search(r"reward read (.+)% and (.+)% rightly, and .+ nothing (.+)%", done.stdout)
    assert told is not None
    network, neighbours, witness = map(float, told.groups())
    assert network > 40  # it has seen 30 batches
    assert min(neighbours, witness) > 90
    text, rows, read = (rows_of(folder / f"said/{n}.jsonl") for n in ("text", "rows", "read"))
    # What a picture is that an evaluation holds out stands nowhere else.
    for row in read:
        if split_of(prompt_key(row["prompt"])) != "train":
            picture = row["prompt"].removeprefix("what is ").removesuffix("?")
            assert not any(picture in line["text"] for line in text[:-1])
            elsewhere = [r for r in rows if picture in r["prompt"] + r["completion"]]
            assert all(r["prompt"] == row["prompt"] for r in elsewhere)
    small = f"layers=1 width=16 heads=2 context=64 steps=2 tokens_per_step=128 {QUICK}"
    for words in (
        f"{proposed[1]} evaluation_rows=4 out=pre {small}",
        f"tune base=pre data=said/rows.jsonl steps=2 rows_per_step=8 out=tune {QUICK}",
        "align base=tune task=said/draw.py algorithm=grpo steps=1 prompts_per_step=2 "
        f"samples_per_prompt=2 max_new_tokens=8 evaluation_prompts=4 out=align {QUICK}",
    ):
        step = cli(words, folder=folder)
        assert step.code == 0, step.stderr
    drawn = cli("draw align pictures=said samples=1", folder=folder)  # it has learned nothing yet
    assert drawn.code == 2
    assert "and drew nothing: give a model tuned on said/rows.jsonl" in drawn.stderr


def test_mistakes_are_one_sentence(cli: Cli, folder: Path, tmp_path: Path) -> None:
    assert cli(f"{VQ} out=v", folder=tmp_path).code == 0
    np.save(tmp_path / "plain.npy", np.zeros((30, 8, 8), np.uint8))
    vae = f"imagine model=vae steps=2 rows_per_step=8 width=8 latents=2 samples=0 out=vae {QUICK}"
    assert cli(vae, folder=tmp_path).code == 0
    for words, said in (
        ("spell vae", "give a run of `fledge imagine model=vq`"),
        ("spell v data=plain.npy", "give the same kind"),
        ("spell v out=v", "is there already"),
        ("draw v pictures=v", "give a folder that `fledge spell` has written"),
        ("imagine model=vq levels=1,4 quantiser=rounded", "give numbers of 2 or more"),
        ("imagine model=vae importance=4 beta=2", "leave out beta, free_bits and anneal_steps"),
    ):
        done = cli(words, folder=tmp_path)
        assert done.code == 2, (words, done.stdout, done.stderr)
        assert said in done.stderr
        assert "Traceback" not in done.stderr
