"""freeze= leaves weights as they are, and nothing else; gradient_checkpointing= changes no bit: by
real command lines and files.
"""

from __future__ import annotations

import signal
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.cli.commands import (
    ADAPTER,
    DISTILL,
    PREFER,
    PRETRAIN,
    REWARD,
    TUNE,
    Cli,
    Models,
    outcome,
)

FREEZE = "freeze=embed*,layers.0.self_attn.*"
PATTERNS = ("model.embed_tokens.weight", "model.layers.0.self_attn.*")
FROM_BASE = (
    "pretrain base={pretrain} data={text} steps=4 tokens_per_step=256 evaluation_rows=8 "
    "precision=fp32 compile=no"
)
STUDENT = DISTILL.replace("layers=1 width=8 heads=2", "student={pretrain}")
# a verb with its base: what it began from
VERBS = {
    "pretrain": (FROM_BASE, "pretrain"),
    "tune": (TUNE, "pretrain"),
    "reward": (REWARD, "tune"),
    "prefer": (PREFER, "tune"),
    "distill": (STUDENT, "pretrain"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_named_stays_and_all_else_learns(
    verb: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words, base = VERBS[verb]
    done = cli([*models.fill(words), FREEZE, "out=run"], folder=tmp_path)
    assert done.code == 0, done.stderr
    assert "of which 0.00" in done.stdout
    before = load_file(models.folder / base / "model" / "model.safetensors")
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    same = {name for name in before if before[name].equal(after[name])}
    assert same == {name for name in before if any(fnmatchcase(name, p) for p in PATTERNS)}
    assert len(same) == 5
    lineage = (tmp_path / "run" / "lineage.json").read_text()
    assert base in lineage


def test_a_frozen_run_that_is_killed_ends_with_the_same_bits(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = [*models.fill(TUNE), FREEZE, "weight_decay=0.1", "save_every_s=0"]
    assert cli([*words, "out=whole"], folder=tmp_path).code == 0
    killed = cli(
        [*words, "out=run"], folder=tmp_path, signal=signal.SIGKILL,
        once=tmp_path / "run" / "metrics.jsonl",
    )  # fmt: skip
    assert killed.code == -signal.SIGKILL
    resumed = cli("resume run=run", folder=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("more", ["", ADAPTER, FREEZE])
def test_activations_that_are_computed_again_change_no_bit(
    more: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    """The adapter's dropout, too: it is drawn again as it was."""
    words = [*models.fill(TUNE), *more.split()]
    for name, field in (("kept", "false"), ("again", "true")):
        done = cli([*words, f"gradient_checkpointing={field}", f"out={name}"], folder=tmp_path)
        assert done.code == 0, done.stderr
    assert outcome(tmp_path / "again") == outcome(tmp_path / "kept")


MISTAKES = {
    f"{TUNE} freeze=layers.7.*": "fits no weight of this model: its weights are called embed",
    f"{TUNE} freeze=*": "nothing would learn",
    f"{TUNE} freeze=*.q_proj.*": "name all of them, or none",
    f"{TUNE} {FREEZE} adapter=lora": "leave out freeze, or give adapter=none",
    f"{PRETRAIN} {FREEZE}": "a fresh model has none: give base=",
    f"{DISTILL} {FREEZE}": "a fresh one has none: give student=",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_what_cannot_be_frozen_is_one_sentence(
    words: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    said = cli([*models.fill(words), "out=run"], folder=tmp_path).complaint
    assert MISTAKES[words] in said
    assert not (tmp_path / "run").exists()
