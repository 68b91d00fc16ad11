"""`pretrain packing=best_fit curriculum=…`: what is told, orders by a model, the same bits after a
kill.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from tests.cli.commands import Cli, outcome
from tests.curate.texts import write_text

PACKED = (
    "pretrain tokenizer=bytes layers=1 width=16 heads=2 context=64 tokens_per_step=256 steps=8 "
    "evaluate_every=4 evaluation_rows=8 precision=fp32 compile=no packing=best_fit"
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 documents in two sources, most of them shorter than a row, and an n-gram model."""
    folder = tmp_path_factory.mktemp("packing")
    for name, first in (("a", 0), ("b", 1000)):
        rows = [write_text(first + seed, 1 + seed % 14) for seed in range(200)]
        (folder / f"{name}.jsonl").write_text(
            "".join(json.dumps({"text": row}) + "\n" for row in rows)
        )
    return folder


def test_what_is_packed_is_told(cli: Cli, texts: Path) -> None:
    done = cli(f"{PACKED} objective=next_token data=a.jsonl out=told", folder=texts)
    assert done.code == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if "packed by best fit" in line]
    padding = float(line.split(" padding")[0].split()[-1].rstrip("%"))
    assert padding < 3
    cut = float(line.split("; ")[1].split("%")[0])
    end_to_end = float(line.split("it would be ")[1].rstrip("%"))
    assert cut < 25 < 35 < end_to_end


def test_documents_are_ordered_by_a_model_and_a_mixture_is_packed(cli: Cli, texts: Path) -> None:
    """By an n-gram of a's text b's documents are harder."""
    counted = (
        "pretrain data=a.jsonl architecture=ngram order=3 tokenizer=bytes context=64 out=ngram"
    )
    assert cli(counted, folder=texts).code == 0
    words = f"{PACKED} data=a.jsonl:3,b.jsonl:1 curriculum=perplexity curriculum_model=ngram"
    done = cli(f"{words} out=mixed", folder=texts)
    assert done.code == 0, done.stderr
    assert "a.jsonl: packed by best fit" in done.stdout
    assert "b.jsonl: packed by best fit" in done.stdout
    bits = np.load(texts / "mixed/curriculum.npy")
    known, other = bits[: len(bits) // 2], bits[len(bits) // 2 :]
    assert len(known) > 150
    assert np.median(known) < np.median(other)
    lineage = json.loads((texts / "mixed/lineage.json").read_text())
    assert "ngram" in json.dumps(lineage["parents"])


def test_killed_it_ends_with_the_same_bits(cli: Cli, texts: Path) -> None:
    words = f"{PACKED} data=a.jsonl:3,b.jsonl:1 curriculum=length save_every_s=0"
    assert cli(f"{words} out=whole", folder=texts).code == 0
    out = texts / "killed"
    cli(f"{words} out=killed", folder=texts, signal=signal.SIGKILL, once=out / "metrics.jsonl")
    assert cli("resume killed", folder=texts).code == 0
    assert outcome(out) == outcome(texts / "whole")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("packing=stream curriculum=length", "packing=stream cuts them anywhere: add"),
        ("curriculum=quality", "curriculum=quality are by a model: give curriculum_model="),
        ("curriculum_model=here", "give curriculum_model= with them, and only with them"),
        ("objective=fim", "packing=best_fit lays whole documents into rows, and objective=fim"),
        ("architecture=t5", "and objective=spans makes its rows another way"),
        ("architecture=lstm carry=true", "and carry=true makes its rows another way"),
        ("architecture=lstm backward=true", "and backward=true makes its rows another way"),
        ("curriculum=quality curriculum_model=.", "has no quality.safetensors: give the folder"),
        ("architecture=bert", "packing was given, which an encoder has not"),
    ],
)
def test_what_cannot_be_packed(words: str, said: str, cli: Cli, texts: Path) -> None:
    without = PACKED.replace(" heads=2", "") if "lstm" in words else PACKED
    base = without.replace(" packing=best_fit", "") if "packing=" in words else without
    assert said in cli(f"{base} data=a.jsonl {words}", folder=texts).complaint
