"""`fledge merge`: runs and adapters made into one model that every verb reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.cli.commands import Cli, Models

from fledge.hub.folder import load_model

ADAPTED = (
    "tune base={pretrain} data={rows} steps=4 rows_per_step=4 adapter=lora adapter_rank=2 "
    "learning_rate=0.02 precision=fp32 compile=no out=adapted"
)


def test_all_weight_on_one_run_is_its_model(cli: Cli, models: Models, tmp_path: Path) -> None:
    words = models.fill("merge {pretrain},{tune} weights=0,1 out=one --json")
    told = cli(words, folder=tmp_path).result
    assert sorted(told["weights"].values()) == [0, 1]
    ours = load_file(tmp_path / "one/model/model.safetensors")
    theirs = load_file(models.folder / "tune/model/model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)
    said = cli("sample one prompt=hello temperature=0 max_new_tokens=5 --json", folder=tmp_path)
    other = cli(models.fill("sample {tune} prompt=hello temperature=0 max_new_tokens=5 --json"),
                folder=tmp_path)  # fmt: skip
    assert said.result["completions"] == other.result["completions"]


def test_an_adapter_is_merged_into_its_base_first(cli: Cli, models: Models, tmp_path: Path) -> None:
    assert cli(models.fill(ADAPTED), folder=tmp_path).code == 0
    words = "merge adapted,{tune} method=ties base={pretrain} keep=1 weights=1,0 out=tied"
    assert cli(models.fill(words), folder=tmp_path).code == 0
    ours = load_model(tmp_path / "tied").network.state_dict()
    theirs = load_model(tmp_path / "adapted").merged().network.state_dict()
    start = load_model(models.folder / "pretrain").network.state_dict()
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert any((ours[name] != start[name]).any() for name in theirs)


def test_a_soup_is_no_worse_than_its_best(cli: Cli, models: Models, tmp_path: Path) -> None:
    words = models.fill("merge {pretrain},{tune} method=soup data={text} out=soup")
    done = cli(words, folder=tmp_path)
    assert done.code == 0, done.stderr
    alone = [float(line.split(": ")[2].split()[0])
             for line in done.stdout.splitlines() if " alone: " in line]  # fmt: skip
    together = float(done.stdout.split("a soup of ")[1].split(": ")[1].split()[0])
    assert len(alone) == 2
    assert together <= min(alone)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("merge {tune}", "is one model: give two or more"),
        ("merge {tune},{pretrain},{tune} method=slerp", "goes between two models, and 3 were"),
        ("merge {tune},{pretrain} method=ties", "method=ties wants base="),
        ("merge {tune},{pretrain} base={tune}", "method=average has no base="),
        ("merge {tune},{pretrain} method=soup", "data= is the held-out text of method=soup"),
        ("merge , method=ties base={tune}", "is no model: give one or more"),
        ("merge {tune},{pretrain} weights=nan,nan", "weights=nan,nan was given for 2 models"),
        ("merge {tune},{pretrain} weights=1,1", "weights=1,1 was given for 2 models"),
        ("merge {tune},other", "other has another shape than"),
    ],
)
def test_what_cannot_be_merged(
    words: str, said: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    if "other" in words:
        sizes = "tokenizer=bytes layers=1 width=24 heads=2 context=64 steps=1 tokens_per_step=64"
        made = models.fill(f"pretrain data={{text}} {sizes} precision=fp32 compile=no out=other")
        assert cli(made, folder=tmp_path).code == 0
    assert said in cli(models.fill(words), folder=tmp_path).complaint
    assert not (tmp_path / "runs/merge").exists()
